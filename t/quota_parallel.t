# A user never gets more than the limit, whatever comes at once; and what the
# answers, the rows and the counter say is the same.

use v5.36;
use utf8;
use AIChat::Test;
use Time::Local qw(timegm);

my $LIMIT = 30;

my $s = AIChat::Test->new(workers => 3, env => {
	AI_CHAT_DAILY_LIMIT => $LIMIT,
	AI_CHAT_TIMEZONE => 'Europe/Moscow',
	AI_CHAT_THREADS => 200,
});

# How often each status came.
sub tally (@answers)
{
	my %n;
	$n{ $_->{status} }++ for @answers;
	return \%n;
}

sub spent ($user, $count, $what)
{
	is_deeply $s->ledger($user),
	    { count => $count, rows => $count, leases => 0 }, $what;
}

# As the workers' logs have it.
sub refusals ($user)
{
	return scalar map { $s->worker_log($_) =~ /user=$user .*code=ELIMIT/g }
	    1 .. 3;
}

sub seconds_to ($iso)
{
	my ($y, $mo, $d, $h, $mi, $sec, $sign, $oh, $om) = $iso =~
	    /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)([+-])(\d+):(\d+)$/
	    or return;
	my $at = timegm($sec, $mi, $h, $d, $mo - 1, $y);
	return $at - ($sign eq '-' ? -1 : 1) * ($oh * 3600 + $om * 60) - time;
}

# -- the day's end -----------------------------------------------------------

# A test that runs into midnight would be of two days.
wait_for(sub {
	$s->value("select extract(epoch from
	    date_trunc('day', now() at time zone 'Europe/Moscow')
	    + interval '1 day' - (now() at time zone 'Europe/Moscow'))") > 60;
}, 90, 'midnight to be over');

# -- three hundred at once ---------------------------------------------------

