# A name server that never answers: no request takes longer than its deadline.

use v5.36;
use utf8;
use AIChat::DeadDNS;
use AIChat::Proc qw(temp_dir remove_dir);
use AIChat::Test;
use Time::HiRes qw(time);

plan skip_all => 'unshare is not permitted here'
    if !AIChat::DeadDNS::is_permitted();

# The resolver gives up after twenty seconds; the deadline is four seconds.
my $dir = temp_dir('ai-chat-t');
my $s = AIChat::Test->new(model => 0,
	wrap => [ AIChat::DeadDNS::wrap("$dir/resolv.conf",
	    'timeout:10 attempts:2') ],
	env => {
		OPENAI_BASE_URL => 'http://model.example/v1',
		REDIS_URL => 'redis://redis.example',
		AI_CHAT_DEADLINE_MS => 4000,
		AI_CHAT_DB_TIMEOUT_MS => 1000,
		AI_CHAT_THREADS => 8,
	});

# A reservation that is not released in time is released later.
$s->expect_log(qr/connection to client lost/, qr/due to statement timeout/);

for my $round (1, 2) {
	my @socks = $s->start_chats(map { { telegram_id => 10 * $round + $_ } }
	    1 .. 8);
	wait_for(sub { $s->taken(1) == 8 }, 5, 'all to be in flight');
	my $health = $s->get('/health/ready');
	is $health->{status}, 200, 'the name server hangs: the worker is ready';
	cmp_ok $health->{seconds}, '<', 1,
	    '... and readiness is answered at once';
	is $health->{json}{checks}{cache}, 'down', '... with the cache as down';
	my @got = finish_chats(@socks);
	is((grep { $_->{status} == 500 } @got), 8, '... eight chats fail');
	is((grep { $_->{seconds} >= 4 } @got), 0,
	    '... before the deadline, whatever the resolver does');
	cmp_ok $got[0]{seconds}, '>', 1.5,
	    '... after a wait for the resolver';
	like why($got[0]), qr/^AI service error: /, '... in JSON';
	unlike $got[0]{content}, qr/example/, '... without the name of a host';
	is_deeply $s->ledger(10 * $round + $_),
	    { count => 0, rows => 0, leases => 0 }, '... and nothing is counted'
	    for 1, 8;
}

# The name of the seller-data API is not resolved: chats wait until a timeout,
# and after five of these the circuit breaker opens.  The model refuses
# connections, so each chat fails at once when it calls the model.
$s->restart_worker(1, SERVER_HOST => 'http://server.example:8000',
    SERVER_API_KEY => 'k', AI_CHAT_DEADLINE_MS => 10000,
    AI_CHAT_DB_TIMEOUT_MS => 3000,
    AI_CHAT_BREAKER_FAILURES => 0, OPENAI_BASE_URL => 'http://127.0.0.1:1/v1');
for my $round (1 .. 3) {
	my @got = $s->send_many(map { { telegram_id => 100 * $round + $_ } } 1 .. 8);
	is((grep { $_->{status} == 500 } @got), 8,
	    'the seller-data API has no address: the model is called');
	is((grep { $_->{seconds} >= 6 } @got), 0,
	    '... whatever the resolver does');
}
my %server = map { $_ => 1 } $s->worker_log(1) =~ / server=(\w+) /g;
like join(' ', sort keys %server), qr/\Aopen (?:timeout ?)?(?:unreachable)?\z/,
    '... at first after a timeout, in the end at once';

my $start = time;
is $s->kill_worker(1, 'TERM'), 0, 'the worker exits with 0 on SIGTERM';
cmp_ok time - $start, '<', 2, '... without waiting for the resolver';

remove_dir($dir);
done_testing;
