# Timeouts nest: the part that is nearer to the model ends a request first,
# because its response has the best reason. The callers' own 60 s exceed the
# deadline, and the timeouts of Nginx exceed each deadline that can be set.

use v5.36;
use AIChat::Proc qw(run slurp);
use AIChat::Stack;
use AIChat::Test;

my $TOP = AIChat::Stack::top();
my $CALLERS_MS = 60_000;

# The time of a response beyond the deadline: a queue, a slow machine.
my $SPARE_MS = 5000;

my $s = AIChat::Test->new(workers => 0, model => 0);
my $stack = $s->stack;

# The values of a directive in the whole configuration of Nginx, in ms.
sub timeouts ($text, $name)
{
	my %unit = ('' => 1000, s => 1000, ms => 1, m => 60_000, h => 3_600_000);

	return map { my ($n, $unit) = /^(\d+)(ms|[smh]|)\z/
	    or die "$name $_\n"; $n * $unit{$unit} }
	    $text =~ /^\s*\Q$name\E\s+(\S+);/mg;
}

# The values of the site, or of the front before several hosts, for a deadline.
sub configuration ($deadline_ms, $hosts = undef)
{
	$stack->settings->{AI_CHAT_DEADLINE_MS} = $deadline_ms;
	$stack->{hosts} = $hosts;
	$stack->write_nginx_conf;
	$stack->write_upstream(1);
	return $stack->test_nginx;
}

sub is_over ($text, $name, $ms, $title)
{
	my @are = timeouts($text, $name);

	cmp_ok scalar @are, '>=', 1, "$title: $name is set";
	cmp_ok $_, '>=', $ms, "... to more than $ms ms" for @are;
	return (sort { $a <=> $b } @are)[0] // 0;
}

my ($preset, $least, $most) = slurp("$TOP/lib/conf.c")
    =~ /"AI_CHAT_DEADLINE_MS", NUM, \w+, "(\d+)", (\d+), (\d+),/;
cmp_ok $preset, '<=', $CALLERS_MS - $SPARE_MS,
    'the deadline that is preset is under the callers\' timeout';

# -- Nginx -------------------------------------------------------------------

for my $deadline ($preset, $least, $most) {
	my $host = configuration($deadline);
	my $front = configuration($deadline, [ '127.0.0.1:1' ]);

	for my $what (qw(read send)) {
		my $inner = is_over($host, "fastcgi_${what}_timeout",
		    $deadline + $SPARE_MS, "a deadline of $deadline ms");
		is_over($front, "proxy_${what}_timeout", $inner + $SPARE_MS,
		    'the front waits longer than a host');
	}
}

# -- the shipped files -------------------------------------------------------

{
	# The package's site, with all settings preset.
	my $site = run([ 'env', '-i', 'AI_CHATCTL_ENV_FILE=/dev/null',
	    "AI_CHATCTL_NGINX_DIR=$TOP/nginx",
	    AIChat::Stack::find_build() . '/ai-chatctl', 'nginx', '--print' ]);
	cmp_ok $_, '>=', $preset + $SPARE_MS,
	    'ai-chatctl nginx sets timeouts over the preset deadline'
	    for timeouts($site, 'fastcgi_read_timeout');
	my ($stop) = slurp("$TOP/systemd/ai-chat-worker\@.service")
	    =~ /^TimeoutStopSec=(\d+)s$/m;
	cmp_ok 1000 * $stop, '>=', $preset + $SPARE_MS,
	    'the time for draining is longer than a chat';
}

done_testing;
