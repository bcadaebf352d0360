# The history endpoint: shape, order, pages.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new;
my $next = 1;

sub history ($id, %o)
{
	return $s->post('/v1/chat/history', { telegram_id => $id, %o });
}

sub messages ($id, %o)
{
	return [ map { $_->{message} } @{ history($id, %o)->{json}{items} } ];
}

# Rows of an earlier day, one a second; message is their number.
sub fill ($id, $n)
{
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at)
	    select $id, g, 'Ответ ' || g, '2025-10-29',
	    '2025-10-29 12:00:00+00'::timestamptz + g * interval '1 s'
	    from generate_series(1, $n) g");
}

# -- shape -------------------------------------------------------------------

is history($next)->{content}, '{"items":[],"total":0,"limit":10,"offset":0}',
    'a new user has an empty history';
is $s->value('select count(*) from ai_chat_daily_limits'), 0,
    '... and gets no row';

{
	my $id = $next++;
	my $before = $s->value("select to_char(clock_timestamp() at time zone
	    'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')");
	$s->send(telegram_id => $id, user_context => 'Тайна',
	    message => 'Вопрос [[text=Ответ tokens=42]]');
	my $got = history($id);
	my ($item) = @{ $got->{json}{items} };
	my ($row) = $s->sql('select id from ai_chat_requests');
	is $got->{status}, 200, 'a chat is in the history';
	like $got->{content}, qr/^\{"items":\[\{"id":$row->[0],"message":"[^"]*",
	    "response":"[^"]*","tokens_used":42,"created_at":"[^"]*"\}\],
	    "total":1,"limit":10,"offset":0\}$/x, '... in exactly this shape';
	is $item->{message}, 'Вопрос [[text=Ответ tokens=42]]', '... the question';
	is $item->{response}, 'Ответ', '... and the answer';
	my $form = qr/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})\+00:00$/;
	like $item->{created_at}, $form,
	    '... with the time, in ISO 8601 with an offset';
	is $s->value("select '$item->{created_at}'::timestamptz = created_at
	    from ai_chat_requests"), 't', '... to the microsecond';
	my ($at) = $item->{created_at} =~ $form;
	ok $at ge $before, '... which is the time of the chat';
	unlike $got->{content}, qr/\xd0\xa2\xd0\xb0\xd0\xb9\xd0\xbd\xd0\xb0/,
	    'the seller\'s data is not stored';
}

# -- pages -------------------------------------------------------------------

{
	my $id = $next++;
	fill($id, 25);
	is_deeply messages($id), [ reverse 16 .. 25 ], 'the newest ten, newest first';
	my $got = history($id, limit => 7, offset => 20)->{json};
	is_deeply [ map { $_->{message} } @{ $got->{items} } ],
	    [ reverse 1 .. 5 ], 'the last page has the remaining five';
	is_deeply [ @$got{qw(total limit offset)} ], [ 25, 7, 20 ],
	    '... with total, limit and offset';
	is_deeply [ map { @{ messages($id, limit => 4, offset => 4 * $_) } }
	    0 .. 6 ], [ reverse 1 .. 25 ],
	    'the pages together have each exchange once';
	is_deeply messages($id, limit => 1), [ 25 ], 'a page of one';
	is scalar @{ messages($id, limit => 100) }, 25, 'a page of a hundred';
	for my $offset (25, 1000, 9223372036854775807) {
		my $got = history($id, offset => $offset)->{json};
		is_deeply [ $got->{items}, $got->{total} ], [ [], 25 ],
		    "offset $offset: an empty page";
	}
	is $s->value("select count(*) from ai_chat_requests
	    where telegram_id = $id"), 25, 'reading changed nothing';
}
{
	my $id = $next++;
	fill($id, 101);
	my $got = history($id, limit => 100)->{json};
	is_deeply [ scalar @{ $got->{items} }, $got->{total} ], [ 100, 101 ],
	    'a page of a hundred is full, and the total counts all exchanges';
}

# -- order -------------------------------------------------------------------

{
	my $id = $next++;
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) values
	    ($id, 'second', 'x', '2025-10-29', '2025-10-29 12:00:00.000002+00'),
	    ($id, 'third', 'x', '2025-10-28', '2025-10-29 12:00:00.000003+00'),
	    ($id, 'first', 'x', '2025-10-30', '2025-10-29 12:00:00.000001+00'),
	    ($id, 'third, too', 'x', '2025-10-29', '2025-10-29 12:00:00.000003+00')");
	is_deeply messages($id), [ 'third, too', 'third', 'second', 'first' ],
	    'created_at decides, then the id';
	my @items = @{ history($id)->{json}{items} };
	is $items[0]{created_at}, '2025-10-29T12:00:00.000003+00:00',
	    '... in UTC, whatever the database\'s zone';
	is $items[0]{tokens_used}, 0, 'a row without tokens has 0';
	$s->sql("update ai_chat_requests set tokens_used = null
	    where telegram_id = $id");
	like history($id)->{content}, qr/"tokens_used":0,/, '... also as a null';
}

# -- of one user -------------------------------------------------------------

{
	my ($id, $other) = ($next++, $next++);
	fill($id, 3);
	fill($other, 2);
	is history($id)->{json}{total}, 3,
	    'the history of a user has the exchanges of that user';
	is history($other)->{json}{total}, 2,
	    '... and so has that of another user';
	is $s->send(telegram_id => $id, message => '[[status=401]]')->{status},
	    500, 'a chat that fails';
	is history($id)->{json}{total}, 3, '... is not in the history';
	is_deeply [ sort keys %{ history($id)->{json}{items}[0] } ],
	    [ qw(created_at id message response tokens_used) ],
	    'no other column is in the response';
}

# Responses far larger than any buffer.
{
	my $id = $next++;
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date) select $id, 'x', repeat('Ж\"', 5000), current_date
	    from generate_series(1, 100)");
	my $got = history($id, limit => 100);
	is $got->{status}, 200, 'a page of 2 MB is answered';
	is scalar @{ $got->{json}{items} }, 100, '... with all exchanges';
	is $got->{json}{items}[99]{response}, 'Ж"' x 5000, '... each complete';
}

done_testing;
