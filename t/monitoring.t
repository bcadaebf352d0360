# The files for Prometheus, Alertmanager and Grafana: the tools of these
# programs accept them, and every name in them is one that the service exports.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew);
use AIChat::Stack;
use AIChat::Test;
use JSON::PP ();

my $DIR = AIChat::Stack::top() . '/monitoring';
my $rules = slurp("$DIR/ai-chat.rules.yml");
my $tests = slurp("$DIR/ai-chat.rules.test.yml");
my $dashboard = JSON::PP->new->utf8->decode(slurp("$DIR/grafana/ai-chat.json"));
# A scrape that contains two workers, and Redis where it is installed.
my $s = AIChat::Test->new(workers => 2, model => 0, redis => 1,
    idle => [ 'redis', 'worker 1', 'worker 2' ]);

sub have ($tool) { return grep { -x "$_/$tool" } qw(/usr/bin /usr/local/bin) }

# Runs a tool that must accept these files. Outside the machines of developers
# the tool may not be installed.
sub likes ($title, $tool, @args)
{
	SKIP: {
		skip "no $tool", 1 if !have($tool);
		my $said = eval { run([ $tool, @args ]) };
		is $@, '', $title;
		return $said // '';
	}
	return '';
}

# -- checks by the tools -----------------------------------------------------

likes('the rules are valid', 'promtool', 'check', 'rules', '--lint=all',
    '--lint-fatal', "$DIR/ai-chat.rules.yml");
likes('alerts fire when they should', 'promtool', 'test', 'rules',
    "$DIR/ai-chat.rules.test.yml");
{
	# As installed, but with the rules of this tree. promtool fails if there is
	# no file of rules; Prometheus would start without alerts.
	my $config = slurp("$DIR/prometheus.yml");
	ok $config =~ s{/usr/share/ai-chat/monitoring/}{$DIR/},
	    'the rules have an absolute path, which the package installs';
	spew($s->dir . '/prometheus.yml', $config);
	like likes("Prometheus' configuration", 'promtool', 'check', 'config',
	    $s->dir . '/prometheus.yml'), have('promtool')
	    ? qr/SUCCESS: 1 rule files found/ : qr/\A\z/, '... and its rules are found';
}
likes("Alertmanager's configuration", 'amtool', 'check-config',
    "$DIR/alertmanager.yml");

if (have('amtool')) {
	my %to = (critical => 'telegram-and-mail', warning => 'mail');
	like likes("the route of a $_ alert", 'amtool', 'config', 'routes',
	    'test',
	    "--config.file=$DIR/alertmanager.yml", "severity=$_"),
	    qr/^\Q$to{$_}\E$/m,
	    "an alert that is $_ goes to $to{$_}" for sort keys %to;
}

# -- rules -------------------------------------------------------------------

my %alerts = map { /^(\w+)\n(.*)/s } split /^      - alert: /m,
    $rules =~ s/\A.*?(?=^      - alert: )//msr;
cmp_ok scalar keys %alerts, '>=', 20, 'there are alerts';
for my $name (sort keys %alerts) {
	my $alert = $alerts{$name};
	my @lacks = grep { $alert !~ /^\s+$_: \S/m } qw(for summary description
	    runbook);
	push @lacks, 'severity' if $alert !~ /severity: (?:critical|warning)\b/;
	push @lacks, 'a test' if $tests !~ /alertname="$name"/;
	is "@lacks", '', "$name has all parts of an alert";
}
is join(' ', grep { !$alerts{$_} } $tests =~ /alertname="(\w+)"/g), '',
    'every tested alert exists';

# An operator can run the commands that the alerts name.
{
	my (undef, $help) = AIChat::Test::program('ai-chatctl', {}, '--help');
	my %command = map { $_ => 1 } $help =~ /^  ([a-z][a-z-]+) /mg;
	my @named = $rules =~ s/\n\s+/ /gr =~ /\bai-chatctl ([a-z-]+)/g;
	cmp_ok scalar @named, '>=', 15, 'the runbooks name commands of ai-chatctl';
	is join(' ', grep { !$command{$_} } @named), '', '... which exist';
	unlike $rules, qr/restart the workers/, '... instead of a task';
}

# -- the dashboard -----------------------------------------------------------

my @panels = grep { $_->{type} ne 'row' } @{ $dashboard->{panels} };
my @exprs = map { map { $_->{expr} } @{ $_->{targets} } } @panels;
cmp_ok scalar @panels, '>', 20, 'the dashboard has panels';

