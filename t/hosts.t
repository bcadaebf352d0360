# Workers on two hosts behind one Nginx, and one PostgreSQL for all: a host that is
# cut off and comes back costs no answer and gives nobody one too many.

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

# A password between hosts, none on the database's own.
spew("$ETC/hba.conf", "local all all trust\n"
    . "host all ai_chat $RANGE scram-sha-256\n");

my $hosts = AIChat::Hosts->new($ETC, qw(front database one two));
my $s = AIChat::Test->new(workers => 0, model => 0, nginx => 0,
    pg_net => $hosts->net('database'), pg_conf => {
	listen_addresses => $hosts->address('database'),
	hba_file => "$ETC/hba.conf",
    });
# Faults are what this is for.
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

# A host as docs/scaling.md has it: workers, and an Nginx that lets the front in.  The
# model is there too: whoever is cut off from the database gets answers, which is worse.
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

# All of it at once, as when the power goes.
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

# What the workers of a host say of requests.
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
	    'X-Request-Id' => "way-$i" });
	is $got->{status}, 200, 'a chat is answered through the front'
	    if $i == 1;
	is $got->{headers}{'x-request-id'}, "way-$i", '... with its id, once'
	    if $i == 1;
}
like log_of('one') . log_of('two'), qr/\breq=way-1 .*status=200/,
    '... which the worker\'s log has';
cmp_ok answered_by($_), '>=', 2, "host $_ is asked" for qw(one two);
{
	my $got = $s->send(headers => { 'X-API-KEY' => 'wrong' });
	is $got->{status}, 403, 'a wrong key is refused';
	my ($first, $again) = map { $s->send(telegram_id => 9100,
	    headers => { 'Idempotency-Key' => 'k' }) } 1, 2;
	is $again->{headers}{'idempotent-replayed'}, 'true',
	    'a key gets through';
	is $again->{content}, $first->{content}, '... and finds its answer';
	is $s->send(telegram_id => 0)->{status}, 422,
	    'a worker\'s error passes as it is';
	$got = $s->post('/v1/chat/send', 'x' x 262145);
	is $got->{status}, 413, 'too large a body ends at the front';
	is $got->{content}, '{"detail":"Request body too large"}', '... in JSON';
	is $s->get('/metrics')->{status}, 404, 'figures are each host\'s own';
	is $s->get('/health/ready')->{status}, 200, 'it is ready';
}
{
	my $got = AIChat::Test::with_json(HTTP::Tiny->new->get('http://'
	    . $hosts->address('one') . ':9001/health'));
	is $got->{status}, 403, 'who is not the front can\'t pass it by';
	is $got->{content}, '{"detail":"Forbidden"}', '... and is told in JSON';
	is $hosts->run_on('one', 'ss', '-Htln') =~ tr/\n//, 3,
	    'a host listens with its Nginx, for callers and for figures, and the '
	    . 'model\'s stand-in alone';
}
# Those of the server, as its own host sees them when all is acknowledged.
wait_for(sub {
	my @sessions = split /\n/, $hosts->run_on('database',
	    qw(ss -Htno state established sport = :5432));
	return @sessions >= 2
	    && !grep { !/timer:\(keepalive,(?:10|\d(?:\.\d+)?)?(?:\d+m)?s/ }
	    @sessions;
}, 10, 'the database to look for its sessions\' hosts every ten seconds');

# Whoever is nearer to the worker gives up first, and so the caller is told by one who
# knows.
{
	my ($outer) = slurp($front->run_dir . '/conf.d/ai-chat.conf')
	    =~ /proxy_read_timeout (\d+)s/;
	my ($inner) = slurp($host{one}->run_dir . '/conf.d/ai-chat.conf')
	    =~ /fastcgi_read_timeout (\d+)s/;
	cmp_ok $outer, '>', $inner, 'the front waits for longer than a host';
	cmp_ok 1000 * $inner, '>', $settings{AI_CHAT_DEADLINE_MS},
	    '... which waits for longer than a worker takes';
}

# -- never twice -------------------------------------------------------------

{
	my ($sock) = $s->start_chats({ telegram_id => 9200,
	    message => '[[delay=1500]]',
	    headers => { 'X-Request-Id' => 'only-once' } });
	my $name = wait_for(sub {
		(grep { length $hosts->run_on($_, qw(ss -Htn state established
		    sport = :9001)) } qw(one two))[0];
	}, 10, 'a host to be asked');
	my ($other) = grep { $_ ne $name } qw(one two);
	$host{$name}->nginx->stop('KILL');
	my ($got) = finish_chats($sock);
	is $got->{status}, 502, 'a host that dies with a chat: 502';
	is why($got), 'Service temporarily unavailable', '... in JSON';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... come again';
	is $s->send(telegram_id => 9201)->{status}, 200,
	    '... the next one is the other host\'s';
	unlike log_of($other), qr/req=only-once/,
	    '... and the chat was not handed over a second time';
	$host{$other}->nginx->stop('KILL');
	$got = $s->send;
	is $got->{status}, 502, 'no host at all: 502';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... come again';
	$host{$_}->start_nginx for qw(one two);
	wait_for(sub { $s->send(telegram_id => 9202)->{status} != 502 }, 20,
	    'the front to find them again');
}

# A host whose Nginx has nobody behind it is no quick host.
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
	    answered_by($name) > $before }, 20, "host $name to be asked again");
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
	    "host $name to be asked again");
	push @story, sprintf '%s away for %.1f s, asked again after %.1f s',
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
		more($soak, 40, "answers while $name is dead");
		my $ended = time;
		start_host($host{$name}, $name);
		comes_back($soak, $name, [ $began, $ended ]);
	}
	# Nobody is answered then; for longer than a statement may take, and for less.
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
cmp_ok $r->{answered}, '>=', 200, 'hosts and database away: many chats are answered';
cmp_ok $r->{replayed}, '>=', 5, '... some of them again';
is $r->{lost}, 0, '... no answer is lost';
is $r->{twice}, 0, '... none is paid for twice';
is $r->{over}, 0, '... nobody is over the limit';
is join("\n", @{ $r->{wrong} }), '', '... nothing else is wrong';

$_->stop for values %host;
done_testing;
AIChat::Proc::remove_dir($ETC);
