# A reset of a limit: what becomes 0, and what remains.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { AI_CHAT_DAILY_LIMIT => 2 });
my $next = 1;

sub reset_of ($id)
{
	return $s->post('/v1/chat/reset-limit', { telegram_id => $id });
}

sub bytes ($text)
{
	utf8::encode($text);
	return $text;
}

sub limits ($id)
{
	my $got = $s->get("/v1/chat/limits/$id")->{json};
	return [ @$got{qw(requests_today requests_remaining)} ];
}

{
	my $id = $next++;
	my $got = reset_of($id);
	is $got->{status}, 200, 'a reset of an unknown user is no error';
	is $got->{content}, bytes(qq({"success":false,"message":)
	    . qq("Пользователь $id не найден"})), '... but not found';
	is $s->value('select count(*) from ai_chat_daily_limits'), 0,
	    '... and creates no row';
}
{
	my $id = $next++;
	$s->send(telegram_id => $id) for 1, 2;
	is $s->send(telegram_id => $id)->{status}, 429, 'a day is used up';
	my $got = reset_of($id);
	is $got->{status}, 200, '... and reset';
	is $got->{content}, bytes(qq({"success":true,"message":)
	    . qq("Лимит пользователя $id успешно сброшен"})),
	    '... and the response says so';
	is_deeply limits($id), [ 0, 2 ],
	    '... the whole limit is available again';
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 1,
	    '... and can be used';
	is $s->value("select count(*) from ai_chat_requests
	    where telegram_id = $id"), 3, '... the history is untouched';
	is_deeply [ map { reset_of($id)->{json}{success} } 1, 2 ],
	    [ JSON::PP::true, JSON::PP::true ],
	    'a second reset has the same result';
	is_deeply limits($id), [ 0, 2 ], '... the whole limit is available';
}

# -- chats in flight ---------------------------------------------------------

{
	my $id = $next++;
	$s->send(telegram_id => $id);
	my $sock = $s->connect;
	print $sock $s->chat_bytes(telegram_id => $id,
	    message => '[[delay=1500 id=fly]]');
	wait_for(sub { $s->model_count('fly') }, 20, 'a chat in flight');
	is_deeply limits($id), [ 2, 0 ], 'one counted, one in flight';
	is reset_of($id)->{json}{success}, JSON::PP::true,
	    'a reset during that chat';
	is_deeply limits($id), [ 1, 1 ],
	    '... keeps the reservation of the chat in flight';
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 1,
	    '... which does not count for the next chat yet';
	is $s->send(telegram_id => $id)->{status}, 429,
	    '... so one chat was left, not two';
	my $got = do { local $/; <$sock> };
	like $got, qr/^HTTP\S+ 200\b/, '... and the chat in flight is answered';
	is_deeply limits($id), [ 2, 0 ], '... and counted';
}

# -- other days --------------------------------------------------------------

for my $day (-1, 1) {
	my $id = $next++;
	$s->sql("insert into ai_chat_daily_limits (telegram_id, request_count,
	    last_reset_date) values ($id, 2, current_date + $day)");
	is reset_of($id)->{json}{success}, JSON::PP::true,
	    "a counter of another day ($day) is reset";
	is_deeply limits($id), [ 0, 2 ], '... to the whole limit of today';
	is $s->send(telegram_id => $id)->{status}, 200, '... which can be used';
	is_deeply limits($id), [ 1, 1 ], '... and is counted';
}

{
	my ($id, $other) = ($next++, $next++);
	$s->send(telegram_id => $_) for $id, $other;
	reset_of($id);
	is_deeply limits($other), [ 1, 1 ], 'no other user is reset';
}

done_testing;
