# Prometheus and Alertmanager run with the files that are shipped for them, on a
# service whose workers stop and start.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew free_port base_env);
use AIChat::Stack;
use AIChat::Test;
use HTTP::Tiny;
use JSON::PP ();

for (qw(prometheus prometheus-alertmanager)) {
	plan(skip_all => "$_ is not installed") if !-x "/usr/bin/$_";
}

my $DIR = AIChat::Stack::top() . '/monitoring';
my $s = AIChat::Test->new(workers => 2);
my $dir = $s->dir;
$s->expect_log(qr/connect\(\) to unix:\S+ failed/, qr/upstream prematurely closed/,
    qr/recv\(\) failed/);
my %port = map { $_ => free_port() } qw(prometheus alertmanager telegram);
my @procs;

# The shipped files, with other addresses and shorter intervals.
sub write_config ($rules)
{
	my $config = slurp("$DIR/prometheus.yml");
	$config =~ s{/usr/share/ai-chat/monitoring/(?=ai-chat\.rules\.yml)}{}
	    or die "prometheus.yml names no rules\n";
	$config =~ s/127\.0\.0\.1:9002/127.0.0.1:@{[ $s->metrics_port ]}/;
	$config =~ s/127\.0\.0\.1:9093/127.0.0.1:$port{alertmanager}/;
	$config =~ s/_interval: 15s/_interval: 250ms/g;
	$config =~ s/scrape_timeout: 5s/scrape_timeout: 250ms/;
	spew("$dir/ai-chat.rules.yml", $rules);
	spew("$dir/prometheus.yml", $config);
}

# Without mail, and with a simulated Telegram.
sub write_alertmanager
{
	my $config = slurp("$DIR/alertmanager.yml");
	$config =~ s/^    email_configs:\n(?:      .*\n)+//gm;
	$config =~ s/(- bot_token: .*\n)/$1        api_url: http:\/\/127.0.0.1:$port{telegram}\n/;
	$config =~ s/group_wait: \d+s/group_wait: 1s/g;
	$config =~ s/group_interval: 5m/group_interval: 1s/;
	spew("$dir/alertmanager.yml", $config);
}

my $TELEGRAM = <<'END';
use v5.36;
use IO::Socket::INET;
my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 5,
    ReuseAddr => 1) or die;
STDOUT->autoflush;
while (my $c = $l->accept) {
	my ($first, $length, $body) = (scalar <$c>, 0);
	while ((my $line = <$c>) =~ /\S/) {
		$length = $1 if $line =~ /^content-length: *(\d+)/i;
	}
	read $c, $body, $length;
	say $first =~ s/\s+$//r, " $body";
	my $answer = '{"ok":true,"result":{"message_id":1,"date":1,'
	    . '"chat":{"id":1,"type":"group"}}}';
	print $c "HTTP/1.1 200 OK\r\nConnection: close\r\n"
	    . "Content-Length: " . length($answer) . "\r\n\r\n$answer";
	close $c;
}
END

sub start ($name, @cmd)
{
	push @procs, AIChat::Proc->start(name => $name, cmd => \@cmd,
	    env => { base_env() }, log => "$dir/log/$name.log");
	return $procs[-1];
}

sub ask ($path)
{
	my $got = HTTP::Tiny->new(timeout => 10)->get(
	    "http://127.0.0.1:$port{prometheus}/api/v1/$path");
	return if !$got->{success};
	return JSON::PP->new->utf8->decode($got->{content})->{data};
}

# The only value of a query; undef where there is none.
sub value ($query)
{
	my $data = ask('query?' . HTTP::Tiny->new->www_form_urlencode(
	    { query => $query })) or return;
	return $data->{result}[0] && $data->{result}[0]{value}[1];
}

