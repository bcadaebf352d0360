# A send that is repeated under its Idempotency-Key: one answer, one count, one
# row, however often and at whichever worker it is repeated, and whatever
# crashed in between.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(workers => 2, proxy => [ 'database' ],
    # A lazy commit stays in memory, and is lost in a crash.
    pg_conf => { wal_writer_delay => '10s', track_activity_query_size => 8192 },
    env => {
	AI_CHAT_DEADLINE_MS => 3000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
	AI_CHAT_DAILY_LIMIT => 3,
});
$s->expect_log(qr/code=EDB/, qr/upstream prematurely closed/,
    qr/connect\(\) to unix:\S+ failed/, qr/FATAL:  (?:terminating|the database)/,
    qr/FATAL:  connection to client/);

sub send_key ($key, %o)
{
	return $s->send(headers => { 'Idempotency-Key' => $key }, %o);
}

sub chat ($key, %o)
{
	return { headers => { 'Idempotency-Key' => $key }, %o };
}

# The worker that has a chat in flight.
sub busy_one { return (grep { $s->taken($_) } 1, 2)[0] }

sub is_replay ($got, $first, $what)
{
	is $got->{status}, 200, $what;
	is $got->{content}, $first->{content}, '... the same answer and numbers';
	is $got->{headers}{'idempotent-replayed'}, 'true',
	    '... marked as a replay';
}

