# The circuit breaker of the model: while it is open, chats are refused at once;
# after a pause, one chat at a time calls the model as a trial.

use v5.36;
use utf8;
use AIChat::FastCGI;
use AIChat::Test;
use Time::HiRes qw(time);

# Only some cases below wait for a retry.  One user may have fifty reservations.
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

# The refusal while the circuit breaker is open.
sub is_refused ($title, $got, $most_s)
{
	subtest $title => sub {
		is $got->{status}, 503, 'status';
		is why($got), 'The model is not available now', 'detail';
		like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
		    'Retry-After';
		cmp_ok $got->{headers}{'retry-after'}, '<=', $most_s,
		    '... no longer than the circuit breaker stays open';
	};
}

# A new worker with other settings, whose circuit breaker is closed.
sub restart (%settings)
{
	$s->restart_worker(1, %settings);
	is upstream(), 'ok', 'the circuit breaker of a new worker is closed';
}

sub wait_until_due
{
	wait_for(sub { upstream() ne 'open' }, 20, 'the time of the trial');
}

# -- failures that open it ---------------------------------------------------

{
	my @faults = ('status=500', 'status=503 body=html retry_after=60',
	    'close=before', 'hang=1', 'body=broken', 'body=empty');
	for my $i (1 .. @faults) {
		is chat($faults[$i - 1])->{status}, 500,
		    "failure $i: $faults[$i - 1]";
		is upstream(), $i < 6 ? 'down' : 'open',
		    '... and readiness says: ' . ($i < 6 ? 'down' : 'open');
	}
	my $asked = $s->model_count;
	my $got = $s->send(telegram_id => 7);
	is_refused('the next chat is refused', $got, 30);
	cmp_ok $got->{headers}{'retry-after'}, '>', 20,
	    '... for more than 20 s';
	cmp_ok $got->{seconds}, '<', 1, '... at once';

	my @got = $s->send_many(map { { telegram_id => 7 } } 1 .. 50);
	is((grep { $_->{status} == 503 && $_->{headers}{'retry-after'} } @got),
	    50, 'fifty more chats are refused, too');
	is $s->model_count, $asked, 'the model is not called';
	is_deeply $s->ledger(7), { count => 0, rows => 0, leases => 0 },
	    'nothing is counted, saved or reserved';

	my $start = time;
	is $s->get('/health')->{status}, 200, 'health is answered meanwhile';
	is $s->get('/health/ready')->{status}, 200, 'the worker is ready';
	is $s->get('/v1/chat/limits/7')->{json}{requests_today}, 0,
	    'the limits are answered';
	is $s->post('/v1/chat/history', { telegram_id => 7 })->{status}, 200,
	    'the history is answered';
	is $s->get('/v1/chat/stats/7')->{status}, 200,
	    'statistics are answered';
	is $s->send(telegram_id => 7, headers => { 'X-API-KEY' => 'x' })
	    ->{status}, 403, 'a wrong key is refused';
	is $s->send(telegram_id => 7, message => ' ')->{status}, 422,
	    'so is a blank message';
	cmp_ok time - $start, '<', 2, '... all without waiting';

	is lines(qr/^level=warn event=breaker .*6 chats.*30000 ms/m), 1,
	    'the log has one line about the opening';
	ok wait_for(sub {
		lines(qr/^level=warn event=request .*code=EOPEN status=503/m)
		    == 51
	}, 10, 'all lines'), '... and one for each refused chat';
	unlike $s->worker_log(1), qr/code=EOPEN.*attempts=/,
	    '... none of which called the model';
}

# -- failures that do not ----------------------------------------------------

restart(AI_CHAT_BREAKER_FAILURES => 2);
is fail_once(), 500, 'a failure';
for my $marks ('status=400', 'status=401', 'status=403', 'status=404',
    'status=413', 'status=429 retry_after=60', 'status=408 retry_after=60',
    'status=429 code=insufficient_quota') {
	is chat($marks)->{status}, 500, "$marks: the chat fails";
	is upstream(), 'down', '... and the failure does not count';
}
{
	my ($sock) = $s->start_chats({ telegram_id => ++$user,
	    message => '[[hang=1 id=left]]' });
	wait_for(sub { $s->model_count('left') }, 10, 'the call');
	close $sock;
	wait_for(sub { $s->worker_log(1) =~ /code=EGONE/ }, 10,
	    'the worker to notice');
	is upstream(), 'down', 'nor does a caller that hangs up';
}
is fail_once(), 500,
    'they do not end the run of failures either: the next failure';
is upstream(), 'open', '... opens the circuit breaker';

restart();
for (1 .. 3) {
	is fail_once(), 500, 'a failure';
	is chat('')->{status}, 200, '... and then a success';
}
is fail_once(), 500, 'and one more failure';
is upstream(), 'down', '... does not open it, because a success ends the run';

restart(AI_CHAT_BREAKER_FAILURES => 0);
is((grep { $_->{status} == 500 } $s->send_many(map { {
	telegram_id => ++$user, message => '[[body=null]]',
} } 1 .. 50)), 50, 'AI_CHAT_BREAKER_FAILURES=0: fifty failures');
is upstream(), 'down', '... do not open it';
is chat('')->{status}, 200, '... and the model is called';

