# Health and readiness: correct, without a call of the model, and never delayed
# by chats.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(own_pg => 1, env => { AI_CHAT_THREADS => 2,
    AI_CHAT_DB_POOL => 1, AI_CHAT_DB_TIMEOUT_MS => 500 });
my $HEALTH = '{"status":"ok","service":"ai_chat","version":"1.0.0"}';

sub health { return $s->get('/health', headers => { 'X-API-KEY' => undef }) }
# Readiness with the wanted status; a worker repeats a result for a second.
sub ready ($status = 200) { return $s->ready_with($status) }

sub is_ready ($got, $status, $database, $upstream, $title)
{
	my $word = $status == 200 ? 'ready' : 'unready';
	subtest $title => sub {
		is $got->{status}, $status, 'status';
		my $cache = delete $got->{json}{checks}{cache} // 'none';
		is_deeply $got->{json}, { status => $word, checks => {
		    database => $database, upstream => $upstream } }, 'checks';
		like $cache, $s->stack->settings->{REDIS_URL}
		    ? qr/^(?:ok|down|open)$/ : qr/^off$/, 'cache';
		like $got->{headers}{'retry-after'} // 'none',
		    $status == 503 ? qr/^[1-9]\d*$/ : qr/^none$/, 'Retry-After';
	};
}

is health()->{content}, $HEALTH, 'health is answered';
is_ready(ready(), 200, 'ok', 'ok', 'ready');
is $s->value('select count(*) from ai_chat_daily_limits'), 0,
    '... and the check of the database leaves no row';

# -- the model ---------------------------------------------------------------

is $s->send(message => '[[status=401]]')->{status}, 500,
    'the model refuses the key: the chat fails';
is_ready(ready(), 200, 'ok', 'down',
    'the model is down, but the worker is ready');
is $s->send->{status}, 200, 'the next chat is answered';
is_ready(ready(), 200, 'ok', 'ok', 'the model is ok again');
is $s->model_count, 2, 'only chats called the model';

# -- all slots busy ----------------------------------------------------------

{
	my @socks = map { $s->connect } 1 .. 2;
	print { $socks[$_] } $s->chat_bytes(telegram_id => $_ + 1,
	    message => '[[delay=2000 id=slow]]') for 0, 1;
	wait_for(sub { ($s->model_count('slow') // 0) == 2 }, 20,
	    'every slot to be busy');
	my $got = health();
	is $got->{content}, $HEALTH,
	    'health is answered while every slot is busy';
	ok $got->{seconds} < 1, '... at once';
	is_ready(ready(), 200, 'ok', 'ok', 'the worker is ready, too');
	$got = $s->send(telegram_id => 9);
	is $got->{status}, 503, 'another chat is refused';
	is why($got), 'Too many requests in flight', '... with the reason';
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... and Retry-After';
	is $s->get('/v1/chat/limits/9')->{json}{requests_today}, 0,
	    '... nothing was counted';
	is $s->model_says('count', undef)->{pending}, 2,
	    '... while both chats are still in flight';
	local $/;
	like readline($_), qr/^HTTP\S+ 200\b/, 'both are answered' for @socks;
	is $s->model_count, 4, 'the model was called for no other chat';
}

# -- the database ------------------------------------------------------------

$s->expect_log(qr/status=503/, qr/terminating connection/,
    qr/the database system is/, qr/could not connect/,
    qr/connection to client lost/);
my $asked = $s->model_count;
{
	$s->sql('alter table ai_chat_requests rename column chat_id to gone');
	is_ready(ready(503), 503, 'down', 'ok',
	    'a column is missing: not ready');
	$s->sql('alter table ai_chat_requests rename column gone to chat_id');
	$s->expect_log(qr/column "chat_id" of relation .* does not exist/);
	is_ready(ready(), 200, 'ok', 'ok', 'the column is back: ready');
}
$s->stop_pg;
for (1, 2) {
	my $got = health();
	is $got->{content}, $HEALTH, 'PostgreSQL is down: health is answered';
	ok $got->{seconds} < 0.5, '... at once';
	is_ready(ready(503), 503, 'down', 'ok', '... but not ready');
}
is $s->get("/v1/chat/$_/1")->{status}, 503, "... $_: 503" for qw(limits stats);
my $got = $s->send;
is $got->{status}, 503, '... a chat: 503';
like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/, '... with Retry-After';
is $s->model_count, $asked, '... and the model is not called';
$s->start_pg;
wait_for(sub { ready(200)->{status} == 200 }, 20,
    'the worker to connect again');
is_ready(ready(), 200, 'ok', 'ok', 'PostgreSQL is back: ready');
is $s->send->{status}, 200, '... and chats are answered';

# A database that accepts connections and never answers.
{
	my @pids = ($s->pg_pid, split ' ', AIChat::Proc::slurp('/proc/'
	    . $s->pg_pid . '/task/' . $s->pg_pid . '/children'));
	kill STOP => @pids;
	my $got = ready(503);
	my $alive = health();
	kill CONT => @pids;
	is_ready($got, 503, 'down', 'ok', 'PostgreSQL hangs: not ready');
	ok $got->{seconds} < 3, '... within three seconds';
	is $alive->{content}, $HEALTH, '... and health is answered meanwhile';
	wait_for(sub { ready(200)->{status} == 200 }, 20, 'it to be ready again');
}

done_testing;
