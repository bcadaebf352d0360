# Wrong responses of the model: the caller gets one line with the reason, and
# nothing is counted.  And odd responses that are answers.

use v5.36;
use utf8;
use AIChat::Proc qw(free_port);
use AIChat::Test;

# Each failure has to reach its caller, so the circuit breaker is off.  Plain
# HTTP, because a TLS proxy would send a 502 when the model closes its
# connection or sends too many headers.
my $s = AIChat::Test->new(tls => 0, env => {
	AI_CHAT_BREAKER_FAILURES => 0,
	OPENAI_API_KEY => 'sk-secret-0451',
	AI_CHAT_DEADLINE_MS => 3000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
});
my $user = 0;

# Sends a chat with each of the marks, all at once, each as a new user.
sub send_all (@marks)
{
	my $first = $user + 1;
	my @got = $s->send_many(map { {
		telegram_id => ++$user, message => "вопрос [[$_]]",
		format => 'plain',
	} } @marks);
	return map { [ $marks[$_], $first + $_, $got[$_] ] } 0 .. $#marks;
}

sub fails_well ($what, $who, $got)
{
	is $got->{status}, 500, "$what: the chat fails";
	my $detail = why($got);
	like $detail, qr/^AI service error: \S[^\r\n]*\z/,
	    '... with the reason in one line';
	unlike $got->{content}, qr/sk-|0451|http:|127\.0\.0|Bearer|chat\/comp/,
	    '... without a secret';
	is_deeply [ sort keys %{ $got->{json} // {} } ], [ 'detail' ],
	    '... and no other member';
	is_deeply $s->ledger($who), { count => 0, rows => 0, leases => 0 },
	    '... and nothing is counted, saved or reserved';
	is $s->get("/v1/chat/limits/$who")->{json}{requests_today}, 0,
	    '... which the limits endpoint shows, too';
}

# -- not an answer -----------------------------------------------------------

my @failures = (
	(map { "body=$_" } qw(null blank empty refusal filter length_empty
	    tools wrong broken cut html huge nochoices error)),
	'body=huge size=1048577',
	'body=huge chunked=1',
	'body=html chunked=1',
	'body=text',
	(map { "close=$_" } qw(before headers middle reset)),
	'chunked=1 close=middle',
	(map { "status=$_" } qw(201 204 301 400 401 403 404 410 422 500 503)),
	(map { "status=$_ body=html" } qw(400 404 502)),
	(map { "status=$_ body=json" } qw(201 202 404 500)),
	'status=429 code=insufficient_quota type=insufficient_quota',
	'status=500 errmsg=sk-secret-0451%20at%20http://127.0.0.1/',
	'status=400 body=huge',
	'redirect=http://127.0.0.1:1/v1/chat/completions',
	'redirect=https://example.invalid/',
	'headerflood=1000000',
	'text=',
	'text=%20%0a%09%20',
	'text=%E2%80%83%C2%A0',
	'hang=1',
	'drip=400',
);
fails_well(@$_) for send_all(@failures);

my $got = $s->send(telegram_id => 500, message => '[[hang=1]]');
fails_well('a model that hangs', 500, $got);
cmp_ok $got->{seconds}, '<', 3.5, '... within the deadline';
is $s->model_counts->{pending}, 0, 'no call of the model is in flight';

# -- odd, but an answer ------------------------------------------------------

my @odd = (
	[ 'body=length tokens=5', 5 ],
	[ 'body=nousage', 0 ],
	[ 'tokens=null', 0 ],
	[ 'tokens="12"', 0 ],
	[ 'tokens=-7', 0 ],
	[ 'tokens=1.5', 0 ],
	[ 'tokens=99999999999999999999', undef ],
	[ 'tokens=3000000000', undef ],
	[ 'body=badutf8', undef ],
	[ 'body=surrogate', undef ],
	[ 'body=nul', undef ],
	[ 'body=huge size=1040000', undef ],
	[ 'body=huge size=1040000 chunked=1', undef ],
	[ 'chunked=1', undef ],
	[ 'text=%F0%9F%91%8D%20%22%5C%0A%3C', undef ],
	[ 'headerflood=20000', undef ],
);
for (send_all(map { $_->[0] } @odd)) {
	my ($what, $who, $got) = @$_;
	my ($marks, $tokens) = @{ shift @odd };
	is $got->{status}, 200, "$what: the chat is answered";
	my $text = $got->{json}{response} // '';
	like $text, qr/\S/, '... with a text';
	unlike $text, qr/[\x{d800}-\x{dfff}\0]/,
	    '... without surrogates and NUL';
	is $got->{json}{tokens_used}, $tokens,
	    '... and the right number of tokens'
	    if defined $tokens;
	ok $got->{json}{tokens_used} >= 0, '... which is not negative';
	my ($kept) = $s->sql("select response, tokens_used
	    from ai_chat_requests where telegram_id = $who");
	ok $kept->[0] eq $text, '... and saved as it was sent';
	is $kept->[1], $got->{json}{tokens_used}, '... with its tokens';
	is_deeply $s->ledger($who), { count => 1, rows => 1, leases => 0 },
	    '... and counted once';
}

# -- no model to connect to --------------------------------------------------

my $closed = free_port();
for my $url ("http://127.0.0.1:$closed/v1", 'http://no-such-host.invalid/v1',
    'https://127.0.0.1:' . $s->stack->model_port . '/v1') {
	$s->restart_worker(1, OPENAI_BASE_URL => $url);
	my $got = $s->send(telegram_id => ++$user);
	fails_well("a model at $url", $user, $got);
	unlike $got->{content}, qr/$closed|invalid/, '... without the address';
}

done_testing;
