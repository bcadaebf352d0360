# Redis fails and recovers in many ways: /health/ready, /metrics and the log
# show it, no request waits for it, and chats are answered without it.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(redis => 1, proxy => [ 'redis' ]);

sub cache
{
	my $got = $s->get('/health/ready', headers => { 'X-API-KEY' => undef });
	die "not ready: $got->{content}\n" if $got->{status} != 200;
	return $got->{json}{checks}{cache};
}

# The janitor notices the state of Redis within a few of its checks.
sub gets ($state, $title)
{
	my $is = '';
	eval { wait_for(sub { ($is = cache()) eq $state }, 20, $state) };
	is $is, $state, $title;
}

sub metric ($name)
{
	my $got = $s->get('/metrics', headers => { 'X-API-KEY' => undef });
	my ($n) = $got->{content} =~ /^ai_chat_\Q$name\E\{worker="1"\} (\d+)$/m;
	return $n;
}

sub lines ($what) { return scalar(() = $s->worker_log(1) =~ /event=cache .*$what/g) }

# Neither a chat nor readiness waits for Redis.
sub is_quick ($title)
{
	my $start = time;
	is $s->send(telegram_id => 1)->{status}, 200, "$title: a chat is answered";
	cache() for 1 .. 5;
	cmp_ok time - $start, '<', 5, '... and nothing waits';
}

# -- Redis runs --------------------------------------------------------------

gets('ok', 'Redis runs: the cache is ok');
wait_for(sub { metric('cache_connections') == 8 }, 20, 'all connections');
is metric('cache_up'), 1, '... cache_up is 1';
is metric('cache_breaker_open'), 0, '... the circuit breaker is closed';
wait_for(sub { lines('Redis is available') == 1 }, 20, 'the log');
like $s->redis_cli('client', 'list'), qr/cmd=ping/,
    '... the janitor sends PING';
is_quick('with Redis');

# -- Redis hangs -------------------------------------------------------------

$s->kill_redis('STOP');
gets('open', 'Redis hangs: the circuit breaker opens');
is_quick('Redis hangs');
is metric('cache_up'), 0, '... cache_up is 0';
is metric('cache_breaker_open'), 1, '... cache_breaker_open is 1';
wait_for(sub { lines('Redis opened: .*did not answer') >= 1 }, 20,
    'the log');
$s->kill_redis('CONT');
gets('ok', '... when Redis goes on, the circuit breaker closes');
wait_for(sub { metric('cache_connections') == 8 }, 20, 'all connections');

# -- Redis is slower than the time limit of a call ---------------------------

$s->proxy('redis')->fault(latency_ms => 400);
gets('open', 'Redis is too slow: the circuit breaker opens');
$s->proxy('redis')->fault(drip_ms => 200);
is_quick('Redis sends a byte at a time');
is cache(), 'open', '... and the circuit breaker stays open';
$s->proxy('redis')->clear;
gets('ok', '... when Redis is fast again, the circuit breaker closes');

# -- Redis is killed and restarted -------------------------------------------

$s->proxy('redis')->fault(refuse => 1);
$s->kill_redis('KILL');
gets('down', 'Redis is killed: the cache is down');
is_quick('Redis is down');
is metric('cache_up'), 0, '... cache_up is 0';
is metric('cache_connections'), 0, '... there is no connection';
wait_for(sub { lines('Redis is unavailable, .*: could not connect') >= 1 },
    20, 'the log');
my $answers = lines('Redis is available');
$s->start_redis;
$s->proxy('redis')->clear;
gets('ok', '... when Redis is restarted, the cache is ok');
wait_for(sub { lines('Redis is available') > $answers }, 20, 'the log');

# -- connections are lost ----------------------------------------------------

for my $how (qw(cut reset)) {
	$s->proxy('redis')->cut_all($how);
	wait_for(sub { $s->proxy('redis')->counts->{open} == 8 }, 20,
	    'connections');
	is cache(), 'ok', "connections that are lost ($how) are replaced";
}
$s->redis_cli('config', 'set', 'timeout', 2);
gets('ok', 'Redis closes idle connections: the cache is ok');
$s->redis_cli('config', 'set', 'timeout', 0);

# -- a password, and a server that is not Redis ------------------------------

$s->redis_cli('config', 'set', 'requirepass', 'geheim @:/%');
$s->proxy('redis')->cut_all;
gets('down', 'without the password the cache is down');
wait_for(sub { lines('returned an error: NOAUTH') >= 1 }, 20, 'the log');
my $url = $s->stack->settings->{REDIS_URL};
$s->restart_worker(1, REDIS_URL =>
    $url =~ s{://}{://:geheim%20%40%3A%2F%25@}r . '?db=3');
gets('ok', '... with the password and a database number it is ok');
like $s->redis_cli('-a', 'geheim @:/%', '--no-auth-warning', 'client', 'list'),
    qr/ db=3 .*cmd=ping/, '... connected to that database';
unlike $s->worker_log(1), qr/geheim/, '... and the password is not in the log';
$s->restart_worker(1, REDIS_URL => $url =~ s{://}{://nobody:wrong@}r);
gets('down', '... with a wrong password it is down');
wait_for(sub { lines('returned an error: WRONGPASS') >= 1 }, 20, 'the log');
$s->restart_worker(1, REDIS_URL => 'redis://127.0.0.1:' . $s->port);
gets('open', 'a web server in place of Redis: the circuit breaker opens');
is_quick('a web server in place of Redis');

# -- a host name that does not exist -----------------------------------------

$s->restart_worker(1, REDIS_URL => 'redis://nowhere.invalid');
gets('down', 'the host name of Redis does not exist: the cache is down');
is_quick('the host name does not exist');
wait_for(sub { lines('could not resolve the host') >= 1 }, 20, 'the log');

# -- without Redis -----------------------------------------------------------

$s->restart_worker(1, REDIS_URL => '');
is cache(), 'off', 'without REDIS_URL the cache is off';
is metric('cache_up'), undef, '... and not in /metrics';

done_testing;
