# Models that refuse max_tokens or temperature: the worker finds out from the
# error, sends the request without the parameter, and stores the result for
# later requests.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { OPENAI_TEMPERATURE => '0.4',
    OPENAI_MAX_TOKENS => 500, AI_CHAT_DAILY_LIMIT => 100 });
my $ids = 0;

sub ask ($marks)
{
	my $id = 'f' . ++$ids;
	my $got = $s->send(message => "вопрос [[id=$id $marks]]");
	my $body = ($s->model_last($id) // {})->{body} // {};
	delete @$body{qw(model messages)};
	return ($got, $s->model_count($id), $body);
}

# [ which, calls of the first chat, the parameters of the last of them ]
for (
	[ 'max_tokens', 2,
	    { temperature => 0.4, max_completion_tokens => 500 } ],
	[ 'temperature', 2, { max_tokens => 500 } ],
	[ 'both', 3, { max_completion_tokens => 500 } ],
) {
	my ($which, $calls, $fields) = @$_;
	my $before = $s->ledger(1)->{count};

	$s->restart_worker(1, OPENAI_MODEL => "gpt-5[[unsupported=$which]]");
	my ($got, $count, $body) = ask('text=да tokens=7');
	is $got->{status}, 200,
	    "the model refuses $which: the chat is answered";
	is $got->{json}{tokens_used}, 7, '... with the tokens of the model';
	is $count, $calls, "... after $calls calls";
	is_deeply $body, $fields, '... the last with the right parameters';
	is_deeply $s->ledger(1), { count => $before + 1,
	    rows => $before + 1, leases => 0 }, '... and counted once';

	($got, $count, $body) = ask('');
	is $got->{status}, 200, 'the next chat is answered';
	is $count, 1, '... after one call';
	is_deeply $body, $fields, '... with the right parameters';

	# The stored result does not prevent a retry.
	($got, $count) = ask('status=503 times=1');
	is $got->{status}, 200, 'a failure is retried';
	is $count, 2, '... once';
}

# -- the refusal in other words ----------------------------------------------

# [ the error, the parameter that is not sent then ]
for (
	[ 'status=400 raw=' . q({"error":{"message":"%60temperature%60%20is%20)
	    . 'deprecated%20for%20this%20model"}}', 'temperature' ],
	[ 'status=422 errmsg=Unsupported%20value:%20%27temperature%27%20does%20'
	    . 'not%20support%200.4%20with%20this%20model', 'temperature' ],
	[ 'status=400 code=invalid_request_body errmsg=Unsupported%20parameter:'
	    . '%20%27max_tokens%27%20is%20not%20supported', 'max_tokens' ],
	[ 'status=400 ' . raw('{"detail":[{"type":"extra_forbidden",'
	    . '"loc":["body","max_tokens"],"msg":"Extra inputs"}]}'),
	    'max_tokens' ],
	[ raw('{"error":{"code":400,"message":"max_tokens is not supported"}}'),
	    'max_tokens' ],
) {
	my ($marks, $field) = @$_;

	$s->restart_worker(1, OPENAI_MODEL => 'gpt-5');
	my ($got, $count, $body) = ask("$marks times=1");
	is $got->{status}, 200, "$marks: the chat is answered";
	is $count, 2, '... after two calls';
	ok !exists $body->{$field}, "... the second without $field";
	(undef, $count, $body) = ask('');
	is $count, 1, '... and the next chat has one call';
	ok !exists $body->{$field}, "... without $field, too";
}

# A server that accepts only the newer name, and later one that accepts only the
# older name.
$s->restart_worker(1, OPENAI_MODEL => 'gpt-5');
{
	my @not = map { "status=400 times=1 errmsg=Unsupported%20parameter:%20$_" }
	    qw(max_tokens max_completion_tokens);
	my ($got, $count, $body) = ask($not[0]);
	is $body->{max_completion_tokens}, 500,
	    'a server refuses max_tokens: the newer name is sent';
	($got, $count, $body) = ask($not[1]);
	is $got->{status}, 200,
	    'a server refuses the newer name: the chat is answered';
	is $body->{max_tokens}, 500, '... with the older name';
	($got, $count, $body) = ask($not[0]);
	is $got->{status}, 500,
	    'a server refuses the older name again: the chat fails';
	is $count, 1, '... and the names do not alternate';
}

# -- many at once, before the refusal is stored ------------------------------

$s->restart_worker(1, OPENAI_MODEL => 'gpt-5[[unsupported=both]]');
{
	my @got = $s->send_many(map { {
		telegram_id => 100 + $_, message => "[[id=m$_ delay=100]]",
	} } 1 .. 20);
	is((grep { $_->{status} == 200 } @got), 20,
	    'twenty chats are refused at once: all are answered');
	is((grep { $s->model_count("m$_") > 3 } 1 .. 20), 0,
	    '... none with more than three calls');
	my (undef, $count) = ask('');
	is $count, 1, '... and the next chat has one call';
}

# -- errors that are no refusal ----------------------------------------------

$s->restart_worker(1, OPENAI_MODEL => 'gpt-4o-mini');
for (
	[ 'another parameter',
	    'status=400 code=unsupported_parameter param=messages' ],
	[ 'no parameter named', 'status=400 code=unsupported_parameter' ],
	[ 'another code', 'status=400 code=invalid_value param=max_tokens' ],
	[ 'the size of a value', 'status=400 errmsg=max_tokens%20is%20too%20large:'
	    . '%20500.%20This%20model%20supports%20at%20most%20400' ],
	[ 'a word of it', 'status=400 errmsg=This%20context%20is%20too%20long,'
	    . '%20with%20max_tokens%20of%20500' ],
	[ 'another status',
	    'status=404 code=unsupported_parameter param=max_tokens' ],
) {
	my ($what, $marks) = @$_;
	my ($got, $count) = ask($marks);
	is $got->{status}, 500, "$what: the chat fails";
	is $count, 1, '... after one call';
}
my ($got, $count, $body) = ask('');
is_deeply $body, { temperature => 0.4, max_tokens => 500 },
    'and the next chat has the usual parameters';

# A server that refuses max_tokens in each request.
($got, $count) = ask('status=400 code=unsupported_parameter param=max_tokens');
is $got->{status}, 500, 'a model that refuses each request: the chat fails';
cmp_ok $count, '<=', 3, '... after three calls at most';

done_testing;