sub wait_for_value ($query, $want)
{
	my $got;
	eval { wait_for(sub { ($got = value($query) // '') eq $want }, 30, $query) };
	is $got, $want, $query;
}

# The states of an alert, such as "firing".
sub states ($name)
{
	my $data = ask('alerts') or return '';
	return join ' ', map { $_->{state} }
	    grep { $_->{labels}{alertname} eq $name } @{ $data->{alerts} };
}

my $user = 0;
sub chats ($n, $marks = '')
{
	$s->send(telegram_id => ++$user, message => "Вопрос [[$marks]]") for 1 .. $n;
}

# -- start -------------------------------------------------------------------

my $rules = slurp("$DIR/ai-chat.rules.yml");
write_config($rules);
write_alertmanager();
start('telegram', $^X, '-e', $TELEGRAM, $port{telegram});
start('alertmanager', 'prometheus-alertmanager',
    "--config.file=$dir/alertmanager.yml", "--storage.path=$dir/alertmanager",
    "--web.listen-address=127.0.0.1:$port{alertmanager}",
    '--cluster.listen-address=', '--log.level=warn');
my $prometheus = start('prometheus', 'prometheus',
    "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/tsdb",
    "--web.listen-address=127.0.0.1:$port{prometheus}", '--log.level=warn',
    '--rules.alert.resend-delay=1s');
wait_for(sub { value('up{job="ai-chat"}') }, 60, 'Prometheus');

# All rules are evaluated, and no alert fires.
{
	my @all = wait_for(sub {
		my $data = ask('rules') or return;
		my @r = map { @{ $_->{rules} } } @{ $data->{groups} };
		return !grep({ $_->{health} eq 'unknown' } @r) && \@r;
	}, 30, 'the rules')->@*;
	is scalar @all, scalar(() = $rules =~ /^      - (?:alert|record):/mg),
	    'all rules are loaded';
	is join("\n", map { $_->{lastError} // () } @all), '', '... without an error';
	# Before the first scrape no worker is known.
	wait_for(sub {
		my $alerts = ask('alerts');
		return $alerts && !@{ $alerts->{alerts} };
	}, 30, 'the end of the alerts');
	pass '... and no alert is active';
}

# -- sums --------------------------------------------------------------------

my $ANSWERED = 'ai_chat_chats_total{outcome="answered"}';

wait_for_value("sum($ANSWERED)", 0);
chats(30);
chats(3, 'status=400');
wait_for_value("sum($ANSWERED)", 30);
wait_for_value('sum(ai_chat_chats_total{outcome="model_failed"})', 3);
wait_for_value('sum(ai_chat_chat_duration_seconds_bucket{le="+Inf"})', 30);

$s->kill_worker(2);
wait_for_value('sum(ai_chat_worker_up)', 1);
wait_for_value('ai_chat_worker_up{worker="2"}', 0);
is wait_for(sub { states('AiChatWorkerDown') }, 10, 'an alert'), 'pending',
    'after the death of a worker an alert is pending';
chats(10);
$s->start_worker(2);
chats(10);
wait_for_value("sum($ANSWERED)", 50);
wait_for_value('sum(ai_chat_worker_up)', 2);
is value("sum(resets($ANSWERED" . '[10m]))'), 0,
    'the counters of a restarted worker continue';

# Prometheus extrapolates to the ends of the window, so its results differ a
# little from the true counts. A whole count of a worker would stand out.
sub increased ($want)
{
	my $got = value("sum(increase($ANSWERED" . '[10m]))');
	cmp_ok $got, '>=', $want * 0.9, "it counts all of $want chats";
	cmp_ok $got, '<=', $want * 1.15, '... and no more';
}
increased(50);

# As after a reboot, because the metrics of the workers are in /run.
$s->kill_worker(1, 'TERM');
unlink $s->stack->run_dir . '/metrics/1.metrics' or die "no file: $!\n";
$s->start_worker(1);
wait_for_value("$ANSWERED and on (worker) ai_chat_worker_up{worker=\"1\"}", 0);
chats(20);
wait_for_value("sum(increase($ANSWERED" . '[10m])) > bool 66', 1);
is value("sum(resets($ANSWERED" . '[10m]))'), 1,
    'a counter that begins at 0 again is detected';
increased(70);
wait_for_value('job:ai_chat_chats_failed:ratio5m > bool 0.03', 1);
cmp_ok value('job:ai_chat_chats_failed:ratio5m'), '<', 0.06,
    'three of 73 chats failed, about 4 %';

# -- alerts ------------------------------------------------------------------

write_config($rules =~ s/ for: \d+m$/ for: 1s/gmr);
$prometheus->signal('HUP');
$s->kill_worker(2);
wait_for(sub { states('AiChatWorkerDown') eq 'firing' }, 30, 'the alert');
pass 'the alert of a worker that stays down fires';
$s->start_worker(2);
wait_for(sub { states('AiChatWorkerDown') eq '' }, 30, 'the end of the alert');
pass '... until it is started again';

chats(1, 'status=429 code=insufficient_quota');
my $told = wait_for(sub { slurp("$dir/log/telegram.log") }, 30, 'Telegram');
my ($path, $message) = $told =~ m{^POST (\S+) HTTP/1.1 (\{.*\})$}m;
is $path, '/bot123456789:TOKEN/sendMessage',
    'a critical alert is sent to Telegram';
$message = JSON::PP->new->utf8->decode($message);
is $message->{chat_id}, -1001234567890, '... to the chat';
like $message->{text}, qr/\A🔥 The quota of the first model is used up \(AiChatModelQuota\)$
^The provider responds with insufficient_quota.*$
^What to do: Add money .*$/m, '... with the action to take';
is $message->{parse_mode} // '', '', '... as plain text';
unlike $told, qr/AiChatWorkerDown/, '... and a warning is not sent';

for my $proc (reverse @procs) {
	ok $proc->alive, "$proc->{name} runs to the end";
	$proc->stop;
}
for (qw(prometheus alertmanager)) {
	is join("\n", grep { /level=error/ } split /\n/, slurp("$dir/log/$_.log")), '',
	    "$_ logs no error";
}

done_testing;
