# A fallback model answers when the primary model cannot, within the same
# deadline.

use v5.36;
use utf8;
use AIChat::Test;

# The share of the models in a deadline is 5300 ms: two thirds of it are for the
# primary.
my $s = AIChat::Test->new(second_model => 1, env => {
	OPENAI_API_KEY => 'key-of-first', OPENAI_FALLBACK_API_KEY => 'key-of-second',
	AI_CHAT_DEADLINE_MS => 6000, AI_CHAT_DB_TIMEOUT_MS => 500,
	AI_CHAT_BREAKER_FAILURES => 0, AI_CHAT_BREAKER_OPEN_MS => 60000 });
my $user = 0;

# The marks in its name control each model.
sub restart ($first, $second, %settings)
{
	$s->restart_worker(1, OPENAI_MODEL => "first[[text=первая $first]]",
	    OPENAI_FALLBACK_MODEL => "second[[text=вторая $second]]",
	    %settings);
}

# A chat of a new user; returns { id, user, got, first, second }, the last two
# being the number of calls of each model.
sub chat
{
	my $id = 's' . ++$user;
	my $got = $s->send(telegram_id => $user,
	    message => "Вопрос [[id=$id]]", user_context => 'Данные');

	return { id => $id, user => $user, got => $got,
	    first => $s->model_count($id), second => $s->second_count($id) };
}

sub is_asked ($chat, $status, $first, $second, $title)
{
	subtest $title => sub {
		is $chat->{got}{status}, $status, 'status';
		is $chat->{first}, $first, 'calls of the primary';
		is $chat->{second}, $second, 'calls of the fallback';
		my $count = $status == 200 ? 1 : 0;
		is_deeply $s->ledger($chat->{user}), { count => $count,
		    rows => $count, leases => 0 }, 'the ledger';
		is $chat->{got}{json}{response},
		    $second ? 'вторая' : 'первая', 'the model that answered'
		    if $status == 200;
	};
}

sub log_line ($chat)
{
	my $line;

	wait_for(sub {
		($line) = $s->worker_log(1)
		    =~ /^(.* event=request .*user=$chat->{user} .*)/m;
	}, 10, 'the line of a chat');
	return $line;
}

sub upstream { return $s->get('/health/ready')->{json}{checks}{upstream} }

# -- when the primary answers
# -----------------------------------------------------

restart('', '');
{
	my $chat = chat();
	is_asked($chat, 200, 1, 0,
	    'when the primary answers, the fallback is not called');
	unlike log_line($chat), qr/ model=/,
	    '... and the log line names no model';
}

for my $marks ('status=400', 'status=401', 'status=403 code=invalid_api_key',
    'status=404', 'status=413',
    'body=null', 'body=filter', 'body=broken', 'body=huge',
    'redirect=http://127.0.0.1:1/') {
	restart($marks, '');
	is_asked(chat(), 500, 1, 0,
	    "$marks is an answer: the fallback is not called");
}

# -- when the primary cannot answer
# -------------------------------------------------

for (
	[ 'out of attempts', 'status=503 retry_after_ms=1', 3 ],
	[ 'closed before the answer', 'close=before', 3 ],
	[ 'rate limited for a long time', 'status=429 retry_after=60', 1 ],
	[ 'out of quota', 'status=429 code=insufficient_quota', 1 ],
	[ 'out of money', 'status=429 code=null type=billing_not_active', 1 ],
	[ 'out of money by its status', 'status=402', 1 ],
	[ 'out of money by its words',
	    'status=403 errmsg=Insufficient%20Balance', 1 ],
	[ 'out of money inside a 200', raw('{"error":{"code":402}}'), 1 ],
	[ 'not serving this country',
	    'status=403 code=unsupported_country_region_territory', 1 ],
	[ 'at a rate limit, which it says with a 413', 'status=413 code=rate_limit_exceeded', 1 ],
	[ 'broken inside a 200',
	    raw('{"error":{"code":502}}') . ' retry_after_ms=1', 3 ],
	[ 'broken off', 'body=nochoices retry_after_ms=1', 3 ],
	[ 'without its end', 'body=cut retry_after_ms=1', 3 ],
	[ 'silent', 'hang=1', 1 ],
) {
	my ($what, $marks, $calls) = @$_;

	restart($marks, 'tokens=77');
	my $chat = chat();
	is_asked($chat, 200, $calls, 1, "a primary model that is $what");
	is $chat->{got}{json}{tokens_used}, 77,
	    '... with the tokens of the fallback';
	my $calls_made = $calls + 1;
	like log_line($chat), qr/attempts=$calls_made model=fallback /,
	    '... is logged with its model';
	is upstream(), 'ok', '... and readiness is ok';

	my $first = $s->model_last($chat->{id});
	my $second = $s->second_last($chat->{id});
	is $first->{headers}{authorization}, 'Bearer key-of-first',
	    'the primary gets its key';
	is $second->{headers}{authorization}, 'Bearer key-of-second',
	    '... the fallback its own';
	is $first->{body}{model}, "first[[text=первая $marks]]",
	    '... the primary its name';
	is $second->{body}{model}, 'second[[text=вторая tokens=77]]',
	    '... the fallback its own';
	delete $_->{body}{model} for $first, $second;
	is_deeply $second->{body}, $first->{body},
	    '... and everything else is the same';
	is scalar @{ $second->{body}{messages} }, 2, '... with every message';
}