restart(AI_CHAT_BREAKER_FAILURES => undef, AI_CHAT_BREAKER_OPEN_MS => undef);
is((grep { $_->{status} == 500 } $s->send_many(map { {
	telegram_id => ++$user, message => '[[body=null]]',
} } 1 .. 19)), 19, 'by default, 19 failures');
is upstream(), 'down', '... do not open it';
is fail_once(), 500, '... the twentieth';
is upstream(), 'open', '... does';
is_refused('... for ten seconds at most', chat(''), 10);

# -- the trial ---------------------------------------------------------------

restart(AI_CHAT_BREAKER_FAILURES => 1, AI_CHAT_BREAKER_OPEN_MS => 500);
is fail_once(), 500, 'a failure opens it';
is_refused('... for half a second, in Retry-After one', chat(''), 1);
wait_until_due();
{
	my @socks = $s->start_chats(map { {
		telegram_id => ++$user, message => '[[id=trial delay=1000]]',
	} } 1 .. 50);
	wait_for(sub { $s->model_count('trial') }, 10, 'the trial');
	is upstream(), 'open', 'during a trial the circuit breaker is open';
	my @got = finish_chats(@socks);
	is((grep { $_->{status} == 200 } @got), 1,
	    'of fifty at once one makes the trial');
	is((grep { $_->{status} == 503 && $_->{headers}{'retry-after'} == 1 }
	    @got), 49, '... the others are refused, with Retry-After 1');
	is $s->model_count('trial'), 1, '... and the model is called once';
	is upstream(), 'ok',
	    'the success of the trial closes the circuit breaker';
	is lines(qr/^level=info event=breaker /m), 1,
	    '... with one line in the log';
	is((grep { $_->{status} == 200 } $s->send_many(map { {
		telegram_id => ++$user } } 1 .. 20)), 20, '... for all');
}

my $opened = lines(qr/^level=warn event=breaker /m);
is fail_once(), 500, 'a failure opens it again';
for (1, 2) {
	wait_until_due();
	is upstream(), 'down', 'when the pause is over, readiness says down';
	is fail_once(), 500, 'a trial fails';
	is upstream(), 'open',
	    '... and opens the circuit breaker for another pause';
	is_refused('... in which chats are refused', chat(''), 1);
}
is lines(qr/^level=warn event=breaker /m), $opened + 1,
    '... but the log has one opening';

wait_until_due();
is chat('status=401')->{status}, 500, 'a trial whose failure does not count';
is upstream(), 'down', '... leaves the trial to the next chat';
{
	my ($sock) = $s->start_chats({ telegram_id => ++$user,
	    message => '[[hang=1 id=gone]]' });
	wait_for(sub { $s->model_count('gone') }, 10, 'the trial');
	is upstream(), 'open', 'so does a trial';
	close $sock;
	wait_for(sub { upstream() eq 'down' }, 10, 'the worker to notice');
	pass '... whose caller hangs up';
}
is chat('')->{status}, 200, '... and the success of the next chat closes it';

# -- chats that began before it opened ---------------------------------------

restart(AI_CHAT_BREAKER_OPEN_MS => 60000);
{
	my @socks = $s->start_chats({ telegram_id => ++$user,
	    message => '[[delay=1000 id=late]]' });
	wait_for(sub { $s->model_count('late') }, 10, 'the call');
	is fail_once(), 500,
	    'the circuit breaker opens while a chat is in flight';
	is upstream(), 'open', '... for a minute';
	is +(finish_chats(@socks))[0]{status}, 200,
	    'that chat is answered';
	is upstream(), 'ok', '... and its success closes the circuit breaker';
	is chat('')->{status}, 200, '... for all';
}

restart(AI_CHAT_BREAKER_OPEN_MS => 60000);
{
	my @socks = $s->start_chats({ telegram_id => ++$user,
	    message => '[[status=503 retry_after_ms=1500 id=waits]]' });
	wait_for(sub { $s->model_count('waits') }, 10, 'the first call');
	is fail_once(), 500,
	    'the circuit breaker opens while a chat waits for its retry';
	is +(finish_chats(@socks))[0]{status}, 500, 'that chat fails';
	is $s->model_count('waits'), 1, '... without the retry';
	is upstream(), 'open', '... and the circuit breaker stays open';
}

# -- each worker has its own ---------------------------------------------------

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
    'a chat of worker 1 fails';
like ask_worker(1, GET => '/health/ready'), qr/"upstream":"open"/,
    '... whose circuit breaker opens';
like ask_worker(1, POST => '/v1/chat/send',
    '{"telegram_id": 5, "message": "?"}'), qr/^503 /,
    '... so that its next chat is refused';
like ask_worker(2, GET => '/health/ready'), qr/"upstream":"ok"/,
    'the circuit breaker of worker 2 is closed';
like ask_worker(2, POST => '/v1/chat/send',
    '{"telegram_id": 5, "message": "?"}'), qr/^200 /,
    '... and a chat of worker 2 is answered';

done_testing;
