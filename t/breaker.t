# A model that keeps failing is left alone for a while: callers are told so at
# once, and one chat at a time tries whether it is back.

use v5.36;
use utf8;
use AIChat::FastCGI;
use AIChat::Test;
use Time::HiRes qw(time);

# Nobody waits for a retry here, but for those of the cases; and one user may have
# fifty reservations.
my $s = AIChat::Test->new(env => { AI_CHAT_THREADS => 60,
    AI_CHAT_DAILY_LIMIT => 100,
    AI_CHAT_DEADLINE_MS => 4000, AI_CHAT_DB_TIMEOUT_MS => 500,
    AI_CHAT_BREAKER_FAILURES => 6, AI_CHAT_BREAKER_OPEN_MS => 30000 });
my $user = 100;

sub upstream { return $s->get('/health/ready')->{json}{checks}{upstream} }
sub chat ($marks) { return $s->send(telegram_id => ++$user,
    message => "[[$marks]]") }
sub fail_once { return chat('body=null')->{status} }
sub lines ($what) { return scalar(() = $s->worker_log(1) =~ /$what/g) }

# Told at once that the model is not asked.
sub is_refused ($title, $got, $most_s)
{
	subtest $title => sub {
		is $got->{status}, 503, 'status';
		is why($got), 'The model is not available now', 'detail';
		like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
		    'Retry-After';
		cmp_ok $got->{headers}{'retry-after'}, '<=', $most_s,
		    '... no longer than it is open';
	};
}

# With settings of its own, as new.
sub restart (%settings)
{
	$s->restart_worker(1, %settings);
	is upstream(), 'ok', 'a new worker thinks well of the model';
}

sub wait_until_due
{
	wait_for(sub { upstream() ne 'open' }, 20, 'the time of the trial');
}

# -- what opens it -----------------------------------------------------------

{
	my @faults = ('status=500', 'status=503 body=html retry_after=60',
	    'close=before', 'hang=1', 'body=broken', 'body=empty');
	for my $i (1 .. @faults) {
		is chat($faults[$i - 1])->{status}, 500,
		    "failure $i: $faults[$i - 1]";
		is upstream(), $i < 6 ? 'down' : 'open',
		    '... and the model is ' . ($i < 6 ? 'down' : 'not asked');
	}
	my $asked = $s->model_count;
	my $got = $s->send(telegram_id => 7);
	is_refused('the next chat is refused', $got, 30);
	cmp_ok $got->{headers}{'retry-after'}, '>', 20, '... for long';
	cmp_ok $got->{seconds}, '<', 1, '... at once';

	my @got = $s->send_many(map { { telegram_id => 7 } } 1 .. 50);
	is((grep { $_->{status} == 503 && $_->{headers}{'retry-after'} } @got),
	    50, 'fifty more are told the same');
	is $s->model_count, $asked, 'the model was not asked';
	is_deeply $s->ledger(7), { count => 0, rows => 0, leases => 0 },
	    'nothing is counted, kept or reserved';

	my $start = time;
	is $s->get('/health')->{status}, 200, 'health answers meanwhile';
	is $s->get('/health/ready')->{status}, 200, 'this one is ready';
	is $s->get('/v1/chat/limits/7')->{json}{requests_today}, 0,
	    'the limits answer';
	is $s->post('/v1/chat/history', { telegram_id => 7 })->{status}, 200,
	    'the history answers';
	is $s->get('/v1/chat/stats/7')->{status}, 200, 'statistics answer';
	is $s->send(telegram_id => 7, headers => { 'X-API-KEY' => 'x' })
	    ->{status}, 403, 'a wrong key is refused as ever';
	is $s->send(telegram_id => 7, message => ' ')->{status}, 422,
	    'so is a message that is none';
	cmp_ok time - $start, '<', 2, '... all without waiting';

	is lines(qr/^level=warn event=breaker .*6 chats.*30000 ms/m), 1,
	    'the log tells that it opened, once';
	ok wait_for(sub {
		lines(qr/^level=warn event=request .*code=EOPEN status=503/m)
		    == 51
	}, 10, 'all lines'), '... and who was refused';
	unlike $s->worker_log(1), qr/code=EOPEN.*attempts=/,
	    '... without a call';
}

# -- what does not -----------------------------------------------------------

restart(AI_CHAT_BREAKER_FAILURES => 2);
is fail_once(), 500, 'a failure';
for my $marks ('status=400', 'status=401', 'status=403', 'status=404',
    'status=413', 'status=429 retry_after=60', 'status=408 retry_after=60',
    'status=429 code=insufficient_quota') {
	is chat($marks)->{status}, 500, "$marks fails";
	is upstream(), 'down', '... and does not count';
}
{
	my ($sock) = $s->start_chats({ telegram_id => ++$user,
	    message => '[[hang=1 id=left]]' });
	wait_for(sub { $s->model_count('left') }, 10, 'the call');
	close $sock;
	wait_for(sub { $s->worker_log(1) =~ /code=EGONE/ }, 10,
	    'the worker to notice');
	is upstream(), 'down', 'nor does a caller who leaves';
}
is fail_once(), 500, 'nor do they end the run: the next failure';
is upstream(), 'open', '... opens it';

restart();
for (1 .. 3) {
	is fail_once(), 500, 'a failure';
	is chat('')->{status}, 200, '... that a success follows';
}
is fail_once(), 500, 'and one more';
is upstream(), 'down', 'a success ends the run';

