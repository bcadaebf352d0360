# The daily limit as a user sees it: shapes of responses, chats in flight, time
# zones, and the counter when the day changes.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { AI_CHAT_DAILY_LIMIT => 3 });
my $next = 100;

sub limits ($id) { return $s->get("/v1/chat/limits/$id")->{json} }

sub row ($id, $count, $day, $leases = q('{}'))
{
	$s->sql("insert into ai_chat_daily_limits
	    (telegram_id, request_count, last_reset_date, leases)
	    values ($id, $count, $day, $leases)");
}

# The current day of a zone, by the database. The test reads it before and
# after, so that midnight in between does not matter.
sub today ($zone) { return $s->value("select (now() at time zone '$zone')::date") }

sub is_limits ($got, $used, $left, $title)
{
	is_deeply [ @$got{qw(requests_today requests_remaining)} ],
	    [ $used, $left ], $title;
}

# -- shape -------------------------------------------------------------------

{
	my $id = $next++;
	my $before = today('UTC');
	my $got = $s->get("/v1/chat/limits/$id");
	my $day = $got->{json}{reset_date};
	is $got->{status}, 200, 'an unknown user has limits';
	ok $day ge $before && $day le today('UTC'), '... of the current day';
	my $reset = $s->value("select '$day'::date + 1") . 'T00:00:00+00:00';
	is $got->{content}, qq({"telegram_id":$id,"requests_today":0,)
	    . qq("requests_remaining":3,"daily_limit":3,)
	    . qq("reset_date":"$day","reset_at":"$reset"}),
	    '... in exactly this shape, with all chats left';
	is $s->value('select count(*) from ai_chat_daily_limits'), 0,
	    '... and gets no row by the request';
}

# -- counting ----------------------------------------------------------------

{
	my $id = $next++;
	for my $used (1 .. 3) {
		my $got = $s->send(telegram_id => $id);
		is $got->{json}{remaining_requests}, 3 - $used,
		    "chat $used leaves " . (3 - $used);
		is_limits(limits($id), $used, 3 - $used,
		    '... by the limits endpoint, too');
	}
	my $got = $s->send(telegram_id => $id);
	is $got->{status}, 429, 'the fourth chat is refused';
	my $d = $got->{json}{detail};
	is join(' ', sort keys %$d), 'daily_limit error message '
	    . 'requests_remaining requests_today reset_at', '... in this shape';
	is_deeply [ @$d{qw(daily_limit requests_today requests_remaining)} ],
	    [ 3, 3, 0 ], '... with these numbers';
	unlike $got->{content}, qr/"(?:daily_limit|requests_\w+)":"/,
	    '... as JSON numbers';
	is $d->{reset_at}, limits($id)->{reset_at},
	    '... with the same reset as limits';
	is why($got), 'Rate limit exceeded', '... with an error text';
	my ($y, $m, $day) = $d->{reset_at} =~ /^(\d+)-(\d+)-(\d+)T/;
	is $d->{message}, 'Лимит на сегодня — 3 вопроса. Следующий можно будет '
	    . "задать $day.$m после 03:00 (МСК).",
	    '... and the time of the reset in the text';
	my $left = $s->value("select extract(epoch from
	    '$d->{reset_at}'::timestamptz - now())");
	ok abs($got->{headers}{'retry-after'} - $left) < 5,
	    '... Retry-After is the time until the reset';
	is_limits(limits($id), 3, 0, '... and it is not counted');
	is $s->model_count, 3, '... and the model was not called';
}
{
	my $id = $next++;
	is $s->send(telegram_id => $id, message => '[[status=401]]')->{status},
	    500, 'a chat that fails';
	is_limits(limits($id), 0, 3, '... is not counted');
	row($id + 1000, 5, 'current_date');
	is_limits(limits($id + 1000), 5, 0,
	    'a count above a limit that was lowered leaves 0');
	is $s->send(telegram_id => $id + 1000)->{json}{detail}
	    {requests_remaining}, 0, '... in the refusal, too';
}

# -- in flight ---------------------------------------------------------------

{
	my $id = $next++;
	my @socks = map { $s->connect } 1 .. 2;
	print $_ $s->chat_bytes(telegram_id => $id,
	    message => '[[delay=1500 id=fly]]') for @socks;
	wait_for(sub { ($s->model_count('fly') // 0) >= 2 }, 20,
	    'two chats in flight');
	is_limits(limits($id), 2, 1, 'chats in flight are counted');
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 2,
	    '... but reduce no number that the next chat returns';
	is $s->send(telegram_id => $id)->{status}, 429,
	    '... so no chat is left';
	local $/;
	like readline($_), qr/^HTTP\S+ 200\b/, '... and each of them is answered'
	    for @socks;
	is_limits(limits($id), 3, 0, '... all are counted once');
	is $s->value("select leases = '{}' from ai_chat_daily_limits
	    where telegram_id = $id"), 't', '... and no reservation is left';
}

# -- another day -------------------------------------------------------------

sub lease ($day, $until)
{
	return "array[row(gen_random_uuid(), $day,
	    now() + interval '$until')::ai_chat_lease]";
}

for my $ago (1, 2, 40, 4000) {
	my $id = $next++;
	row($id, 3, "current_date - $ago");
	my $got = limits($id);
	is_limits($got, 0, 3,
	    "used up $ago days ago, the whole limit is available today");
	is $got->{reset_date}, today('UTC'), '... under today\'s date';
	is $s->value("select request_count from ai_chat_daily_limits
	    where telegram_id = $id"), 3,
	    '... reading the limits changed nothing';
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 2,
	    '... and the first chat of today is the first';
	is $s->value("select request_count from ai_chat_daily_limits where
	    telegram_id = $id and last_reset_date = current_date"), 1,
	    '... in the row, too';
}
{
	my $id = $next++;
	row($id, 3, 'current_date + 1');
	my $got = limits($id);
	is_limits($got, 3, 0, 'a used-up counter of tomorrow refuses today');
	is $got->{reset_date}, $s->value('select current_date + 1'),
	    '... and limits has that day';
	is $got->{reset_at}, $s->value('select current_date + 2')
	    . 'T00:00:00+00:00', '... with the end of that day';
	is $s->send(telegram_id => $id)->{status}, 429, '... for a chat, too';
	row(++$id, 2, 'current_date + 1');
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 0,
	    '... the rest of that day can be used';
	is $s->send(telegram_id => $id)->{status}, 429, '... and no more';
	is $s->value("select last_reset_date - current_date from
	    ai_chat_daily_limits where telegram_id = $id"), 1,
	    '... and the day of the row stays';
	$next = $id + 1;
}
{
	my $id = $next++;
	row($id, 2, 'current_date - 1', lease('current_date - 1', '1 hour'));
	is_limits(limits($id), 0, 3,
	    'a chat of yesterday in flight does not count today');
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 2,
	    '... and not for the next chat';
	is $s->value("select count(*) from ai_chat_daily_limits l,
	    unnest(leases) x where telegram_id = $id and x.day < current_date"),
	    1, '... which does not remove its reservation';
	row(++$id, 1, 'current_date', lease('current_date', '1 hour'));
	is_limits(limits($id), 2, 1, 'a chat of today in flight counts');
	row(++$id, 1, 'current_date', lease('current_date', '-1 second'));
	is_limits(limits($id), 1, 2, 'a lapsed reservation does not count');
	is $s->send(telegram_id => $id)->{json}{remaining_requests}, 1,
	    '... and not for the next chat';
	$next = $id + 1;
}
# Yesterday's reservations, as many as the daily limit. The row still has the
# date of yesterday, or a chat has set it to today.
for my $ago (1, 0) {
	my $id = $next++;
	my $one = lease('current_date - 1', '1 hour');
	row($id, 0, "current_date - $ago", join ' || ', ($one) x 3);
	is_limits(limits($id), 0, 3,
	    "three chats of yesterday in flight do not count today ($ago)");
	is join(' ', map { $s->send(telegram_id => $id)->{status} } 1 .. 4),
	    '200 200 200 429', '... so three chats are answered';
	is $s->ledger($id)->{leases}, 3,
	    '... and the reservations of yesterday remain';
}
{
	# Midnight while the model works: another chat sets the row to the new
	# day.
	my $id = $next++;
	my $sock = $s->connect;
	print $sock $s->chat_bytes(telegram_id => $id,
	    message => '[[delay=1500 id=midnight]]');
	wait_for(sub { $s->model_count('midnight') }, 20, 'the model');
	my $day = $s->value("update ai_chat_daily_limits set last_reset_date =
	    last_reset_date + 1 where telegram_id = $id
	    returning last_reset_date - 1");
	is_limits(limits($id), 0, 3, 'the new day begins with the whole limit');
	my $got = do { local $/; <$sock> };
	like $got, qr/^HTTP\S+ 200\b/, 'a chat over midnight is answered';
	is_limits(limits($id), 0, 3, '... and does not count for the new day');
	is $s->value("select request_date from ai_chat_requests
	    where telegram_id = $id"), $day,
	    '... but is stored under its own day';
}

# -- zones -------------------------------------------------------------------

my %offset = ('Pacific/Kiritimati' => '+14:00', 'Pacific/Niue' => '-11:00',
    'Asia/Kolkata' => '+05:30', 'Europe/Moscow' => '+03:00',
    'Pacific/Marquesas' => '-09:30');
my %day;
my $id = $next++;
for my $zone (sort keys %offset) {
	$s->restart_worker(1, AI_CHAT_TIMEZONE => $zone);
	my $before = today($zone);
	my $got = limits($id);
	ok $got->{reset_date} ge $before && $got->{reset_date} le today($zone),
	    "$zone has a day of its own";
	is $got->{reset_at}, $s->value("select '$got->{reset_date}'::date + 1")
	    . "T00:00:00$offset{$zone}", '... which ends at its midnight';
	is $s->value("select '$got->{reset_at}'::timestamptz > now() and
	    '$got->{reset_at}'::timestamptz <= now() + interval '24 h'"), 't',
	    '... within a day';
	$day{$zone} = $got->{reset_date};
}
ok $day{'Pacific/Kiritimati'} gt $day{'Pacific/Niue'},
    'two zones 25 hours apart never have the same day';

{
	$s->restart_worker(1, AI_CHAT_TIMEZONE => 'Pacific/Niue',
	    AI_CHAT_DAILY_LIMIT => 1);
	is $s->send(telegram_id => $id)->{status}, 200, 'a chat in the west';
	is $s->send(telegram_id => $id)->{status}, 429, '... uses its day up';
	like $s->send(telegram_id => $id)->{json}{detail}{message},
	    qr/ после 00:00 \(МСК−14\)\.\z/,
	    '... and the text names the midnight of that zone';
	$s->restart_worker(1, AI_CHAT_TIMEZONE => 'Pacific/Kiritimati');
	is_limits(limits($id), 0, 1, 'in the east it is another day');
	is $s->send(telegram_id => $id)->{status}, 200, '... with its own chat';
	is_deeply [ $s->sql("select request_date from ai_chat_requests where
	    telegram_id = $id order by id") ], [ [ $day{'Pacific/Niue'} ],
	    [ $day{'Pacific/Kiritimati'} ] ],
	    '... and each is stored under its day'
	    if today('Pacific/Niue') eq $day{'Pacific/Niue'}
	    && today('Pacific/Kiritimati') eq $day{'Pacific/Kiritimati'};
	$s->restart_worker(1, AI_CHAT_TIMEZONE => 'Pacific/Niue');
	is $s->send(telegram_id => $id)->{status}, 429,
	    'back in the west the day stays used up';
}

# Days on which the clocks change: the offset is the one that applies at the
# reset.
{
	my $zone = 'Europe/Berlin';
	$s->restart_worker(1, AI_CHAT_TIMEZONE => $zone);
	for ([ '2099-03-28', '2099-03-29T00:00:00+01:00' ],
	    [ '2099-03-29', '2099-03-30T00:00:00+02:00' ],
	    [ '2099-10-25', '2099-10-26T00:00:00+01:00' ]) {
		my ($day, $reset) = @$_;
		row(++$id, 1, "'$day'");
		is limits($id)->{reset_at}, $reset, "the reset after $day";
	}
}

done_testing;
