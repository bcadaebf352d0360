# Workers on two hosts behind one Nginx and with one PostgreSQL: a host that is
# cut off and comes back loses no answered chat, and no user gets more chats
# than the limit.

use v5.36;
use utf8;
use AIChat::Hosts;
use Test::More ();

BEGIN {
	my $why = AIChat::Hosts::enter();
	Test::More::plan(skip_all => $why) if $why;
}

use AIChat::Proc qw(slurp spew);
use AIChat::Soak;
use AIChat::Test;
use File::Path qw(make_path);
use Time::HiRes qw(time);

my $ETC = AIChat::Proc::temp_dir('ai-chat-hosts');
my $RANGE = AIChat::Hosts::range();
my $TOP = AIChat::Stack::top();
my $PASSWORD = 'between hosts';

# PostgreSQL requires a password from other hosts, and none from its own.
spew("$ETC/hba.conf", "local all all trust\n"
    . "host all ai_chat $RANGE scram-sha-256\n");

my $hosts = AIChat::Hosts->new($ETC, qw(front database one two));
my $s = AIChat::Test->new(workers => 0, model => 0, nginx => 0,
    pg_net => $hosts->net('database'), pg_conf => {
	listen_addresses => $hosts->address('database'),
	hba_file => "$ETC/hba.conf",
    });
# The faults below cause errors of all kinds in the logs.
$s->expect_log(qr/./);
$s->stack->pg->admin("alter role ai_chat password '$PASSWORD'");