# Another session that has run this statement; closing the handle ends it.
sub hold ($sql)
{
	open my $psql, '|-', 'psql', '-XAtq', '-o', '/dev/null', '-d', $s->db_url
	    or die "psql: $!\n";
	print $psql "set application_name = 'holder'; $sql;\n";
	$psql->flush;
	wait_for(sub { $s->stack->pg->admin("select 1 from pg_stat_activity where
	    application_name = 'holder' and state = 'idle'
	    and query not like 'set %'") }, 10, 'the other session');
	return $psql;
}

# The number of responses that are not replays.
sub firsts (@got)
{
	return scalar grep { not $_->{headers}{'idempotent-replayed'} } @got;
}

sub paid ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

# -- one after another -------------------------------------------------------

{
	my %ask = (telegram_id => 1, message => '[[id=one text=да tokens=7]]',
	    user_context => 'данные');
	my $first = send_key('key-1', %ask);
	is $first->{status}, 200, 'a chat with a key';
	is $first->{json}{remaining_requests}, 2, '... is counted';
	is $first->{headers}{'idempotent-replayed'}, undef,
	    '... and is no replay';
	is_replay(send_key('key-1', %ask), $first, 'its repeat');
	paid(1, 1, '... costs nothing');

	is send_key('key-2', %ask)->{status}, 200,
	    'a second key is a second chat';
	is $s->send(%ask)->{status}, 200, '... and so is a chat without a key';
	is send_key('key-3', %ask)->{status}, 429, 'the day is used up';
	is_replay(send_key('key-1', %ask), $first,
	    'the first one repeated, when the day is used up');
	is $s->send(telegram_id => 1)->{status}, 429, '... and stays used up';
	paid(1, 3, '... with three chats counted');
	is $s->model_count('one'), 3, 'the model was called once for each chat';

	# The same body in another notation, at the other worker, after a
	# restart.
	$s->restart_worker($_) for 1, 2;
	my $raw = $s->post('/v1/chat/send', '{"user_context":"данные", "x": 1,
	    "message" : "[[id=one text=\u0434\u0430 tokens=7]]",
	    "telegram_id":1}' =~ s/([^\0-\x7f])/sprintf '\\u%04x', ord $1/ger,
	    headers => { 'Idempotency-Key' => 'key-1' });
	is_replay($raw, $first, 'the same body, written differently');

	my $got = send_key('key-1', %ask, telegram_id => 2);
	is $got->{status}, 200, 'the same key of another user is another chat';
	is $got->{headers}{'idempotent-replayed'}, undef, '... no replay';
	paid(2, 1, '... counted for that user');
}

# -- valid keys --------------------------------------------------------------

{
	my %ask = (telegram_id => 10, message => 'Вопрос');
	send_key('key', %ask);
	for ([ 'message', message => 'вопрос' ],
	    [ 'data', user_context => 'x' ]) {
		my ($what, @other) = @$_;
		my $got = send_key('key', %ask, @other);
		is $got->{status}, 422, "a key again, with another $what";
		is_deeply $got->{json}{detail}[0]{loc},
		    [ 'header', 'Idempotency-Key' ], '... is refused by name';
		is scalar @{ $got->{json}{detail} }, 1, '... for one reason';
	}
	paid(10, 1, '... and costs nothing');

	for ('k' x 129, 'ключ', "tab\there", "\x{80}") {
		my $key = $_;
		utf8::encode($key);
		my ($got) = $s->send_many(chat($key, %ask));
		is $got->{status}, 422, 'a key that is none: ' . length $key;
		is_deeply $got->{json}{detail}[0]{loc},
		    [ 'header', 'Idempotency-Key' ], '... is refused by name';
		ok length $got->{json}{detail}[0]{$_}, "... with $_"
		    for qw(type msg);
	}
	my $got = $s->post('/v1/chat/send', { telegram_id => 0 },
	    headers => { 'Idempotency-Key' => 'k' x 129 });
	is_deeply [ map { join ' ', @{ $_->{loc} } } @{ $got->{json}{detail} } ],
	    [ 'header Idempotency-Key', 'body telegram_id', 'body message' ],
	    'a bad body and a bad key are reported together';
	paid(10, 1, '... and nothing is counted');

	$got = send_key('k' x 128, telegram_id => 11);
	is $got->{status}, 200, 'a key of 128 characters';
	is send_key(q{!"#$%&'()*+,-./:;<=>?@[\]^_`{|} ~},
	    telegram_id => 11)->{status}, 200,
	    '... and one of any printable characters';
	is send_key('', telegram_id => 12)->{status}, 200, 'an empty key';
	is send_key('', telegram_id => 12)->{headers}{'idempotent-replayed'},
	    undef, '... counts as no key';
	paid(12, 2, '... so there are two chats');
}

# The form of RFC 9651, which libraries for the header send.
{
	my %ask = (telegram_id => 13);
	my $first = send_key('quo"ted', %ask);
	is_replay(send_key('"quo\\"ted"', %ask), $first,
	    'a key repeated as a quoted string');
	paid(13, 1, '... is the same key');
	for ('"', '"quo', '"a"b', '"a\\b"', '""') {
		is send_key($_, %ask)->{status}, 422,
		    "a quoted string with a fault: $_";
	}
	paid(13, 1, '... is refused');
}

# -- 24 hours ----------------------------------------------------------------

{
	my %ask = (telegram_id => 20);
	my $first = send_key('old', %ask);
	my $age = sub ($interval) {
		$s->sql("update ai_chat_requests set created_at =
		    now() - interval '$interval' where telegram_id = 20");
	};
	$age->('23 hours 59 minutes');
	is_replay(send_key('old', %ask), $first,
	    'a key of nearly a day is replayed');
	$age->('24 hours 1 minute');
	my $got = send_key('old', %ask, message => 'другое');
	is $got->{status}, 200, 'a day later the key is free again';
	is $got->{headers}{'idempotent-replayed'}, undef, '... for a new chat';
	paid(20, 2, '... which is counted');
}

# -- a failed chat can be repeated
# -----------------------------------------------

{
	my %ask = (telegram_id => 30,
	    message => '[[status=400 times=1 id=fails]]');
	is send_key('key', %ask)->{status}, 500, 'a chat that fails';
	paid(30, 0, '... costs nothing');
	my $got = send_key('key', %ask);
	is $got->{status}, 200, '... and its repeat calls the model again';
	is $got->{headers}{'idempotent-replayed'}, undef, '... no replay';
	is_replay(send_key('key', %ask), $got, 'a further repeat');
	paid(30, 1, '... so one chat is counted');
	is $s->model_count('fails'), 2, '... with two calls of the model';
}

# -- at the same time --------------------------------------------------------

{
	my %ask = (telegram_id => 40, message => '[[id=twins delay=600]]');
	my @got = $s->send_many(map { chat('key', %ask) } 1 .. 20);
	is((grep { $_->{status} == 200 } @got), 20,
	    'twenty at once under one key: all are answered');
	is scalar(keys %{ { map { $_->{content} => 1 } @got } }), 1,
	    '... alike';
	is firsts(@got), 1, '... one is not a replay';
	is $s->model_count('twins'), 1, '... with one call of the model';
	paid(40, 1, '... and one count');
	cmp_ok((sort map { $_->{seconds} } @got)[-1], '<', 2.5,
	    '... all within a short time');
}

# Many times with instant answers, so that the save coincides with the repeats.
{
	my ($bad, $firsts) = ('', 0);
	for my $round (1 .. 40) {
		my $user = 1000 + $round;
		my @got = $s->send_many(map { chat('key', telegram_id => $user,
		    message => "[[id=r$round delay=@{[ $round % 8 ]}]]") }
		    1 .. 6);
		my %ledger = %{ $s->ledger($user) };
		$firsts += firsts(@got);
		$bad .= " $round" if grep({ $_->{status} != 200 } @got)
		    || $ledger{count} != 1 || $ledger{rows} != 1
		    || $s->model_count("r$round") != 1;
	}
	is $bad, '', 'six at once under a key, forty times: one chat each';
	is $firsts, 40, '... and five replays of it';
}

# The first one fails, and one of the waiting repeats takes its place.
{
	my %ask = (telegram_id => 41,
	    message => '[[id=heir delay=400 status=400 times=1]]');
	my @got = $s->send_many(map { chat('key', %ask) } 1 .. 5);
	is join(' ', sort map { $_->{status} } @got), '200 200 200 200 500',
	    'the first one fails: a repeat takes its place';
	is $s->model_count('heir'), 2, '... with a call of its own';
	paid(41, 1, '... and one count');
}

# The first one takes longer than the time of the others.
{
	my %ask = (telegram_id => 42, message => '[[id=frozen delay=100]]');
	my ($sock) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count('frozen') }, 10, 'the first one');
	my $busy = busy_one();
	$s->kill_worker($busy, 'STOP');
	my $got = send_key('key', %ask);
	is $got->{status}, 503, 'the first one takes too long';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... with Retry-After';
	ok length why($got), '... with an error text';
	cmp_ok $got->{seconds}, '<', 3.3, '... in time';
	is $s->model_count('frozen'), 1, '... without another call';

	# Its reservation lapses 5 s after its deadline; then the key is free.
	$got = wait_for(sub {
		my $got = send_key('key', %ask);
		return $got if $got->{status} == 200;
	}, 12, 'the reservation to lapse');
	paid(42, 1,
	    'after the reservation has lapsed a repeat is answered, once');
	$s->kill_worker($busy, 'CONT');
	my ($late) = finish_chats($sock);
	like $late->{status}, qr/^(?:200|50[034])$/,
	    'the worker continues and its chat ends';
	is $late->{content}, $got->{content},
	    '... with the answer that was stored'
	    if $late->{status} == 200;
	paid(42, 1, '... and changes nothing');
	is_replay(send_key('key', %ask), $got, 'a repeat after that');
}

# Both are in flight, because the reservation of the first one was removed. The
# second one ends before the first, or after it.
for my $second (qw(sooner later)) {
	my $user = $second eq 'sooner' ? 43 : 44;
	my $id = "both$user";
	my $marks = "id=$id " . ($second eq 'sooner' ? 'delay=2000 times=1'
	    : 'delay=2000');
	my %ask = (telegram_id => $user, message => "[[$marks]]");
	my ($first) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count($id) == 1 }, 10, 'the first one');
	$s->sql("update ai_chat_daily_limits set leases = '{}'
	    where telegram_id = $user");
	my ($b) = finish_chats($s->start_chats(chat('key', %ask)));
	my ($a) = finish_chats($first);
	is $b->{status}, 200,
	    "a lost reservation, the second $second: it is answered";
	is $s->model_count($id), 2, '... and so was the first';
	if ($second eq 'sooner') {
		is_replay($a, $b, '... which returns the stored answer');
	} else {
		is $a->{status}, 503, '... which comes too late to be stored';
		like $a->{headers}{'retry-after'}, qr/^[1-9]/,
		    '... with Retry-After';
	}
	paid($user, 1, '... and one chat is counted');
}

# Another body, while the first chat of the key is in flight.
{
	my %ask = (telegram_id => 45, message => '[[id=other delay=900]]');
	my @first = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count('other') }, 10, 'the first one');
	my $got = send_key('key', %ask, user_context => 'x');
	is $got->{status}, 422,
	    'another body, while the first one is in flight';
	is $s->model_counts->{pending}, 1, '... which continues';
	is((finish_chats(@first))[0]{status}, 200, '... and is answered');
	paid(45, 1, '... as one chat');
}

