# RateLimit-Policy and RateLimit: the state of the seller's day in each response
# whose request has read the state, and the same numbers as in the body.

use v5.36;
use utf8;
use AIChat::Test;

my $ZONE = 'Asia/Kolkata';
my %env = (
	AI_CHAT_DAILY_LIMIT => 3,
	AI_CHAT_TIMEZONE => $ZONE,
	AI_CHAT_USER_CONCURRENCY => 1,
);
my $s = AIChat::Test->new(workers => 2, redis => 1, env => \%env);
my $user = 100;

sub ask (%o) { return $s->send(telegram_id => $user, %o) }

sub keyed ($key, $message = 'Вопрос')
{
	return ask(message => $message, headers => { 'Idempotency-Key' => $key });
}

sub limits { return $s->get("/v1/chat/limits/$user") }

# Seconds to the next midnight of the zone, by the clock of the database.
sub seconds_left
{
	return $s->value("select extract(epoch from
	    ((now() at time zone '$ZONE')::date + 1)::timestamp
	    at time zone '$ZONE' - now())");
}

# Checks the status and both headers; r undefined: neither is there.
sub state_is ($got, $status, $r, $what)
{
	my ($policy, $state) = @{ $got->{headers} }{qw(ratelimit-policy ratelimit)};

	is $got->{status}, $status, $what;
	if (!defined $r) {
		is_deeply [ $policy, $state ], [ undef, undef ],
		    '... without RateLimit';
		return;
	}
	is $policy, '"day";q=3;w=86400', '... the policy is the daily limit';
	like $state, qr/\A"day";r=$r;t=\d+\z/, "... $r chats are left";
	my ($t) = ($state // '') =~ /;t=(\d+)/;
	my $left = seconds_left();
	cmp_ok abs(($t // 1e9) - $left), '<', 5,
	    "... until midnight in the time zone, in $left s";
	return $t;
}

# -- a day --------------------------------------------------------------------

{
	state_is(limits(), 200, 3, 'a seller who has not asked yet');
	my $got = ask();
	state_is($got, 200, 2, 'a first chat');
	is $got->{json}{remaining_requests}, 2, '... and the body has the number';
	state_is(ask(message => '[[status=400]]'), 500, 2,
	    'a chat that fails is not counted');
	state_is(limits(), 200, 2, 'the limits');
	ask();
	state_is(ask(), 200, 0, 'the last chat');
	for my $from ('the database', 'Redis') {
		$got = ask();
		my $t = state_is($got, 429, 0, "a refusal, from $from");
		is $got->{headers}{'retry-after'}, $t,
		    '... Retry-After is the end of the day, too';
	}
	state_is($s->post('/v1/chat/reset-limit', { telegram_id => $user }), 200,
	    3, 'a reset');
	state_is($s->post('/v1/chat/reset-limit', { telegram_id => 99 }), 200,
	    undef, 'a reset of somebody unknown');
}

# -- repeats under a key ------------------------------------------------------

{
	$user++;
	state_is(keyed('one'), 200, 2, 'a chat with a key');
	state_is(keyed('two'), 200, 1, 'another one');
	my $got = keyed('one');
	is $got->{headers}{'idempotent-replayed'}, 'true',
	    'the first one, repeated, is a replay';
	is $got->{json}{remaining_requests}, 2,
	    '... whose body has the first numbers';
	state_is($got, 200, 1, '... but RateLimit is what is left now');
	ask();
	state_is(keyed('two'), 200, 0, 'a replay when the day is used up');
	state_is(keyed('three'), 429, 0, 'a new key is refused');
	state_is(keyed('two', 'Ещё вопрос'), 422, 0,
	    'a key again, with another question');
}

# -- chats in flight ----------------------------------------------------------

{
	$user++;
	my @one = $s->start_chats({ telegram_id => $user,
	    message => '[[delay=1500]]' });
	wait_for(sub { $s->model_counts->{pending} }, 10, 'a chat in flight');
	state_is(limits(), 200, 2, 'a chat in flight is not left');
	# The day is not the reason to wait.
	state_is(ask(), 429, undef, 'a second chat at once is refused');
	state_is(keyed('crowd'), 429, undef, '... and so is one with a key');
	state_is($s->post('/v1/chat/reset-limit', { telegram_id => $user }), 200,
	    2, 'a reset keeps the reservation of the chat in flight');
	state_is((finish_chats(@one))[0], 200, 2, 'the chat in flight');
}

# -- requests that do not read the state --------------------------------------

{
	my $body = { telegram_id => $user };

	state_is($s->post('/v1/chat/history', $body), 200, undef, 'the history');
	state_is($s->post('/v1/chat/clear', $body), 200, undef,
	    'a new conversation');
	state_is($s->get("/v1/chat/stats/$user"), 200, undef, 'statistics');
	state_is(ask(message => ''), 422, undef, 'an invalid request');
	state_is(ask(headers => { 'X-API-KEY' => 'wrong' }), 403, undef,
	    'a wrong API key');
	state_is($s->get('/health'), 200, undef, 'liveness');
}

# -- without a limit ----------------------------------------------------------

{
	$s->restart_worker($_, %env, AI_CHAT_DAILY_LIMIT => 0,
	    AI_CHAT_USER_CONCURRENCY => 0) for 1, 2;
	state_is(ask(), 200, undef, 'a chat without a limit');
	state_is(limits(), 200, undef, 'the limits without a limit');
	state_is(keyed('four'), 200, undef, 'a chat with a key');
	state_is($s->post('/v1/chat/reset-limit', { telegram_id => $user }), 200,
	    undef, 'a reset');
}

done_testing;