my ($db) = $s->db_url =~ m{^postgresql:///(\w+)};
my %settings = (
	AIChat::Soak::settings(),
	API_SECRET_KEY => $AIChat::Test::KEY,
	DATABASE_URL => "postgresql://ai_chat:between%20hosts@"
	    . $hosts->address('database') . "/$db",
	OPENAI_API_KEY => 'test-openai-key',
);
my %numbers = (one => [ 1, 2 ], two => [ 3, 4 ]);

# A host as in docs/scaling.md: workers, and an Nginx that admits the front.
# Each host has a model of its own, so that a host that is cut off still gets
# answers that it cannot save, which is the harder case.
sub new_host ($name)
{
	my $run = $s->dir . "/$name";

	make_path("$run/extras");
	spew("$run/allowed", 'allow ' . $hosts->address('front') . ";\n");
	spew("$run/extras/$_", slurp("$TOP/nginx/snippets/$_")
	    =~ s{/etc/ai-chat/nginx/}{$run/}r)
	    for qw(allow-list.conf behind-front.conf);
	my $host = AIChat::Stack->new(dir => $s->dir, run => $run, port => 9001,
	    address => $hosts->address($name), net => $hosts->net($name),
	    settings => { %settings });
	$host->start_model;
	return $host;
}

sub start_host ($host, $name)
{
	$host->start_workers(@{ $numbers{$name} });
	$host->start_nginx;
}

# Kills all processes of a host at once, as a loss of power does.
sub kill_host ($host, $name)
{
	kill 'KILL', map { $_->pid } $host->nginx, map { $host->worker($_) }
	    @{ $numbers{$name} };
	$host->nginx->stop('KILL');
	$host->stop_worker($_, 'KILL') for @{ $numbers{$name} };
}

my %host = map { $_ => new_host($_) } qw(one two);
start_host($host{$_}, $_) for qw(one two);

my $front = $s->stack;
@$front{qw(address port net hosts)} = ($hosts->address('front'), 9001,
    $hosts->net('front'), [ map { $hosts->address($_) . ':9001' } qw(one two) ]);
$front->settings->{AI_CHAT_DEADLINE_MS} = $settings{AI_CHAT_DEADLINE_MS};
$front->start_nginx;

# The logs of the workers of a host.
sub log_of ($name)
{
	return join '', map { slurp($host{$name}->worker_log_path($_)) }
	    @{ $numbers{$name} };
}

sub answered_by ($name)
{
	return scalar(() = log_of($name) =~ /\bstatus=200\b.*/g);
}

# -- the way through ---------------------------------------------------------

for my $i (1 .. 8) {
	my $got = $s->send(telegram_id => 9000 + $i, headers => {
	    'X-Request-Id' => "way-$i",
	    traceparent => '00-' . 'a' x 32 . '-' . 'b' x 16 . '-01',
	    tracestate => 'a=b' });
	is $got->{status}, 200, 'a chat is answered through the front'
	    if $i == 1;
	is $got->{headers}{'x-request-id'}, "way-$i", '... with its request id'
	    if $i == 1;
}
like log_of('one') . log_of('two'), qr/\breq=way-1 trace_id=a{32} .*status=200/,
    '... which is in the log of a worker, with the trace of the caller';
cmp_ok answered_by($_), '>=', 2, "host $_ answers some of them" for qw(one two);
{
	my $got = $s->send(headers => { 'X-API-KEY' => 'wrong' });
	is $got->{status}, 403, 'a wrong key is refused';
	my ($first, $again) = map { $s->send(telegram_id => 9100,
	    headers => { 'Idempotency-Key' => 'k' }) } 1, 2;
	is $again->{headers}{'idempotent-replayed'}, 'true',
	    'an Idempotency-Key reaches the workers';
	is $again->{content}, $first->{content},
	    '... and the repeat gets the same response';
	is $s->send(telegram_id => 0)->{status}, 422,
	    'an error of a worker passes unchanged';
	$got = $s->post('/v1/chat/send', 'x' x 262145);
	is $got->{status}, 413,
	    'a body that is too large is refused by the front';
	is $got->{content}, '{"detail":"Request body too large"}', '... in JSON';
	is $s->get('/metrics')->{status}, 404,
	    'the front has no /metrics, each host has its own';
	is $s->get('/health/ready')->{status}, 200, 'the service is ready';
}
{
	my $got = AIChat::Test::with_json(HTTP::Tiny->new->get('http://'
	    . $hosts->address('one') . ':9001/health'));
	is $got->{status}, 403, 'a host refuses callers other than the front';
	is $got->{content}, '{"detail":"Forbidden"}', '... in JSON';
	is $hosts->run_on('one', 'ss', '-Htln') =~ tr/\n//, 3,
	    'a host listens on three ports: Nginx for callers, Nginx for '
	    . 'metrics, and the model';
}
# The keepalive timers of PostgreSQL's sessions, once all data is acknowledged.
wait_for(sub {
	my @sessions = split /\n/, $hosts->run_on('database',
	    qw(ss -Htno state established sport = :5432));
	return @sessions >= 2
	    && !grep { !/timer:\(keepalive,(?:10|\d(?:\.\d+)?)?(?:\d+m)?s/ }
	    @sessions;
}, 10, 'the database to probe its idle sessions every ten seconds');

# The timeout of a proxy is longer the further it is from the worker, so that
# the caller gets the error of the part that is nearest to the cause.
{
	my ($outer) = slurp($front->run_dir . '/conf.d/ai-chat.conf')
	    =~ /proxy_read_timeout (\d+)s/;
	my ($inner) = slurp($host{one}->run_dir . '/conf.d/ai-chat.conf')
	    =~ /fastcgi_read_timeout (\d+)s/;
	cmp_ok $outer, '>', $inner, 'the front waits longer than a host';
	cmp_ok 1000 * $inner, '>', $settings{AI_CHAT_DEADLINE_MS},
	    '... which waits longer than the deadline of a worker';
}

# -- never twice -------------------------------------------------------------

{
	my ($sock) = $s->start_chats({ telegram_id => 9200,
	    message => '[[delay=1500]]',
	    headers => { 'X-Request-Id' => 'only-once' } });
	my $name = wait_for(sub {
		(grep { length $hosts->run_on($_, qw(ss -Htn state established
		    sport = :9001)) } qw(one two))[0];
	}, 10, 'a host to get the chat');
	my ($other) = grep { $_ ne $name } qw(one two);
	$host{$name}->nginx->stop('KILL');
	my ($got) = finish_chats($sock);
	is $got->{status}, 502,
	    'the Nginx of a host is killed during a chat: 502';
	is why($got), 'Service temporarily unavailable', '... in JSON';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... with Retry-After';
	is $s->send(telegram_id => 9201)->{status}, 200,
	    '... the next chat is answered by the other host';
	unlike log_of($other), qr/req=only-once/,
	    '... and the chat was not sent to the other host as well';
	$host{$other}->nginx->stop('KILL');
	$got = $s->send;
	is $got->{status}, 502, 'no host is left: 502';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... with Retry-After';
	$host{$_}->start_nginx for qw(one two);
	wait_for(sub { $s->send(telegram_id => 9202)->{status} != 502 }, 20,
	    'the front to use the hosts again');
}

# A host without workers answers fast, with errors.  The front must not prefer
# it for that.
for my $name (qw(one two)) {
	$host{$name}->stop_worker($_, 'KILL') for @{ $numbers{$name} };
	my @got = map { $s->send(telegram_id => 9300 + $_) } 1 .. 20;
	my @failed = grep { $_->{status} != 200 } @got;
	cmp_ok scalar @failed, '<=', 4, "host $name has no workers: few chats fail";
	is join(' ', grep { $_ ne 'Service temporarily unavailable' }
	    map { why($_) } @failed), '', '... with a 502 in JSON';
	$host{$name}->start_workers(@{ $numbers{$name} });
	my $before = answered_by($name);
	wait_for(sub { $s->send(telegram_id => 9400 + int rand 90);
	    answered_by($name) > $before }, 20, "host $name to answer again");
}

# -- a host is cut off, and comes back ---------------------------------------

my @story;
sub more ($soak, $n, $what)
{
	my $before = $soak->answered;
	wait_for(sub { $soak->answered >= $before + $n }, 40, $what);
}

sub comes_back ($soak, $name, $began)
{
	my $before = answered_by($name);
	wait_for(sub { answered_by($name) >= $before + 5 }, 40,
	    "host $name to answer again");
	push @story, sprintf '%s away for %.1f s, answers again after %.1f s',
	    $name, @$began[1] - @$began[0], time - $began->[1];
}

sub happens ($soak)
{
	more($soak, 40, 'forty answers');
	for my $name (qw(one two)) {
		my $began = time;
		$hosts->cut($name);
		more($soak, 40, "answers without $name");
		my $before = answered_by($name);
		more($soak, 40, "more answers without $name");
		push @story, "$name answered " . (answered_by($name) - $before)
		    . ' while it was cut off';
		my $ended = time;
		$hosts->join($name);
		comes_back($soak, $name, [ $began, $ended ]);
	}
	for my $name (qw(two one)) {
		my $began = time;
		kill_host($host{$name}, $name);
		more($soak, 40, "answers while $name is down");
		my $ended = time;
		start_host($host{$name}, $name);
		comes_back($soak, $name, [ $began, $ended ]);
	}
	# No chat is answered meanwhile: for longer than a statement may take,
	# and for less.
	for ([ 2.5, 'database' ], [ 0.3, 'database' ], [ 2, qw(one two) ]) {
		my ($seconds, @names) = @$_;
		$hosts->cut($_) for @names;
		$soak->pass($seconds);
		$hosts->join($_) for @names;
		more($soak, 40, "answers with @names back");
	}
}

$s->sql('truncate ai_chat_requests, ai_chat_daily_limits');
my $began = time;
my $r = AIChat::Soak->run(seconds => 300, seed => $ENV{AIC_SOAK_SEED}
    // int rand 1e6, stack => $s, story => \&happens);
note $_ for @story;
note sprintf 'in %.0f s: %s', time - $began, join ', ', map { "$_ $r->{$_}" }
    qw(chats requests answered replayed refused failed lost twice over);
cmp_ok $r->{answered}, '>=', 200,
    'hosts and database cut off: many chats are answered';
cmp_ok $r->{replayed}, '>=', 5, '... some of them are replayed';
is $r->{lost}, 0, '... no answer is lost';
is $r->{twice}, 0, '... no chat is paid for twice';
is $r->{over}, 0, '... no user is over the limit';
is join("\n", @{ $r->{wrong} }), '', '... no other rule is broken';

$_->stop for values %host;
done_testing;
AIChat::Proc::remove_dir($ETC);
