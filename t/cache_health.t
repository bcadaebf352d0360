# Redis comes and goes: /health/ready, /metrics and the log tell so, nobody waits for
# it, and a worker without it is as good as ever.

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

# It gets there within a few looks of the janitor.
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

# Neither health nor a chat waits for Redis.
sub is_quick ($title)
{
	my $start = time;
	is $s->send(telegram_id => 1)->{status}, 200, "$title: a chat is answered";
	cache() for 1 .. 5;
	cmp_ok time - $start, '<', 5, '... and nothing waits';
}

# -- it is there -------------------------------------------------------------

gets('ok', 'Redis is there');
wait_for(sub { metric('cache_connections') == 8 }, 20, 'all connections');
is metric('cache_up'), 1, '... and /metrics says so';
is metric('cache_breaker_open'), 0, '... and that it is well';
wait_for(sub { lines('Redis is available') == 1 }, 20, 'the log');
like $s->redis_cli('client', 'list'), qr/cmd=ping/, '... it was asked';
is_quick('with Redis');

# -- it hangs ----------------------------------------------------------------

$s->kill_redis('STOP');
gets('open', 'one that hangs is left alone');
is_quick('with one that hangs');
is metric('cache_up'), 0, '... it is not up';
is metric('cache_breaker_open'), 1, '... but left alone';
wait_for(sub { lines('breaker for Redis opened.*did not answer') >= 1 }, 20, 'the log');
$s->kill_redis('CONT');
gets('ok', '... it goes on, and is asked again');
wait_for(sub { metric('cache_connections') == 8 }, 20, 'all connections');

# -- it is slower than any caller would wait ---------------------------------

$s->proxy('redis')->fault(latency_ms => 400);
gets('open', 'one that is too slow is left alone');
$s->proxy('redis')->fault(drip_ms => 200);
is_quick('with one that drips');
is cache(), 'open', '... and stays so';
$s->proxy('redis')->clear;
gets('ok', '... as fast as ever, it is asked again');

# -- it dies, and comes back -------------------------------------------------

$s->proxy('redis')->fault(refuse => 1);
$s->kill_redis('KILL');
gets('down', 'killed, it is down');
is_quick('without Redis');
is metric('cache_up'), 0, '... it is not up';
is metric('cache_connections'), 0, '... without a connection';
wait_for(sub { lines('Redis is unavailable, .*: could not connect') >= 1 }, 20, 'the log');
my $answers = lines('Redis is available');
$s->start_redis;
$s->proxy('redis')->clear;
gets('ok', '... and back');
wait_for(sub { lines('Redis is available') > $answers }, 20, 'the log');

# -- connections are lost ----------------------------------------------------

for my $how (qw(cut reset)) {
	$s->proxy('redis')->cut_all($how);
	wait_for(sub { $s->proxy('redis')->counts->{open} == 8 }, 20,
	    'connections');
	is cache(), 'ok', "connections that are lost ($how) are made again";
}
$s->redis_cli('config', 'set', 'timeout', 2);
gets('ok', 'a Redis that closes idle connections');
$s->redis_cli('config', 'set', 'timeout', 0);

# -- it wants a password, or is another one ----------------------------------

$s->redis_cli('config', 'set', 'requirepass', 'geheim @:/%');
$s->proxy('redis')->cut_all;
gets('down', 'without its password it is as good as down');
wait_for(sub { lines('refuses us: NOAUTH') >= 1 }, 20, 'the log');
my $url = $s->stack->settings->{REDIS_URL};
$s->restart_worker(1, REDIS_URL =>
    $url =~ s{://}{://:geheim%20%40%3A%2F%25@}r . '?db=3');
gets('ok', '... with it, and a database, it is there');
like $s->redis_cli('-a', 'geheim @:/%', '--no-auth-warning', 'client', 'list'),
    qr/ db=3 .*cmd=ping/, '... that one';
unlike $s->worker_log(1), qr/geheim/, '... and no log has it';
$s->restart_worker(1, REDIS_URL => $url =~ s{://}{://nobody:wrong@}r);
gets('down', '... a wrong one');
wait_for(sub { lines('refuses us: WRONGPASS') >= 1 }, 20, 'the log');
$s->restart_worker(1, REDIS_URL => 'redis://127.0.0.1:' . $s->port);
gets('open', 'a web server is no Redis');
is_quick('with that');

# -- its name is not found ---------------------------------------------------

$s->restart_worker(1, REDIS_URL => 'redis://nowhere.invalid');
gets('down', 'a name that nobody knows');
is_quick('with that');
wait_for(sub { lines('could not find the host') >= 1 }, 20, 'the log');

# -- there is none -----------------------------------------------------------

$s->restart_worker(1, REDIS_URL => '');
is cache(), 'off', 'without REDIS_URL it is off';
is metric('cache_up'), undef, '... and not among the metrics';

done_testing;
