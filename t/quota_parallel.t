# A user never gets more chats than the limit, however many requests arrive at
# once; and the responses, the rows and the counter agree.

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

# The number of responses with each status.
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

# From the logs of the workers.
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

# -- midnight ----------------------------------------------------------------

# A test that runs over midnight would use two days.
wait_for(sub {
	$s->value("select extract(epoch from
	    date_trunc('day', now() at time zone 'Europe/Moscow')
	    + interval '1 day' - (now() at time zone 'Europe/Moscow'))") > 60;
}, 90, 'midnight to be over');

# -- three hundred at once ---------------------------------------------------

for my $case ([ 1, '', 'an instant model' ],
    [ 2, '[[delay=500]]', 'a slow model' ]) {
	my ($user, $marks, $what) = @$case;
	my @got = $s->send_many(map { {
		telegram_id => $user, message => "вопрос $_ $marks",
	} } 1 .. 300);

	is_deeply tally(@got), { 200 => $LIMIT, 429 => 300 - $LIMIT },
	    "$what: of 300 at once exactly the limit is answered";
	spent($user, $LIMIT, '... stored, and counted');
	my @left = map { $_->{json}{remaining_requests} }
	    grep { $_->{status} == 200 } @got;
	is((grep { $_ < 0 || $_ >= $LIMIT } @left), 0,
	    '... the remaining number is always in its range');
	is_deeply [ sort map { $_->[0] } $s->sql("select message
	    from ai_chat_requests where telegram_id = $user") ],
	    [ sort map { "вопрос " . ($_ + 1) . " $marks" }
	    grep { $got[$_]{status} == 200 } 0 .. 299 ],
	    '... the stored chats are the answered ones';
	is $s->get("/v1/chat/limits/$user")->{json}{requests_today}, $LIMIT,
	    '... and the limits endpoint agrees';
}
is $s->model_count, 2 * $LIMIT, 'the model was called for no other chat';

# -- the text of a refusal
# -------------------------------------------------------

{
	my $got = $s->send(telegram_id => 1);
	is $got->{status}, 429, 'one more chat is refused';
	my $detail = $got->{json}{detail};
	is_deeply [ sort keys %{ $got->{json} } ], [ 'detail' ],
	    'a refusal is an object in detail';
	my ($message, $at) = delete @$detail{qw(message reset_at)};
	is_deeply $detail, { error => 'Rate limit exceeded',
	    daily_limit => $LIMIT, requests_today => $LIMIT,
	    requests_remaining => 0 }, '... with the numbers';
	like $message, qr/[а-яё]/i, 'the message is in Russian';
	like $message, qr/\b30\b/, '... with the limit';
	like $at, qr/^\d{4}-\d\d-\d\dT00:00:00\+03:00$/,
	    'the reset is at midnight, local time';
	my ($y, $m, $d) = split /[-T]/, $at;
	like $message, qr/ \Q$d.$m после 00:00 (МСК).\E\z/, '... and the message names the day';
	my $left = seconds_to($at);
	ok $left > 0 && $left <= 86400, '... within a day';
	ok abs($got->{headers}{'retry-after'} - $left) <= 2,
	    'Retry-After is the time until then';
	is $s->get('/v1/chat/limits/1')->{json}{reset_at}, $at,
	    'the limits endpoint agrees';
	is $s->model_count, 2 * $LIMIT, 'the model was not called';
}

# -- one chat left
# -----------------------------------------------------------------

{
	$s->send_many(map { { telegram_id => 3 } } 2 .. $LIMIT);
	spent(3, $LIMIT - 1, 'all but one are used');
	my @got = $s->send_many(map { {
		telegram_id => 3, message => '[[delay=200]]',
	} } 1 .. 500);
	is_deeply tally(@got), { 200 => 1, 429 => 499 },
	    'five hundred at once with one chat left: one is answered';
	is((grep { $_->{status} == 200 } @got)[0]{json}{remaining_requests},
	    0, '... and no chat is left');
	spent(3, $LIMIT, '... and it is counted once');
	is((grep { $_->{status} == 429 && ($_->{json}{detail}{requests_today}
	    != $LIMIT || $_->{json}{detail}{requests_remaining} != 0) } @got),
	    0, '... and other requests see chats in flight as counted');
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
	    [ [ 5, 0, 5 ] ], '... and each has five, counted and stored';
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
	cmp_ok $answered, '<=', $LIMIT, '... no more answers than the limit';
	spent(4, $answered, '... exactly the answers are counted and stored');

	@got = map { $s->send(telegram_id => 4) } 1 .. $LIMIT - $answered + 2;
	is_deeply tally(@got), { 429 => 2, $answered < $LIMIT
	    ? (200 => $LIMIT - $answered) : () },
	    'the chats that failed can be used';
	spent(4, $LIMIT, '... down to the last one');
}

# -- a reset with chats in flight --------------------------------------------

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
	}, 20, 'ten chats in flight and twenty refusals');
	is $s->get('/v1/chat/limits/5')->{json}{requests_today}, $LIMIT,
	    'chats in flight count';
	is $s->post('/v1/chat/reset-limit', { telegram_id => 5 })->{status},
	    200, 'a reset with chats in flight';
	is $s->get('/v1/chat/limits/5')->{json}{requests_today}, 10,
	    '... keeps their reservations';
	is_deeply tally(finish_chats(@socks)), { 200 => 10, 429 => 20 },
	    '... and they are answered';
	is_deeply $s->ledger(5), { count => 10, rows => 30, leases => 0 },
	    '... and count after the reset';
	is_deeply tally($s->send_many(map { { telegram_id => 5 } } 1 .. 50)),
	    { 200 => 20, 429 => 30 }, 'then the rest of the limit can be used';
	is_deeply $s->ledger(5), { count => 30, rows => 50, leases => 0 },
	    '... and no more';
}

# -- many resets
# -----------------------------------------------------------------

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
	    'resets all the time: all chats are answered or refused';
	is $resets, 10, '... all resets succeed';
	cmp_ok $n->{200}, '<=', $LIMIT * ($resets + 1),
	    '... within the number that the resets allow';
	my $ledger = $s->ledger(6);
	is $ledger->{rows}, $n->{200}, '... rows and answers agree';
	cmp_ok $ledger->{count}, '<=', $LIMIT, '... the count is in range';
	is $ledger->{leases}, 0, '... no reservation remains';
}

done_testing;
