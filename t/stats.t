# Sums and averages over calendar days.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new;
my $next = 1;

sub stats ($id, $days = undef)
{
	my $query = defined $days ? "?days=$days" : '';
	return $s->get("/v1/chat/stats/$id$query");
}

# A chat of so many days ago.
sub row ($id, $ago, $tokens, $zone = 'UTC')
{
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    tokens_used, request_date, created_at)
	    select $id, 'x', 'y', $tokens,
	    (now() at time zone '$zone')::date - $ago, now() - $ago * interval '1 d'");
}

sub is_stats ($got, $requests, $tokens, $a_day, $a_request, $title)
{
	like $got->{content}, qr/^\{"telegram_id":\d+,"total_requests":$requests,
	    "total_tokens":$tokens,"days":\d+,
	    "avg_requests_per_day":\Q$a_day\E,
	    "avg_tokens_per_request":\Q$a_request\E\}$/x, $title;
}

# -- shape -------------------------------------------------------------------

{
	my $id = $next++;
	my $got = stats($id);
	is $got->{status}, 200, 'an unknown user has statistics';
	is_deeply $got->{json}, { telegram_id => $id, total_requests => 0,
	    total_tokens => 0, days => 7, avg_requests_per_day => 0,
	    avg_tokens_per_request => 0 }, '... all of them 0, over 7 days';
	unlike $got->{content}, qr/:"|null|NaN/, '... as numbers';
	is $s->value('select count(*) from ai_chat_daily_limits'), 0,
	    '... and gets no row';

	$s->send(telegram_id => $id, message => "[[tokens=$_]]") for 100, 101;
	is_stats(stats($id), 2, 201, '0.29', '100.50', 'two chats of today');
	is_stats(stats($id, 1), 2, 201, '2.00', '100.50', '... within one day');
	is stats($id, 30)->{json}{days}, 30,
	    'the response has the number of days';
	is $s->send(telegram_id => $id, message => '[[status=401]]')->{status},
	    500, 'a chat that fails';
	is stats($id, 1)->{json}{total_requests}, 2, '... is not included';
}

# -- two decimals ------------------------------------------------------------

for ([ 1, 3, '0.14', '3.00' ], [ 3, 10, '0.43', '3.33' ],
    [ 6, 1, '0.86', '0.17' ], [ 7, 14, '1.00', '2.00' ],
    [ 8, 20, '1.14', '2.50' ]) {
	my ($n, $tokens, @averages) = @$_;
	my $id = $next++;
	row($id, 0, $_ == 1 ? $tokens : 0) for 1 .. $n;
	is_stats(stats($id), $n, $tokens, @averages,
	    "$n chats, $tokens tokens, over 7 days");
}
{
	my $id = $next++;
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    tokens_used, request_date) select $id, 'x', 'y', 2147483647,
	    current_date from generate_series(1, 3)");
	is stats($id)->{json}{total_tokens}, 6442450941,
	    'a sum over 32 bits is right';
	$s->sql("update ai_chat_requests set tokens_used = null
	    where telegram_id = $id");
	is_stats(stats($id, 1), 3, 0, '3.00', '0.00',
	    'rows without tokens count as 0');
}

# -- which days --------------------------------------------------------------

{
	my $id = $next++;
	row($id, $_, 1) for 0, 1, 6, 7, 29, 30, 364, 365;
	my %want = (1 => 1, 2 => 2, 6 => 2, 7 => 3, 8 => 4, 29 => 4, 30 => 5,
	    31 => 6, 364 => 6, 365 => 7);
	is stats($id, $_)->{json}{total_requests}, $want{$_},
	    "$_ days, today included" for sort { $a <=> $b } keys %want;
	is stats($id)->{json}{total_requests}, 3, 'seven days is the default';
	row($id, -1, 1);
	is stats($id, 1)->{json}{total_requests}, 1,
	    'a chat of tomorrow is not of today';
	is stats($id, 365)->{json}{total_requests}, 7,
	    '... and not of the last days';
}
{
	# The day of the chat decides, not the time when it was saved.
	my $id = $next++;
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) values ($id, 'x', 'y', current_date - 1, now())");
	is stats($id, 1)->{json}{total_requests}, 0,
	    'a chat over midnight belongs to the day before';
	is stats($id, 2)->{json}{total_requests}, 1, '... and is found there';
	# Another service may have imported old rows.
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) values ($id, 'x', 'y', current_date - 20,
	    now())");
	is stats($id, 21)->{json}{total_requests}, 2,
	    'imported rows belong to their day';
	is stats($id, 20)->{json}{total_requests}, 1, '... and to no other';
}

{
	my ($id, $other) = ($next++, $next++);
	row($id, 0, 5);
	row($other, 0, 7);
	is stats($id, 365)->{json}{total_tokens}, 5,
	    'each user has separate statistics';
}

for my $zone ('Pacific/Kiritimati', 'Pacific/Niue') {
	my $id = $next++;
	$s->restart_worker(1, AI_CHAT_TIMEZONE => $zone);
	$s->send(telegram_id => $id);
	row($id, 1, 0, $zone);
	is stats($id, 1)->{json}{total_requests}, 1, "one is of $zone\'s today";
	is stats($id, 2)->{json}{total_requests}, 2, '... and one of its yesterday';
}

done_testing;