restart(AI_CHAT_BREAKER_FAILURES => 0);
is((grep { $_->{status} == 500 } $s->send_many(map { {
	telegram_id => ++$user, message => '[[body=null]]',
} } 1 .. 50)), 50, 'with 0 it never opens');
is upstream(), 'down', '... and the model is down';
is chat('')->{status}, 200, '... and asked';

restart(AI_CHAT_BREAKER_FAILURES => undef, AI_CHAT_BREAKER_OPEN_MS => undef);
is((grep { $_->{status} == 500 } $s->send_many(map { {
	telegram_id => ++$user, message => '[[body=null]]',
} } 1 .. 19)), 19, 'unless said otherwise, 19 failures');
is upstream(), 'down', '... do not open it';
is fail_once(), 500, '... the twentieth';
is upstream(), 'open', '... does';
is_refused('... for ten seconds', chat(''), 10);

# -- the trial ---------------------------------------------------------------

restart(AI_CHAT_BREAKER_FAILURES => 1, AI_CHAT_BREAKER_OPEN_MS => 500);
is fail_once(), 500, 'it opens';
is_refused('... for half a second, which is told as one', chat(''), 1);
wait_until_due();
{
	my @socks = $s->start_chats(map { {
		telegram_id => ++$user, message => '[[id=trial delay=1000]]',
	} } 1 .. 50);
	wait_for(sub { $s->model_count('trial') }, 10, 'the trial');
	is upstream(), 'open', 'while one tries, nobody else would be asked';
	my @got = finish_chats(@socks);
	is((grep { $_->{status} == 200 } @got), 1,
	    'of fifty at once one makes the trial');
	is((grep { $_->{status} == 503 && $_->{headers}{'retry-after'} == 1 }
	    @got), 49, '... and the others may come again in a second');
	is $s->model_count('trial'), 1, '... with one call';
	is upstream(), 'ok', 'its success closes it';
	is lines(qr/^level=info event=breaker /m), 1,
	    '... which the log tells';
	is((grep { $_->{status} == 200 } $s->send_many(map { {
		telegram_id => ++$user } } 1 .. 20)), 20, '... for all');
}

my $opened = lines(qr/^level=warn event=breaker /m);
is fail_once(), 500, 'it opens again';
for (1, 2) {
	wait_until_due();
	is upstream(), 'down', 'when its time is over the model is only down';
	is fail_once(), 500, 'a trial that fails';
	is upstream(), 'open', '... opens it for another while';
	is_refused('... as before', chat(''), 1);
}
is lines(qr/^level=warn event=breaker /m), $opened + 1,
    '... and that is one opening';

wait_until_due();
is chat('status=401')->{status}, 500, 'a trial that says nothing';
is upstream(), 'down', '... is handed on';
{
	my ($sock) = $s->start_chats({ telegram_id => ++$user,
	    message => '[[hang=1 id=gone]]' });
	wait_for(sub { $s->model_count('gone') }, 10, 'the trial');
	is upstream(), 'open', 'so is one';
	close $sock;
	wait_for(sub { upstream() eq 'down' }, 10, 'the worker to notice');
	pass '... whose caller leaves';
}
is chat('')->{status}, 200, '... to the next, which closes it';

# -- those that began before ---------------------------------------------------

restart(AI_CHAT_BREAKER_OPEN_MS => 60000);
{
	my @socks = $s->start_chats({ telegram_id => ++$user,
	    message => '[[delay=1000 id=late]]' });
	wait_for(sub { $s->model_count('late') }, 10, 'the call');
	is fail_once(), 500, 'it opens while a chat is under way';
	is upstream(), 'open', '... for long';
	is +(finish_chats(@socks))[0]{status}, 200,
	    'that one is answered all the same';
	is upstream(), 'ok', '... and closes it';
	is chat('')->{status}, 200, '... for all';
}

restart(AI_CHAT_BREAKER_OPEN_MS => 60000);
{
	my @socks = $s->start_chats({ telegram_id => ++$user,
	    message => '[[status=503 retry_after_ms=1500 id=waits]]' });
	wait_for(sub { $s->model_count('waits') }, 10, 'the first call');
	is fail_once(), 500, 'it opens while a chat waits to try again';
	is +(finish_chats(@socks))[0]{status}, 500, 'that one fails';
	is $s->model_count('waits'), 1, '... and does not';
	is upstream(), 'open', '... which changes nothing';
}

# -- a worker knows what it has seen -----------------------------------------

sub ask_worker ($n, $method, $path, $body = '')
{
	my ($status, $text) = AIChat::FastCGI::request(
	    $s->stack->socket_of($n), { REQUEST_METHOD => $method,
		DOCUMENT_URI => $path, HTTP_X_API_KEY => $AIChat::Test::KEY,
		X_REQUEST_ID => 'x' }, $body);
	return "$status $text";
}

restart();
$s->start_worker(2);
like ask_worker(1, POST => '/v1/chat/send',
    '{"telegram_id": 5, "message": "[[body=null]]"}'), qr/^500 /,
    'a chat of the first worker fails';
like ask_worker(1, GET => '/health/ready'), qr/"upstream":"open"/,
    '... which asks no more';
like ask_worker(1, POST => '/v1/chat/send',
    '{"telegram_id": 5, "message": "?"}'), qr/^503 /, '... for nobody';
like ask_worker(2, GET => '/health/ready'), qr/"upstream":"ok"/,
    'the second has seen nothing';
like ask_worker(2, POST => '/v1/chat/send',
    '{"telegram_id": 5, "message": "?"}'), qr/^200 /, '... and asks';

done_testing;