# The first one fails when no time is left for another attempt.
{
	my %ask = (telegram_id => 46, message =>
	    '[[id=late delay=1900 status=400 times=1]]');
	my @got = $s->send_many(map { chat('key', %ask) } 1 .. 3);
	is join(' ', sort map { $_->{status} } @got), '500 503 503',
	    'the first one fails late: the others get a 503';
	is((grep { ($_->{headers}{'retry-after'} // 0) > 0 } @got), 2,
	    '... with Retry-After');
	is $s->model_count('late'), 1,
	    '... and the model is not called in vain';
	is send_key('key', %ask)->{status}, 200, 'a later repeat is answered';
	paid(46, 1, '... for one chat');
}

# The last chat of the day, its repeats, and another question: a repeat does not
# use up a chat of the day.
{
	my $bad = '';
	for my $user (2001 .. 2040) {
		$s->sql("insert into ai_chat_daily_limits (telegram_id,
		    request_count, last_reset_date)
		    values ($user, 1, (now() at time zone 'UTC')::date)");
		my @got = $s->send_many(
		    (map { chat('key', telegram_id => $user) } 1 .. 5),
		    { telegram_id => $user, message => 'другой' });
		$bad .= " $user: " . join(' ', map { $_->{status} } @got)
		    if grep { $_->{status} != 200 } @got;
		my $ledger = $s->ledger($user);
		$bad .= " $user: $ledger->{count}" if $ledger->{count} != 3;
	}
	is $bad, '', 'repeats at the same time as the last question of the day';
}

# A replay is returned only when the answer is on the disk: an answer that was
# changed by a lazy commit would be lost otherwise.
{
	my %ask = (telegram_id => 47);
	send_key('key', %ask);
	my $first = send_key('key', %ask)->{json}{response};
	$s->sql("set synchronous_commit = off; update ai_chat_requests
	    set response = 'später' where telegram_id = 47");
	my $got = send_key('key', %ask);
	is $got->{json}{response}, 'später',
	    'an answer that was changed by a lazy commit is replayed';
	$s->stop_pg('immediate');
	$s->start_pg;
	is send_key('key', %ask)->{content}, $got->{content},
	    '... is the same after a crash';
}

# The same where a repeat holds a reservation before it finds the answer. The
# statement that creates a user's row looks for the answer before it waits for
# the lock of that row: here for as long as the first chat takes.
{
	$s->sql("create table gate (shut boolean); insert into gate values (true);
	    create function wait_at_gate() returns trigger language plpgsql as
	    \$\$ begin if (select shut from gate) then
	    perform pg_advisory_xact_lock(470); end if; return new; end \$\$;
	    create trigger wait_at_gate before insert on ai_chat_daily_limits
	    for each row when (new.telegram_id = 470)
	    execute function wait_at_gate()");
	$s->restart_worker($_, AI_CHAT_DB_TIMEOUT_MS => 5000,
	    AI_CHAT_DEADLINE_MS => 15000) for 1, 2;
	my %ask = (telegram_id => 470, message => '[[id=gate text=erst]]');
	my $gate = hold('select pg_advisory_lock(470)');
	my ($second) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->stack->pg->admin("select 1 from pg_locks
	    where locktype = 'advisory' and not granted") }, 10,
	    'the repeat to wait');
	$s->sql('update gate set shut = false');
	is send_key('key', %ask)->{status}, 200, 'the first chat of a key';
	$s->sql("set synchronous_commit = off; update ai_chat_requests
	    set response = 'später' where telegram_id = 470");
	close $gate;
	my ($got) = finish_chats($second);
	is $got->{json}{response}, 'später',
	    'a repeat that holds a reservation finds the answer';
	is $got->{headers}{'idempotent-replayed'}, 'true', '... as a repeat';
	$s->stop_pg('immediate');
	$s->start_pg;
	is send_key('key', %ask)->{content}, $got->{content},
	    '... and it is the same after a crash, too';
	is $s->model_count('gate'), 1, '... with one call of the model';
	is $s->ledger(470)->{count}, 1, '... and one count';
	$s->sql('drop trigger wait_at_gate on ai_chat_daily_limits');
	$s->restart_worker($_, AI_CHAT_DB_TIMEOUT_MS => 500,
	    AI_CHAT_DEADLINE_MS => 3000) for 1, 2;
}

# The database answers too late whether there is a reservation.
{
	my %ask = (telegram_id => 48);
	send_key('any', telegram_id => 49);
	$s->proxy('database')->fault(down => { stall => 1 });
	is send_key('key', %ask)->{status}, 503,
	    'a database that does not answer: a 503';
	$s->proxy('database')->clear;
	wait_for(sub { $s->ledger(48)->{leases} == 0 }, 4,
	    'the reservation to be released');
	my $got = send_key('key', %ask);
	is $got->{status}, 200, '... the repeat is answered';
	cmp_ok $got->{seconds}, '<', 1.5, '... soon';
	paid(48, 1, '... and counted once');
}

# The answer is found by its key, however many recent chats the user has.
{
	send_key('key', telegram_id => 90);
	$s->sql("insert into ai_chat_requests (telegram_id, chat_id, message,
	    response, request_date) select 90, gen_random_uuid(), 'm', 'r',
	    current_date from generate_series(1, 50000)");
	$s->sql('vacuum analyze ai_chat_requests');
	send_key('key', telegram_id => 90);
	my ($query) = map { $_->[0] } $s->stack->pg->admin("select query
	    from pg_stat_activity where application_name = 'ai-chat'
	    and query like '%key_digest%' and query not like 'WITH%'
	    order by query_start desc limit 1");
	my $plan = join "\n", map { $_->[0] } $s->sql("
	    set plan_cache_mode = force_generic_plan;
	    prepare repeat as $query;
	    explain (costs off) execute repeat(90,
	    '00000000-0000-8000-8000-000000000000', '\\x00')");
	like $plan, qr/Index Scan using ai_chat_requests_chat_id_key/,
	    'a repeat is found by its key';
	unlike $plan, qr/user_time_idx|Seq Scan on ai_chat_requests/,
	    '... and by an index' or diag $plan;
}

# -- callers that disconnect
# ------------------------------------------------------

# During the call of the model a worker checks once a second whether the caller
# is connected.
{
	my %ask = (telegram_id => 50, message => '[[id=left delay=1700]]');
	my ($sock) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count('left') }, 10, 'a call of the model');
	close $sock;
	wait_for(sub { $s->ledger(50)->{rows} }, 10, 'the chat to be kept');
	paid(50, 1,
	    'a caller with a key disconnects: the chat is finished and stored');
	my $got = send_key('key', %ask);
	is $got->{headers}{'idempotent-replayed'}, 'true',
	    '... and replayed to a repeat';
	is $s->model_count('left'), 1, '... with one call of the model';
}

{
	my %ask = (telegram_id => 51, message => '[[id=waits delay=1700]]');
	my @first = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count('waits') }, 10, 'the first one');
	my ($sock) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->taken(1) + $s->taken(2) == 2 }, 5, 'the second one');
	close $sock;
	wait_for(sub { $s->taken(1) + $s->taken(2) == 1 }, 1.5,
	    'the second one to be let go');
	pass
	    'a caller that disconnects while it waits occupies no slot';
	is((finish_chats(@first))[0]{status}, 200,
	    '... and the first one is answered');
	paid(51, 1, '... and is counted');
}

# -- crashes
# -----------------------------------------------------------------------

# The promise as stated: the same message five times, with kills of workers and
# of the database in between.
{
	my %ask = (telegram_id => 60, message => '[[id=five delay=400]]');
	my $answered = $s->model_counts->{answered};

	my ($sock) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count('five') }, 10, 'the first call');
	my $busy = busy_one();
	$s->kill_worker($busy);
	my ($got) = finish_chats($sock);
	is $got->{status}, 502, 'first attempt: the worker is killed';
	$s->start_worker($busy);

	$s->stop_pg('immediate');
	$got = send_key('key', %ask);
	is $got->{status}, 503, 'second attempt: the database is down';
	$s->start_pg;

	$got = wait_for(sub {
		my $got = send_key('key', %ask);
		return $got if $got->{status} != 503;
	}, 15, 'the reservation of the killed worker to lapse');
	is $got->{status}, 200, 'thrice: answered';
	my $first = $got;

	$s->kill_worker($_) for 1, 2;
	$s->stop_pg('immediate');
	$s->start_pg;
	$s->start_worker($_) for 1, 2;
	is_replay(send_key('key', %ask), $first,
	    'fourth attempt, after all were killed');
	is_replay(send_key('key', %ask), $first, 'fifth attempt');
	paid(60, 1, 'one row, one count');
	is $s->model_counts->{answered}, $answered + 1,
	    '... and one answer of the model';
}

