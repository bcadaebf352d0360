# With AI_CHAT_USER_CONCURRENCY one user cannot occupy all slots.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_USER_CONCURRENCY => 2,
	AI_CHAT_DAILY_LIMIT => 4,
	AI_CHAT_DEADLINE_MS => 3000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
});
$s->expect_log(qr/upstream prematurely closed/, qr/connect\(\) to unix:\S+ failed/);

sub in_model { return $s->model_counts->{pending} }

sub is_crowd ($got, $what)
{
	is $got->{status}, 429, $what;
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d?$/,
	    '... with Retry-After';
	my $detail = $got->{json}{detail};
	is $detail->{error}, 'Too many chats at once', '... with an error of its own';
	like $detail->{message}, qr/\p{Cyrillic}/,
	    '... and a text for the seller';
	is $detail->{max_in_flight}, 2, '... and the cap';
}

{
	my @two = $s->start_chats(map { { telegram_id => 1,
	    message => "[[delay=900 id=a$_]]" } } 1, 2);
	wait_for(sub { in_model() == 2 }, 10, 'two chats of one user');
	my $asked = $s->model_count;
	is_crowd($s->send(telegram_id => 1), 'a third chat is refused');
	my @got = $s->send_many(map { { telegram_id => 1 } } 1 .. 20);
	is((grep { $_->{status} == 429 } @got), 20, '... and twenty more');
	is $s->model_count, $asked, '... the model is not called';
	is $s->get('/v1/chat/limits/1')->{json}{requests_today}, 2,
	    '... and nothing is counted';
	is $s->send(telegram_id => 2)->{status}, 200, 'other users are served';
	is((grep { $_->{status} == 200 } finish_chats(@two)), 2,
	    'the two are answered');
	is $s->send(telegram_id => 1)->{status}, 200,
	    '... and then one more is answered';
	is_deeply $s->ledger(1), { count => 3, rows => 3, leases => 0 },
	    '... three chats are counted';
}

# At both workers, at the same moment.
{
	my @socks = $s->start_chats(map { { telegram_id => 3,
	    message => '[[delay=700]]' } } 1 .. 30);
	my @got = finish_chats(@socks);
	is((grep { $_->{status} == 200 } @got), 2,
	    'thirty at once: two are answered');
	is((grep { $_->{status} == 429 && $_->{json}{detail}{max_in_flight} }
	    @got), 28, '... the others are refused');
	is_deeply $s->ledger(3), { count => 2, rows => 2, leases => 0 },
	    '... and two are counted';
}

# A refusal by the daily limit is the same, whether the cap is reached or not.
{
	$s->send(telegram_id => 4) for 1 .. 3;
	my @one = $s->start_chats({ telegram_id => 4,
	    message => '[[delay=600]]' });
	wait_for(sub { in_model() == 1 }, 10, 'the last chat of the day');
	my $got = $s->send(telegram_id => 4);
	is $got->{status}, 429, 'one more chat is refused';
	is $got->{json}{detail}{daily_limit}, 4,
	    '... by the daily limit, not by the cap';
	is((finish_chats(@one))[0]{status}, 200,
	    '... the last one is answered');
}

# A chat that began yesterday counts for the cap.
{
	my @two = $s->start_chats(map { { telegram_id => 8,
	    message => "[[delay=900]]" } } 1, 2);
	wait_for(sub { in_model() == 2 }, 10, 'two chats');
	$s->sql('update ai_chat_daily_limits set leases = array(select
	    row(x.chat_id, x.day - 1, x.until)::ai_chat_lease
	    from unnest(leases) x) where telegram_id = 8');
	is_crowd($s->send(telegram_id => 8), 'beside two chats of yesterday');
	finish_chats(@two);
}

# Repeats of a chat in flight are that chat.
{
	my @ask = map { { telegram_id => 5, message => '[[delay=500]]',
	    headers => { 'Idempotency-Key' => "key-$_" } } } 1, 1, 1, 2;
	is((grep { $_->{status} == 200 } $s->send_many(@ask)), 4,
	    'repeats do not count for the cap');
	is_deeply $s->ledger(5), { count => 2, rows => 2, leases => 0 },
	    '... and not for the day';
}

# A chat of a killed worker counts until it lapses.
{
	my @two = $s->start_chats(map { { telegram_id => 6,
	    message => "[[delay=2000 id=c$_]]" } } 1, 2);
	wait_for(sub { in_model() == 2 }, 10, 'two chats');
	$s->kill_worker($_) for 1, 2;
	finish_chats(@two);
	$s->start_worker($_) for 1, 2;
	is_crowd($s->send(telegram_id => 6), 'after their worker was killed');
	ok wait_for(sub { $s->send(telegram_id => 6)->{status} == 200 }, 12,
	    'the reservations to lapse'), '... until their reservations lapse';
}

$s->restart_worker($_, AI_CHAT_USER_CONCURRENCY => undef) for 1, 2;
is((grep { $_->{status} == 200 } $s->send_many(map { { telegram_id => 7,
    message => '[[delay=300]]' } } 1 .. 4)), 4, 'there is no cap by default');

done_testing;
