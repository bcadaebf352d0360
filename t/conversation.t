# The context that the model receives: how many characters, how old, and only
# from the current conversation.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 100, AI_CHAT_CONTEXT_CHARS => 100,
});
my $ids = 0;

# The messages that the model receives with one more question.
sub messages ($user, %o)
{
	my $id = 'c' . ++$ids;
	my $got = $s->send(telegram_id => $user,
	    message => "$ids [[id=$id text=да]]", %o);
	die "not answered: $got->{status}\n" if $got->{status} != 200;
	return @{ $s->model_last($id)->{body}{messages} };
}

# The texts of the context alone, without the rules and the question.
sub told ($user)
{
	my @m = messages($user);
	return [ map { $_->{content} } @m[1 .. $#m - 1] ];
}

sub keep ($user, $message, $response, $age = '1 s')
{
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) values ($user, '$message', '$response',
	    current_date, now() - interval '$age')");
}

sub clear ($user)
{
	my $got = $s->post('/v1/chat/clear', { telegram_id => $user });
	return ($got->{status}, $got->{content});
}

# -- how much ----------------------------------------------------------------

{
	# 60, 40 and 50 characters; the bytes are twice as many, or more.
	keep(1, 'а' x 30, 'б' x 30, '3 s');
	keep(1, 'в' x 20, 'г' x 20, '2 s');
	keep(1, 'д' x 20, '😀' x 30, '1 s');
	is_deeply told(1), [ 'в' x 20, 'г' x 20, 'д' x 20, '😀' x 30 ],
	    'as many exchanges as fit: the oldest is left out';

	keep(2, 'а' x 40, 'б' x 60, '2 s');
	is_deeply told(2), [ 'а' x 40, 'б' x 60 ],
	    'exchanges of exactly the limit are sent';
	keep(12, 'а' x 40, 'б' x 60, '2 s');
	keep(12, 'в', '', '1 s');
	is_deeply told(12), [ 'в', '' ],
	    '... and one character more drops the oldest';

	keep(3, 'старое', 'старое', '2 s');
	keep(3, 'ж' x 20, 'начало' . '😀я' x 5000 . 'конец', '1 s');
	my $said = told(3);
	is $said->[0], 'ж' x 20,
	    'an answer that is too long alone is sent with its question';
	is length $said->[1], 80, '... cut to the length that fits';
	like $said->[1], qr/^начало(?:😀я)+😀? … я?(?:😀я)+конец$/,
	    '... its middle is left out, and no character is cut';
	is @$said, 2, '... and no other exchange is sent';

	keep(4, 'з' x 3000, 'да');
	is_deeply told(4), [],
	    'an exchange whose question does not fit is left out';
}

# -- the rules come first, and are the same bytes (for prompt caches) --------

{
	my @whole = map { (messages($_, user_context => "цифра $_"))[0] }
	    1, 2, 3, 1;
	is $whole[$_]{content}, $whole[0]{content},
	    'the rules are the same for each user' for 1 .. 3;
	is $whole[0]{role}, 'system', '... and come first';
}

# -- a new conversation ------------------------------------------------------

{
	my ($user, $before) = (20);
	told($user) for 1 .. 3;
	is @{ told($user) }, 6, 'three exchanges are context';
	$before = $s->ledger($user);
	is_deeply [ clear($user) ], [ 200, '{"success":true}' ],
	    'a new conversation';
	is_deeply told($user), [], '... begins without context';
	is @{ told($user) }, 2, '... and goes on with its own exchanges';
	my $ledger = $s->ledger($user);
	is $ledger->{count}, $before->{count} + 2,
	    '... chats are counted across conversations';
	is $s->post('/v1/chat/history', { telegram_id => $user })
	    ->{json}{total}, 6, '... and the history is complete';

	is_deeply [ clear($user) ], [ 200, '{"success":true}' ],
	    'another new conversation';
	is_deeply [ clear($user) ], [ 200, '{"success":true}' ],
	    '... a second clear changes nothing';
	is_deeply told($user), [], '... and it begins without context';
	is_deeply told(21), [], 'another user begins without context, too';
	clear($user);
	is @{ told(21) }, 2,
	    '... and a clear of the first user does not change that context';
}

{
	is_deeply [ clear(30) ], [ 200, '{"success":true}' ],
	    'clear for a user without a row';
	is_deeply $s->ledger(30), { count => 0, rows => 0, leases => 0 },
	    '... creates none';
	is $s->post('/v1/chat/reset-limit', { telegram_id => 30 })
	    ->{json}{success}, JSON::PP::false,
	    '... and a reset finds no user then';

	# Exchanges that an earlier service has stored, without a counter.
	keep(31, 'было', 'было');
	is_deeply [ clear(31) ], [ 200, '{"success":true}' ],
	    'clear for a user with exchanges of an earlier service';
	is_deeply told(31), [], '... these exchanges are not context';
	is $s->get('/v1/chat/limits/31')->{json}{requests_today}, 1,
	    '... and the chat after that is counted';
}

# A chat in flight when the conversation ends is neither lost nor counted twice.
# Its exchange is the first of the new conversation.
{
	told(40);
	my ($sock) = $s->start_chats({ telegram_id => 40,
	    message => '[[id=late delay=1500 text=поздно]]' });
	wait_for(sub { $s->model_count('late') }, 10, 'the model to be called');
	clear(40);
	is $s->ledger(40)->{leases}, 1,
	    'a new conversation begins during a chat';
	my ($got) = finish_chats($sock);
	is $got->{status}, 200, '... which is answered';
	is $s->ledger(40)->{count}, 2, '... and counted';
	is told(40)->[1], 'поздно',
	    '... and the exchange is context of the next question';
}

# -- how old -----------------------------------------------------------------

$s->scale(1);
$s->restart_worker(1, AI_CHAT_CONTEXT_TTL_S => 3600);
{
	keep(50, 'вчера', 'вчера', '1 day');
	keep(50, 'давно', 'давно', '3700 s');
	keep(50, 'недавно', 'недавно', '3500 s');
	is_deeply told(50), [ 'недавно', 'недавно' ],
	    'exchanges older than AI_CHAT_CONTEXT_TTL_S are left out';
	$s->restart_worker(1, AI_CHAT_CONTEXT_TTL_S => 0);
	is told(50)->[0], 'вчера', '... and with 0 none is too old';
}

# -- many huge answers, and no context at all --------------------------------

$s->restart_worker(1, AI_CHAT_CONTEXT_CHARS => 150000,
    AI_CHAT_CONTEXT_MESSAGES => 50);
{
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) select 60, 'q' || n, repeat('я', 100000),
	    current_date, now() - n * interval '1 s'
	    from generate_series(1, 50) n");
	my $said = told(60);
	is @$said, 2, 'fifty huge answers: one exchange is sent';
	is length $said->[1], 100000, '... whole';
}
$s->restart_worker(1, AI_CHAT_CONTEXT_CHARS => 0);
is_deeply told(1), [], 'AI_CHAT_CONTEXT_CHARS=0: no context';

done_testing;
