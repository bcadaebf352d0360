# The day changes, or the clock is set, while chats are in flight: each day has
# a limit of its own, and no chat is counted in two days.

use v5.36;
use utf8;
use AIChat::Test;

my $LIMIT = 5;
my $s = AIChat::Test->new(workers => 2,
    env => { AI_CHAT_DAILY_LIMIT => $LIMIT });

# PostgreSQL decides which day it is, so the test sets its clock: for the
# connections of the workers, now() is a function of the test.
$s->sql('create schema later;
    create table later.clock as select interval \'0\' as shift;
    create function later.now() returns timestamptz language sql stable
	as $$ select pg_catalog.now() + shift from later.clock $$');
$s->sql("alter database $s->{db} set search_path = later, pg_catalog, public");
$s->stack->settings->{DATABASE_URL} .=
    '&options=-c%20search_path%3Dlater,pg_catalog,public';
$s->restart_worker($_) for 1, 2;

sub set_clock ($at) { $s->sql("update later.clock set shift =
    ($at) - pg_catalog.now()") }
sub step_clock ($by) { $s->sql("update later.clock set shift = shift
    + interval '$by'") }

sub tally (@got)
{
	my %n;
	$n{ $_->{status} }++ for @got;
	return \%n;
}

# The count, the day and the number of reservations of a user.
sub row ($user)
{
	my ($row) = $s->sql("select request_count, last_reset_date,
	    cardinality(leases) from ai_chat_daily_limits
	    where telegram_id = $user");
	return $row;
}

sub rows_of ($user)
{
	return [ $s->sql("select request_date, count(*) from ai_chat_requests
	    where telegram_id = $user group by 1 order by 1") ];
}

my $today = $s->value('select (now() + interval \'1 day\')::date');
my $tomorrow = $s->value("select '$today'::date + 1");

# -- midnight under load -----------------------------------------------------

{
	my @users = (1 .. 4);
	set_clock("'$tomorrow'::timestamptz - interval '1.5 s'");
	my @late = $s->start_chats({ telegram_id => 5,
	    message => '[[delay=2500]]' });
	my $load = $s->start_load(callers => 12, users => \@users,
	    message => '[[delay=60]]', pause => 0.05);
	wait_for(sub { $load->count(200) == 2 * $LIMIT * @users }, 20,
	    'both days to be used up');
	my $n = $load->count(429);
	wait_for(sub { $load->count(429) > $n + 20 }, 10, 'refusals');
	my @got = $load->stop;
	is_deeply [ sort keys %{ tally(@got) } ], [ 200, 429 ],
	    'midnight under load: answers and refusals, and nothing else';
	for my $user (@users) {
		is_deeply rows_of($user), [ [ $today, $LIMIT ],
		    [ $tomorrow, $LIMIT ] ],
		    "... user $user has the limit of each day, and no more";
		is_deeply row($user), [ $LIMIT, $tomorrow, 0 ],
		    '... and the counter was reset exactly once';
	}
	my ($first) = grep { $_->{status} == 429 } @got;
	cmp_ok $first->{retry_after}, '<=', 2,
	    '... Retry-After before midnight is the time until midnight';
	my ($got) = finish_chats(@late);
	is_deeply [ $got->{status}, $got->{headers}{ratelimit} ],
	    [ 200, '"day";r=' . ($LIMIT - 1) . ';t=0' ],
	    '... RateLimit of a chat that was reserved the day before has ended';
}

# -- the clock is set --------------------------------------------------------

# Forward: reservations lapse, and other chats take their places in the limit.
{
	my @slow = $s->start_chats(map { { telegram_id => 10,
	    message => '[[delay=900]]' } } 1 .. 3);
	wait_for(sub { $s->model_counts->{pending} == 3 }, 10, 'three chats');
	step_clock('1 hour');
	my @got = $s->send_many(map { { telegram_id => 10 } } 1 .. $LIMIT);
	is_deeply tally(@got), { 200 => $LIMIT },
	    'an hour forward: the reservations have lapsed';
	is_deeply tally(finish_chats(@slow)), { 503 => 3 },
	    '... and a chat that lost its reservation is refused';
	is_deeply row(10), [ $LIMIT, $tomorrow, 0 ], '... within the limit';
	is_deeply rows_of(10), [ [ $tomorrow, $LIMIT ] ],
	    '... all of them saved';
}

# Back: no chat of the limit is used twice.
{
	my @slow = $s->start_chats(map { { telegram_id => 11,
	    message => '[[delay=600]]' } } 1 .. 3);
	wait_for(sub { $s->model_counts->{pending} == 3 }, 10, 'three chats');
	step_clock('-30 minutes');
	my @got = $s->send_many(map { { telegram_id => 11 } } 1 .. $LIMIT);
	is_deeply tally(@got), { 200 => 2, 429 => 3 },
	    'half an hour back: reservations stay';
	is_deeply tally(finish_chats(@slow)), { 200 => 3 },
	    '... and their chats are answered';
	is_deeply row(11), [ $LIMIT, $tomorrow, 0 ], '... within the limit';
}

# Back over midnight: a user who has begun the new day stays in it.
{
	set_clock("'$tomorrow'::timestamptz - interval '1 minute'");
	is_deeply tally($s->send_many(map { { telegram_id => 11 } } 1 .. 3)),
	    { 429 => 3 }, 'back over midnight: a used-up day stays used up';
	is $s->send(telegram_id => 12)->{status}, 200,
	    '... while other users still have the old day';
	is_deeply row(12), [ 1, $today, 0 ], '... as their row says';
	step_clock('2 minutes');
	my @got = $s->send_many(map { { telegram_id => 12 } } 1 .. $LIMIT + 1);
	is_deeply tally(@got), { 200 => $LIMIT, 429 => 1 },
	    '... and the new day when it begins';
	is $s->value('select min(request_count) from ai_chat_daily_limits
	    where telegram_id <> 5'), $LIMIT, 'no counter is below the number of answers';
}

# Forward by years, and back: a user who chatted meanwhile has used up a future
# day.  Only a reset by an operator opens the present day.
{
	set_clock("'$today'::timestamptz + interval '12 hours'");
	is $s->send(telegram_id => 13)->{status}, 200, 'a chat';
	step_clock('10 years');
	is_deeply tally($s->send_many(map { { telegram_id => 13 } } 1 .. $LIMIT)),
	    { 200 => $LIMIT }, 'ten years forward: another day';
	# The reservation of a worker that is killed then lasts for ten years.
	my @sock = $s->start_chats({ telegram_id => 14,
	    message => '[[delay=20000 id=lasting]]' });
	wait_for(sub { $s->model_count('lasting') }, 10,
	    'the model to be called');
	$s->kill_worker($_) for 1, 2;
	$s->expect_log(qr/upstream prematurely closed/, qr/no live upstreams/,
	    qr/connect\(\) to/);
	finish_chats(@sock);
	$s->start_worker($_) for 1, 2;
	step_clock('-10 years');

	my $got = $s->send(telegram_id => 13);
	is $got->{status}, 429, '... and back: the future day is used up';
	cmp_ok $got->{headers}{'retry-after'}, '>', 3e8, '... for ten years';
	is $s->get('/v1/chat/limits/14')->{json}{requests_today}, 1,
	    '... and the reservation of the killed worker stays';
	for my $user (13, 14) {
		$s->post('/v1/chat/reset-limit', { telegram_id => $user });
		is_deeply row($user), [ 0, $today, 0 ],
		    "a reset opens the day of the clock for user $user";
		is_deeply tally($s->send_many(map { { telegram_id => $user } }
		    1 .. $LIMIT + 1)), { 200 => $LIMIT, 429 => 1 },
		    '... with the limit of a day';
	}
}

done_testing;
