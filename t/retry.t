# The retry rule, row by row, as the model observes it.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Test;
use POSIX qw(strftime);
use Time::HiRes qw(time);

# Many chats fail and are retried at once, so neither the circuit breaker nor
# the retry budget may stop them. Plain HTTP, because a TLS end would send a 502
# when the model closes its connection or sends too many headers.
my $s = AIChat::Test->new(tls => 0, env => { OPENAI_API_KEY => 'sk-secret',
    AI_CHAT_BREAKER_FAILURES => 0, AI_CHAT_RETRY_FLOOR => 100000 });
my $user = 0;

# Sends chats at once, each with a user and an id of its own. A case is [
# description, marks, ... ]; returns { user, id, got } for each.
sub send_cases (@cases)
{
	my @chats = map { $user++; {
		telegram_id => $user, message => "[[id=r$user $_->[1]]]",
	} } @cases;
	my @got = $s->send_many(@chats);

	return map { { user => $chats[$_]{telegram_id}, got => $got[$_],
	    id => "r$chats[$_]{telegram_id}" } } 0 .. $#cases;
}

sub pays ($chat, $count, $what)
{
	is_deeply $s->ledger($chat->{user}),
	    { count => $count, rows => $count, leases => 0 }, $what;
}

# The times between the calls, in ms.
sub waits ($chat)
{
	my @at = $s->model_times($chat->{id});
	return map { $at[$_] - $at[$_ - 1] } 1 .. $#at;
}

# -- retried or not
# --------------------------------------------------------------

my @again = (
	(map { [ "HTTP $_", "status=$_" ] }
	    qw(408 409 429 500 501 502 503 504 520 529 599)),
	[ 'a busy engine', 'status=503 body=html' ],
	[ 'a rate limit', 'status=429 code=rate_limit_exceeded type=tokens' ],
	[ 'a 500 that is not JSON', 'status=500 body=broken' ],
	[ 'a connection closed before the answer', 'close=before' ],
	[ 'one closed after the headers', 'close=headers' ],
	[ 'one closed in mid-answer', 'close=middle' ],
	[ 'a chunked answer cut off', 'chunked=1 close=middle' ],
	[ 'a connection reset', 'close=reset' ],
	[ 'JSON without its end', 'body=cut' ],
	[ 'an empty body', 'body=empty' ],
);
my @never = (
	(map { [ "HTTP $_", "status=$_" ] }
	    qw(400 401 402 403 404 405 410 413 422)),
	[ 'a redirect', 'redirect=http://127.0.0.1:1/' ],
	[ 'insufficient_quota by code',
	    'status=429 code=insufficient_quota type=requests' ],
	[ 'insufficient_quota by type',
	    'status=429 code=null type=insufficient_quota' ],
	[ 'insufficient_quota by both',
	    'status=429 code=insufficient_quota type=insufficient_quota' ],
	[ 'insufficient_quota with a 500',
	    'status=500 code=insufficient_quota' ],
	[ 'insufficient_quota that says when',
	    'status=429 code=insufficient_quota retry_after=1' ],
	[ 'an empty balance', 'status=429 code=credit_balance_exhausted' ],
	[ 'a billing limit', 'status=429 code=billing_hard_limit_reached' ],
	[ 'billing by type', 'status=429 code=null type=billing_not_active' ],
	[ 'broken JSON', 'body=broken' ],
	[ 'no content', 'body=null' ],
	[ 'a refusal', 'body=refusal' ],
	[ 'a content filter', 'body=filter' ],
	[ 'an answer that is too long', 'body=huge' ],
	[ 'a flood of headers', 'headerflood=1000000' ],
);