{
	my %ids = map { $_->{id} => 1 } @{ $dashboard->{panels} };
	is scalar keys %ids, scalar @{ $dashboard->{panels} },
	    '... each with its own number';
	my (%taken, @twice);
	for my $p (@{ $dashboard->{panels} }) {
		my ($x, $y, $w, $h) = @{ $p->{gridPos} }{qw(x y w h)};
		push @twice, $p->{title} if $x + $w > 24;
		for my $cell (map { my $i = $_; map { "$i,$_" }
		    $y .. $y + $h - 1 } $x .. $x + $w - 1) {
			push @twice, $p->{title} if $taken{$cell}++;
		}
	}
	is "@twice", '', '... and its own place';

	my @uids = grep { ($_->{datasource}{uid} // '') ne '${datasource}' }
	    @panels, map { @{ $_->{targets} } } @panels;
	is scalar @uids, 0, '... and none names a datasource of its own';
	my ($first) = @{ $dashboard->{templating}{list} };
	is "$first->{name} $first->{type}", 'datasource datasource',
	    '... because the reader chooses it';

	# Parsed by Prometheus, with values in place of Grafana's variables.
	my ($n, $group) = (0, "groups:\n- name: x\n  rules:\n");
	for (@exprs) {
		my $expr = s/\$__(?:rate_interval|range)/5m/gr =~ s/\$\w+/x/gr;
		$group .= '  - { record: x, labels: { n: "' . $n++ . '" }, expr: '
		    . JSON::PP->new->allow_nonref->encode($expr) . " }\n";
	}
	spew($s->dir . '/exprs.yml', $group);
	likes('Prometheus can read its queries', 'promtool', 'check', 'rules',
	    $s->dir . '/exprs.yml');
}

# -- names -------------------------------------------------------------------

# { metric => { label => { value => 1 } } }
my %has;
for (split /\n/, $s->get('/metrics')->{content}) {
	my ($name, $labels) = /^(ai_chat_\w+)\{(.*)\} \S+$/ or next;
	my $of = $has{$name} //= {};
	$of->{$1}{$2} = 1 while $labels =~ /(\w+)="([^"]*)"/g;
}
cmp_ok scalar keys %has, '>', 20, 'the service has metrics';
my %records = map { $_ => 1 } $rules =~ /- record: (\S+)/g;

# The names in a text that do not exist: metrics, recorded rules, values of
# labels.
sub unknown ($text)
{
	my @unknown;

	while ($text =~ /\b([a-z_]+:[\w:]+|ai_chat_\w+)(?:\{([^}]*)\})?/g) {
		my ($name, $labels) = ($1, $2 // '');
		if ($name =~ /:/) {
			push @unknown, $name if !$records{$name};
			next;
		}
		my $of = $has{$name};
		push @unknown, $name and next if !$of;
		while ($labels =~ /(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g) {
			my ($label, $op, $value) = ($1, $2, $3);
			next if $label =~ /^(?:job|instance)$/;
			my @values = $op =~ /~/ ? split(/\|/, $value) : $value;
			# Prometheus 3 writes these names so.
			@values = grep { !/\.0$/ } @values if $label eq 'le';
			push @unknown, map { "$name\{$label=\"$_\"}" }
			    grep { !$of->{$label}{$_} } @values;
		}
	}
	return join ' ', @unknown;
}

is unknown('ai_chat_nothing ai_chat_chats_total{outcome=~"busy|lazy"}
    job:nothing:x'), 'ai_chat_nothing ai_chat_chats_total{outcome="lazy"}'
    . ' job:nothing:x', 'a name that does not exist is detected';
my $exprs = $rules =~ s/^\s*(?:#|- record:|- alert:|summary:).*//gmr;
is unknown($exprs), '', 'the rules use names that exist';
is unknown($tests =~ s/^\s*#.*//gmr =~ s/ai_chat_\w+\{[^}]*le="\d+\.0"\}//gr),
    '', '... and so do their tests';
is unknown($_), '', "the dashboard uses names that exist: $_" for @exprs;
is unknown(join ' ', map { $_->{definition} // () }
    @{ $dashboard->{templating}{list} }), '', '... and its variables';

# Each target is the bound of a bucket, so that it is counted and not
# interpolated.
my %bounds = ('ai_chat_chat_duration_seconds_bucket' => [ 3, 10 ],
    'ai_chat_stage_duration_seconds_bucket' => [ 2, 8, 0.05, 0.2, 0.1, 0.5 ],
    'ai_chat_overhead_seconds_bucket' => [ 0.2, 1 ]);
for my $name (sort keys %bounds) {
	is join(' ', grep { !$has{$name}{le}{$_} } @{ $bounds{$name} }), '',
	    "$name has a bucket for each target";
}

# -- Grafana's provisioning --------------------------------------------------

for my $name (qw(datasource dashboards)) {
	my $yaml = slurp("$DIR/grafana/$name.yml");
	like $yaml, qr/^apiVersion: 1$/m, "$name.yml is of version 1";
	unlike $yaml, qr/\t|^\s*uid:/m, '... without tabs and uids';
}

done_testing;
