# The worker against aimock, a stand-in for the model that other projects test
# their clients with.  Our own stand-in could share a mistake of the worker
# about the wire format; aimock does not.

use v5.36;
use utf8;
use AIChat::NPM;
use AIChat::Proc qw(spew free_port);
use AIChat::Stack;
use AIChat::Test;
use File::Path qw(make_path);
use HTTP::Tiny;
use JSON::PP ();

my $JSON = JSON::PP->new->utf8;
my $KEY = 'an-openai-key';

# -- aimock ------------------------------------------------------------------

my $npm = eval { AIChat::NPM->install('aimock') };
plan skip_all => AIChat::NPM::skip_reason($@) if !$npm;
my $program = $npm->file('@copilotkit/aimock/dist/cli.js');
my $node = $npm->node;

my $s = AIChat::Test->new(workers => 0, nginx => 0, model => 0,
    env => { AI_CHAT_ANSWER_FORMAT => 'plain', OPENAI_API_KEY => $KEY, AI_CHAT_BREAKER_FAILURES => 0,
	AI_CHAT_DEADLINE_MS => 8000 });
my $port = free_port();

# The answer by what the last message contains; the first match counts.
my @answers = (
	{ match => { userMessage => 'первый', turnIndex => 0 },
	    response => { content => "Первый *ответ* 📊",
		usage => { prompt_tokens => 5, completion_tokens => 72,
		    total_tokens => 77 } } },
	{ match => { userMessage => 'второй', turnIndex => 1 },
	    response => { content => 'Второй ответ' } },
	{ match => { userMessage => 'Выручка: 120 000 ₽' },
	    response => { content => 'Вижу выручку' } },
	{ match => { userMessage => 'мысли' }, response => {
	    content => 'Итог', reasoning => 'Секретное рассуждение' } },
	{ match => { userMessage => 'предел', sequenceIndex => 0 },
	    response => { status => 429, retryAfter => 1, error => {
		message => 'slow down', type => 'rate_limit_error',
		code => 'rate_limit_exceeded' } } },
	{ match => { userMessage => 'предел' },
	    response => { content => 'Теперь можно' } },
	{ match => { userMessage => 'деньги' }, response => { status => 429,
	    error => { message => 'no money', type => 'insufficient_quota',
		code => 'insufficient_quota' } } },
	{ match => { userMessage => 'длинный' }, response => {
	    content => 'абзац ' x 20000 } },
	{ match => { userMessage => 'инструмент' }, response => { toolCalls =>
	    [ { name => 'f', arguments => { a => 1 } } ] } },
	(map { { match => { userMessage => $_->[0] },
	    response => { content => 'x' }, chaos => { $_->[1] => 1 } } }
	    [ 'пятьсот', 'dropRate' ], [ 'мусор', 'malformedRate' ],
	    [ 'обрыв', 'disconnectRate' ]),
	{ match => { userMessage => 'вместе' },
	    response => { content => 'Вместе' } },
);
make_path($s->dir . '/answers');
spew($s->dir . '/answers/all.json', $JSON->encode({ fixtures => \@answers }));

my $aimock = AIChat::Proc->start(name => 'aimock', log => $s->dir . '/log/aimock.log',
    cmd => [ $node, $program, '-p', $port, '-f', $s->dir . '/answers' ],
    env => { %ENV, AIMOCK_API_KEYS => $KEY });
wait_for(sub {
	AIChat::Stack::must_live($aimock);
	return HTTP::Tiny->new->get("http://127.0.0.1:$port/health")->{success};
}, 30, 'aimock');
$s->stack->use_model($port);
$s->stack->start_workers(1);
$s->stack->start_nginx;

# The requests whose last message contains a word, as aimock parsed them.
sub asked ($word)
{
	my $got = HTTP::Tiny->new->get("http://127.0.0.1:$port/__aimock/journal",
	    { headers => { Authorization => "Bearer $KEY" } });

	die "aimock: $got->{status} $got->{content}\n" if !$got->{success};
	return grep { index($_->{messages}[-1]{content}, $word) >= 0 }
	    map { $_->{body} } @{ $JSON->decode($got->{content}) };
}

my $user = 0;
sub chat ($word, %o)
{
	return $s->send(telegram_id => ++$user, message => "$word вопрос", %o);
}

# -- answers -----------------------------------------------------------------

{
	my $got = chat('первый');
	is $got->{status}, 200, 'a chat is answered';
	is $got->{json}{response}, "Первый *ответ* 📊", '... with its answer';
	is $got->{json}{tokens_used}, 77, '... and its count of tokens';
	my ($body) = asked('первый');
	is join(' ', map { $_->{role} } @{ $body->{messages} }), 'system user',
	    '... the model received the rules and the question';
	is $body->{model}, 'gpt-4o-mini', '... and the name of the model';

	$got = chat('второй', telegram_id => $user);
	is $got->{json}{response}, 'Второй ответ',
	    'the next question is sent with the exchange before it';
	is chat('данные', user_context => 'Выручка: 120 000 ₽')
	    ->{json}{response}, 'Вижу выручку',
	    'the seller\'s data is sent with the question';
	is chat('мысли')->{json}{response}, 'Итог',
	    'reasoning beside the answer is left out';
	$got = chat('длинный', format => 'plain');
	is length($got->{json}{response}) > 100_000, 1,
	    'a long answer that comes in many chunks is complete';

	my @got = $s->send_many(map { { telegram_id => 1000 + $_,
	    message => 'вместе' } } 1 .. 16);
	is((grep { ($_->{json}{response} // '') eq 'Вместе' } @got), 16,
	    'sixteen chats at once are answered');
}

# -- failures ----------------------------------------------------------------

{
	my $got = chat('предел');
	is $got->{status}, 200,
	    '429 with Retry-After: the second call is answered';
	is $got->{json}{response}, 'Теперь можно', '... with its answer';
	cmp_ok $got->{seconds}, '>=', 1,
	    '... no earlier than Retry-After allows';
	is scalar(asked('предел')), 2, '... after two calls';
}

for ([ 'деньги', 1, 'insufficient_quota' ], [ 'неизвестно', 1, '404' ],
    [ 'пятьсот', 3, '500' ], [ 'мусор', 1, 'no JSON' ],
    [ 'инструмент', 1, 'a tool call' ], [ 'обрыв', 3, 'no response' ]) {
	my ($word, $calls, $what) = @$_;
	my $got = chat($word);
	is $got->{status}, 500, "$what: the chat fails";
	ok length why($got), '... with an error message';
	is_deeply $s->ledger($user), { count => 0, rows => 0, leases => 0 },
	    '... and costs nothing';
	is scalar(asked($word)), $calls, "... after calls: $calls";
}

$s->restart_worker(1, OPENAI_API_KEY => 'another-key');
{
	my $got = chat('первый');
	is $got->{status}, 500,
	    'a key that aimock does not accept: the chat fails';
	unlike $got->{content}, qr/another-key/,
	    '... and the response does not contain the key';
}

$aimock->stop;
done_testing;