restart('status=503', '', AI_CHAT_RETRY_FLOOR => 0);
is_asked(chat(), 200, 1, 1, 'without a retry budget');

# -- when both fail
# -------------------------------------------------------------------

restart('status=503', 'status=502');
{
	my $chat = chat();
	is_asked($chat, 500, 1, 1, 'both fail');
	like why($chat->{got}), qr/HTTP 502/,
	    '... and the error has the last failure';
	like log_line($chat), qr/attempts=2 .*model=fallback .*HTTP 502/,
	    '... and so has the log';
	is upstream(), 'down', '... and readiness reports the model as down';
}

restart('hang=1', 'hang=1');
{
	my $chat = chat();
	is_asked($chat, 500, 1, 1, 'both hang');
	cmp_ok $chat->{got}{seconds}, '>', 5, '... each for its share';
	cmp_ok $chat->{got}{seconds}, '<', 6, '... within one deadline';
}

# -- while a circuit breaker is open
# ----------------------------------------------------

restart('status=503', '', AI_CHAT_BREAKER_FAILURES => 2);
is_asked(chat(), 200, 1, 1, 'a failure of the primary') for 1, 2;
like $s->worker_log(1), qr/event=breaker .*the primary model opened: 2 chats/,
    'after two failures its circuit breaker opens';
is_asked(chat(), 200, 0, 1, '... and only the fallback is called') for 1 .. 3;
is upstream(), 'ok', '... and readiness is ok';

restart('status=503', 'status=502', AI_CHAT_BREAKER_FAILURES => 1);
is_asked(chat(), 500, 1, 1, 'both fail');
is upstream(), 'open', '... and both circuit breakers are open';
like $s->worker_log(1), qr/event=breaker .*the fallback model opened/,
    '... both';
{
	my $chat = chat();
	is_asked($chat, 503, 0, 0, '... so no model is called');
	like $chat->{got}{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... and the response has Retry-After';
}

restart('status=429 code=insufficient_quota', 'status=502');
is_asked(chat(), 500, 1, 1, 'only the circuit breaker of the fallback opens');
{
	my $chat = chat();
	is_asked($chat, 500, 1, 0, '... and the primary is still called');
	like why($chat->{got}), qr/HTTP 429/,
	    '... and its failure is in the error';
}
restart('hang=1', 'status=502');
is_asked(chat(), 500, 1, 1, 'the primary hangs, the fallback fails');

# Its first two calls fail.
restart('status=503 times=2 id=back', '', AI_CHAT_BREAKER_FAILURES => 2,
    AI_CHAT_BREAKER_OPEN_MS => 1000);
sub chat_by_name { return $s->send(telegram_id => ++$user) }
is chat_by_name()->{json}{response}, 'вторая', 'the primary fails' for 1, 2;
is chat_by_name()->{json}{response}, 'вторая',
    '... and its circuit breaker opens';
is $s->model_count('back'), 2, '... so it is not called';
wait_for(sub { chat_by_name()->{json}{response} eq 'первая' }, 20,
    'a call of the primary');
is $s->model_count('back'), 3, 'one chat is the trial';
is chat_by_name()->{json}{response}, 'первая', '... and the primary answers all chats';
like $s->worker_log(1), qr/event=breaker .*for the primary model closed"/,
    '... and the log says so';

# -- refused parameters
# -------------------------------------------------------------------

restart('status=503', 'unsupported=max_tokens', AI_CHAT_BREAKER_FAILURES => 0);
is_asked(chat(), 200, 1, 2, 'a fallback that refuses max_tokens');
{
	my $chat = chat();
	is_asked($chat, 200, 1, 1, '... does not get it again');
	my $first = $s->model_last($chat->{id})->{body};
	my $second = $s->second_last($chat->{id})->{body};
	ok exists $second->{max_completion_tokens}, '... but its other name';
	ok !exists $second->{max_tokens}, '... alone';
	ok exists $first->{max_tokens}, '... while the primary still gets it';
}

# -- a fallback model on the same server
# ----------------------------------------------------

$s->restart_worker(1, OPENAI_MODEL => 'first[[status=503]]',
    OPENAI_FALLBACK_MODEL => 'small[[text=малая]]',
    OPENAI_FALLBACK_BASE_URL => undef, OPENAI_FALLBACK_API_KEY => undef);
{
	my $chat = chat();
	is $chat->{got}{json}{response}, 'малая',
	    'a fallback model on the same server answers';
	is $chat->{first}, 2, '... which was called for both';
	is $s->model_last($chat->{id})->{headers}{authorization},
	    'Bearer key-of-first', '... with the same key';
}

done_testing;