for my $case ([ 1, '', 'an instant model' ],
    [ 2, '[[delay=500]]', 'a model that thinks' ]) {
	my ($user, $marks, $what) = @$case;
	my @got = $s->send_many(map { {
		telegram_id => $user, message => "вопрос $_ $marks",
	} } 1 .. 300);

	is_deeply tally(@got), { 200 => $LIMIT, 429 => 300 - $LIMIT },
	    "$what: of 300 at once as many as may are answered";
	spent($user, $LIMIT, '... kept, and counted');
	my @left = map { $_->{json}{remaining_requests} }
	    grep { $_->{status} == 200 } @got;
	is((grep { $_ < 0 || $_ >= $LIMIT } @left), 0,
	    '... what is left is never out of range');
	is_deeply [ sort map { $_->[0] } $s->sql("select message
	    from ai_chat_requests where telegram_id = $user") ],
	    [ sort map { "вопрос " . ($_ + 1) . " $marks" }
	    grep { $got[$_]{status} == 200 } 0 .. 299 ],
	    '... the kept ones are those that were answered';
	is $s->get("/v1/chat/limits/$user")->{json}{requests_today}, $LIMIT,
	    '... and the limits say so';
}
is $s->model_count, 2 * $LIMIT, 'the model was asked for no other';

# -- what a refusal says -----------------------------------------------------

{
	my $got = $s->send(telegram_id => 1);
	is $got->{status}, 429, 'one more is too many';
	my $detail = $got->{json}{detail};
	is_deeply [ sort keys %{ $got->{json} } ], [ 'detail' ],
	    'a refusal is a detail';
	my ($message, $at) = delete @$detail{qw(message reset_at)};
	is_deeply $detail, { error => 'Rate limit exceeded',
	    daily_limit => $LIMIT, requests_today => $LIMIT,
	    requests_remaining => 0 }, '... with the numbers';
	like $message, qr/[а-яё]/i, 'it is told in Russian';
	like $message, qr/\b30\b/, '... what the limit is';
	like $at, qr/^\d{4}-\d\d-\d\dT00:00:00\+03:00$/,
	    'the reset is at midnight, local time';
	my ($y, $m, $d) = split /[-T]/, $at;
	like $message, qr/ \Q$d.$m после 00:00 (МСК).\E\z/, '... and the message names the day';
	my $left = seconds_to($at);
	ok $left > 0 && $left <= 86400, 'it is within a day';
	ok abs($got->{headers}{'retry-after'} - $left) <= 2,
	    'Retry-After says how long that is';
	is $s->get('/v1/chat/limits/1')->{json}{reset_at}, $at,
	    'the limits say the same';
	is $s->model_count, 2 * $LIMIT, 'the model was not asked';
}

# -- one left ----------------------------------------------------------------

{
	$s->send_many(map { { telegram_id => 3 } } 2 .. $LIMIT);
	spent(3, $LIMIT - 1, 'all but one are used');
	my @got = $s->send_many(map { {
		telegram_id => 3, message => '[[delay=200]]',
	} } 1 .. 500);
	is_deeply tally(@got), { 200 => 1, 429 => 499 },
	    'five hundred for one slot: one gets it';
	is((grep { $_->{status} == 200 } @got)[0]{json}{remaining_requests},
	    0, '... and none is left');
	spent(3, $LIMIT, '... and it is counted once');
	is((grep { $_->{status} == 429 && ($_->{json}{detail}{requests_today}
	    != $LIMIT || $_->{json}{detail}{requests_remaining} != 0) } @got),
	    0, '... and those in flight count for the others');
}

# -- many users --------------------------------------------------------------

{
	my @got = $s->send_many(map { my $n = $_; map { {
		telegram_id => 1000 + $_, message => "вопрос $n",
	} } 1 .. 60 } 1 .. 5);
	is_deeply tally(@got), { 200 => 300 },
	    'sixty users with five each: all are answered';
	is_deeply [ $s->sql('select distinct request_count,
	    cardinality(leases), (select count(*) from ai_chat_requests r
	    where r.telegram_id = l.telegram_id)
	    from ai_chat_daily_limits l where telegram_id > 1000') ],
	    [ [ 5, 0, 5 ] ], '... and each has five, counted and kept';
}

# -- some of them fail -------------------------------------------------------

{
	my @got = $s->send_many(map { {
		telegram_id => 4,
		message => $_ % 3 ? '[[delay=50]]' : '[[delay=50 status=400]]',
	} } 1 .. 45);
	my $n = tally(@got);
	my $answered = $n->{200} // 0;
	is $answered + ($n->{500} // 0) + ($n->{429} // 0), 45,
	    'a third fails: there are answers, failures and refusals';
	ok $n->{500}, '... failures among them';
	cmp_ok $answered, '<=', $LIMIT, '... no more answers than may be';
	spent(4, $answered, '... what is counted and kept are the answers');

	@got = map { $s->send(telegram_id => 4) } 1 .. $LIMIT - $answered + 2;
	is_deeply tally(@got), { 429 => 2, $answered < $LIMIT
	    ? (200 => $LIMIT - $answered) : () },
	    'what the failures did not use is there';
	spent(4, $LIMIT, '... down to the last');
}

# -- a reset meanwhile -------------------------------------------------------

{
	$s->send_many(map { { telegram_id => 5 } } 1 .. 20);
	spent(5, 20, 'twenty are used');
	my $seen = $s->model_counts->{requests};
	my @socks = $s->start_chats(map { {
		telegram_id => 5, message => '[[delay=3000]]',
	} } 1 .. 30);
	wait_for(sub {
		$s->model_counts->{requests} == $seen + $LIMIT - 20
		    && refusals(5) == 20;
	}, 20, 'ten to be under way and twenty to be refused');
	is $s->get('/v1/chat/limits/5')->{json}{requests_today}, $LIMIT,
	    'chats in flight count';
	is $s->post('/v1/chat/reset-limit', { telegram_id => 5 })->{status},
	    200, 'a reset with chats in flight';
	is $s->get('/v1/chat/limits/5')->{json}{requests_today}, 10,
	    '... leaves those';
	is_deeply tally(finish_chats(@socks)), { 200 => 10, 429 => 20 },
	    '... and they are answered';
	is_deeply $s->ledger(5), { count => 10, rows => 30, leases => 0 },
	    '... and counted anew';
	is_deeply tally($s->send_many(map { { telegram_id => 5 } } 1 .. 50)),
	    { 200 => 20, 429 => 30 }, 'then there is the rest of the day';
	is_deeply $s->ledger(5), { count => 30, rows => 50, leases => 0 },
	    '... and no more';
}

# -- resets all the time -----------------------------------------------------

# More chats than all the resets allow.
{
	my @socks = $s->start_chats(map { {
		telegram_id => 6, message => '[[delay=20]]',
	} } 1 .. 12 * $LIMIT);
	my $resets = 0;
	for (1 .. 10) {
		my $got = $s->post('/v1/chat/reset-limit',
		    { telegram_id => 6 });
		$resets++ if $got->{json}{success};
	}
	my $n = tally(finish_chats(@socks));
	is +($n->{200} // 0) + ($n->{429} // 0), 12 * $LIMIT,
	    'resets all the time: all are answered or refused';
	is $resets, 10, '... all resets succeed';
	cmp_ok $n->{200}, '<=', $LIMIT * ($resets + 1),
	    '... within what the resets allow';
	my $ledger = $s->ledger(6);
	is $ledger->{rows}, $n->{200}, '... rows and answers agree';
	cmp_ok $ledger->{count}, '<=', $LIMIT, '... the count is in range';
	is $ledger->{leases}, 0, '... nothing stays reserved';
}

done_testing;