{
	my @chats = send_cases(@again, @never);
	for my $i (0 .. $#chats) {
		my ($what) = @{ (@again, @never)[$i] };
		my $times = $i < @again ? 3 : 1;
		is $chats[$i]{got}{status}, 500, "$what: fails in the end";
		is $s->model_count($chats[$i]{id}), $times,
		    "... after this number of calls: $times";
		pays($chats[$i], 0, '... and costs nothing');
		next if $times == 1;
		my @waits = waits($chats[$i]);
		cmp_ok $waits[0], '<', 500 + 1000, '... the first wait';
		cmp_ok $waits[1], '<', 1000 + 1000, '... the second';
	}
	my %first = map { int($_ / 5) => 1 }
	    map { (waits($_))[0] } @chats[0 .. $#again];
	cmp_ok scalar keys %first, '>', 3, 'the waits are random';
}

# -- success after failures
# ------------------------------------------------------

for my $times (1, 2) {
	my @cases = map { [ $_->[0], "times=$times $_->[1] tokens=9" ] }
	    @again;
	my @chats = send_cases(@cases);
	for my $i (0 .. $#chats) {
		my $got = $chats[$i]{got};
		is $got->{status}, 200,
		    "$cases[$i][0] $times times: answered in the end";
		is $got->{json}{remaining_requests}, 29,
		    '... and one chat is counted';
		is $got->{json}{tokens_used}, 9,
		    '... and the tokens of the last call';
		is $s->model_count($chats[$i]{id}), $times + 1,
		    '... with one call more than failures';
		pays($chats[$i], 1, '... and counted once');
	}
}

# -- Retry-After
# -------------------------------------------------------------------

{
	my $date = strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime time + 3);
	my $past = strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime time - 3600);
	$_ =~ s/ /%20/g for $date, $past;
	# [ what, marks, calls, least and most ms between the first two ]
	my @cases = (
		[ 'seconds', 'status=429 retry_after=1', 2, 1000, 2500 ],
		[ 'seconds with a 503', 'status=503 retry_after=2', 2,
		    2000, 3500 ],
		[ 'a date', "status=503 retry_after=$date", 2, 1000, 4500 ],
		[ 'milliseconds', 'status=429 retry_after_ms=700', 2,
		    700, 2000 ],
		[ 'fractions of milliseconds',
		    'status=429 retry_after_ms=650.5', 2,
		    650, 2000 ],
		[ 'both', 'status=429 retry_after_ms=600 retry_after=40', 2,
		    600, 2000 ],
		[ 'an invalid one and a valid one',
		    'status=429 retry_after_ms=x retry_after=1', 2,
		    1000, 2500 ],
		(map { [ "'$_'", "status=429 retry_after=$_", 2, 0, 1500 ] }
		    'soon', '-5', '0', $past, '%20', 'Mon', '0x10',
		    'nan'),
		(map { [ "'$_' ms", "status=429 retry_after_ms=$_", 2, 0,
		    1500 ] } 'soon', '-5', '0', 'nan', '5e', '%20', 'inf'),
		(map { [ "in $_", "status=429 retry_after=$_", 1 ] }
		    60, 3600, 86401, 4000000000,
		    'Fri,%2031%20Dec%202100%2023:59:59%20GMT'),
		(map { [ "in $_ ms", "status=429 retry_after_ms=$_", 1 ] }
		    60000, 3600000, 90000000, '1e12'),
	);
	my @chats = send_cases(map { [ $_->[0], "times=1 $_->[1]" ] } @cases);
	for my $i (0 .. $#cases) {
		my ($what, undef, $calls, $least, $most) = @{ $cases[$i] };
		my $chat = $chats[$i];
		is $s->model_count($chat->{id}), $calls,
		    "Retry-After, $what: $calls calls";
		if ($calls == 1) {
			is $chat->{got}{status}, 500, '... fails';
			cmp_ok $chat->{got}{seconds}, '<', 5, '... at once';
			pays($chat, 0, '... and costs nothing');
			next;
		}
		is $chat->{got}{status}, 200, '... answered';
		my ($wait) = waits($chat);
		cmp_ok $wait, '>=', $least - 5, '... not before'
		    if $least;
		cmp_ok $wait, '<', $most, '... and not long after';
	}
}

# -- one request for each attempt
# --------------------------------------------------

# Each thread of the worker keeps a connection of its own, so many chats are
# sent first, to have enough connections that are closed later.
{
	my @first = send_cases(map { [ '', 'keepclose=1 delay=200' ] }
	    1 .. 60);
	is((grep { $_->{got}{status} == 200 } @first), 60,
	    'chats on connections that will be closed are answered');
	my @then = send_cases(map { [ '', 'delay=200' ] } 1 .. 60);
	is((grep { $_->{got}{status} == 200 } @then), 60,
	    'chats on closed connections are answered, too');
	my $log = $s->worker_log(1);
	my ($sent, $wrong) = (0, '');
	for my $chat (@then) {
		my ($attempts) = $log =~ /user=$chat->{user} .*attempts=(\d+)/;
		my $count = $s->model_count($chat->{id});
		$sent++ if $count > 1;
		$wrong .= " $chat->{user}: $count calls, $attempts attempts"
		    if $count != $attempts;
		pays($chat, 1, '... counted once');
	}
	is $wrong, '', 'there are as many requests as attempts';
	ok $sent, '... more than one where the connection was closed';
}

# -- refused connections
# ---------------------------------------------------------

{
	my $stack = $s->stack;
	$stack->model->stop;
	my @socks = $s->start_chats({ telegram_id => 9001 });
	my ($got) = finish_chats(@socks);
	is $got->{status}, 500, 'no listener: fails';
	like $s->worker_log(1), qr/user=9001 .*attempts=3/,
	    '... after three attempts';
	is_deeply $s->ledger(9001), { count => 0, rows => 0, leases => 0 },
	    '... and costs nothing';
	$stack->start_model;
	is $s->send(telegram_id => 9001)->{status}, 200,
	    'when the model listens again, it is called';
}

# -- the deadline ------------------------------------------------------------

# The model's share is 4000 - 500 - 200 ms, and an attempt needs one second.
$s->restart_worker(1, AI_CHAT_DEADLINE_MS => 4000,
    AI_CHAT_DB_TIMEOUT_MS => 500);
{
	my $early = $s->model_counts->{closed_early};
	my @chats = send_cases(map { [ '', 'status=503 delay=1200' ] }
	    1 .. 20);
	for my $chat (@chats) {
		is $chat->{got}{status}, 500, 'a slow failure: fails';
		cmp_ok $chat->{got}{seconds}, '<', 3.6, '... in time';
		cmp_ok $s->model_count($chat->{id}), '<=', 2,
		    '... without an attempt that could not end in time';
	}
	is $s->model_counts->{closed_early}, $early,
	    '... and no attempt was cut off';

	my ($hung) = send_cases([ '', 'hang=1' ]);
	is $hung->{got}{status}, 500, 'a model that hangs: fails';
	cmp_ok $hung->{got}{seconds}, '<', 4, '... before the deadline';
	is $s->model_count($hung->{id}), 1, '... after one attempt';

	my ($late) = send_cases([ '', 'status=429 retry_after=3 times=1' ]);
	is $late->{got}{status}, 500, 'a wait that leaves no time: fails';
	cmp_ok $late->{got}{seconds}, '<', 1.5, '... at once';
	is $s->model_count($late->{id}), 1, '... after one attempt';
}

done_testing;