# The reservation of a killed worker lapses while a repeat waits for it.
{
	my %ask = (telegram_id => 61, message => '[[id=lapses delay=400]]');
	my ($sock) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->model_count('lapses') }, 10, 'the first call');
	my $busy = busy_one();
	$s->kill_worker($busy);
	finish_chats($sock);
	$s->start_worker($busy);
	$s->sql("update ai_chat_daily_limits set leases = array[row(
	    (leases[1]).chat_id, (leases[1]).day, now() + interval '700 ms'
	    )::ai_chat_lease] where telegram_id = 61");
	my $got = send_key('key', %ask);
	is $got->{status}, 200,
	    'the reservation of a killed worker lapses: the repeat that waits is answered';
	paid(61, 1, '... and counted once');
}

# A worker is killed during a save, which was committed or not.
{
	$s->sql('create or replace function wait_a_bit() returns trigger
	    language plpgsql as $$ begin perform pg_sleep(0.4);
	    return new; end $$');
	$s->sql('create trigger wait_a_bit before insert on ai_chat_requests
	    for each row when (new.telegram_id between 70 and 79)
	    execute function wait_a_bit()');
	my %ask = (telegram_id => 70, message => '[[id=saving]]');
	my ($sock) = $s->start_chats(chat('key', %ask));
	wait_for(sub { $s->stack->pg->admin("select 1 from pg_stat_activity
	    where wait_event = 'PgSleep'") }, 10, 'the save');
	my $busy = busy_one();
	$s->kill_worker($busy);
	finish_chats($sock);
	my $got = send_key('key', %ask);
	is $got->{status}, 200,
	    'a worker is killed during a save: the repeat is answered';
	paid(70, 1, '... and one chat is counted');
	is $s->model_count('saving'), 1, '... whose save was committed';
	is $got->{headers}{'idempotent-replayed'}, 'true',
	    '... so the repeat is a replay';
	$s->start_worker($busy);
}

done_testing;
