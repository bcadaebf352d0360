# Old exchanges are pruned and users are erased: no chat fails because of that,
# and no user gets a second allowance. t/retain_load.t prunes many rows under
# load.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(workers => 2, own_pg => 1, env => {
	AI_CHAT_DEADLINE_MS => 3000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
	AI_CHAT_DAILY_LIMIT => 3,
});
# An answer that came too late to be saved, because its user was erased. The
# last batch of a run is given up when the time of the run is over.
$s->expect_log(qr/code=EBUSY/, qr/connection to client lost/);

sub url { return $s->db_url . '&application_name=retain' }

# The results at its end, by name; "failed" when it failed.
sub retain (@args)
{
	my ($status, $text) = program('ai-chat-retain', { DATABASE_URL => url() },
	    @args);
	my %said = map { /^(\w+)=(\w+)$/ } split ' ',
	    (grep { !/^batch=/ } split /\n/, $text)[-1] // '';

	$said{failed} = $text if $status ne '0';
	return \%said;
}

sub is_done ($got, $want, $title)
{
	is_deeply { map { $_ => $got->{$_} } sort keys %$want }, $want, $title
	    or diag join ' ', %$got;
}

sub empty
{
	$s->sql('truncate ai_chat_requests, ai_chat_daily_limits');
}

# Exchanges of so many days ago, as any program would insert them.
sub add_exchanges ($n, $days, $user = 1)
{
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) select $user, 'days $days', 'r',
	    current_date - $days, now() - interval '$days days'
	    from generate_series(1, $n)");
}

sub exchanges ($where = 'true')
{
	return $s->value("select count(*) from ai_chat_requests where $where");
}

# A counter of a user whose last chat was so many days ago.
sub add_user ($id, $days, %o)
{
	my $leases = $o{lease} ? "array[row(gen_random_uuid(), current_date,
	    now() + interval '$o{lease}')::ai_chat_lease]" : "'{}'";
	my $day = $o{day} // $days;

	$s->sql("insert into ai_chat_daily_limits (telegram_id, request_count,
	    last_reset_date, created_at, updated_at, leases) values ($id, 3,
	    (now() at time zone 'UTC')::date - $day,
	    now() - interval '$days days', now() - interval '$days days',
	    $leases)");
}

sub users
{
	return join ' ', map { $_->[0] } $s->sql('select telegram_id
	    from ai_chat_daily_limits order by 1');
}

sub chat ($id, %o) { return $s->send(telegram_id => $id, %o) }

# -- pruning
# ----------------------------------------------------------------------

add_exchanges(5, 10, 2);	# young, and with low numbers
add_exchanges(2500, 31);
add_exchanges(7, 29);
add_exchanges(40, 400);
{
	is_done(retain('prune', 30), { exchanges => 2540, seen => 2552,
	    batches => 7, complete => 1 },
	    'exchanges older than 30 days are pruned');
	is exchanges(), 12, '... and nothing else';
	is exchanges("created_at < now() - interval '30 days'"), 0,
	    '... wherever they were in the table';
	is_done(retain('prune', 30), { exchanges => 0, users => 0, complete => 1 },
	    'a second run has nothing to do');
	ok defined retain('prune', 0)->{failed}, 'less than one day is refused';
	is exchanges(), 12, '... and prunes nothing';

	add_exchanges(10_001, 1);
	add_exchanges(3, 50, 3);
	is_done(retain('prune', 30), { exchanges => 0, complete => 1 },
	    'old exchanges that were inserted after many new ones may stay');
	is_done(retain('prune-all', 30), { exchanges => 3, seen => 10_016 },
	    '... but prune-all finds them');
}

# -- interrupted, disturbed, in parallel -------------------------------------

empty();
add_exchanges(300, 31);
{
	open my $psql, '|-', 'psql', '-XAtq', '-d', $s->db_url, '-o', '/dev/null'
	    or die "psql: $!\n";
	print $psql "begin; select from ai_chat_requests order by id limit 7
	    for update;\n";
	$psql->flush;
	wait_for(sub { $s->value("select count(*) from pg_locks
	    where mode = 'RowShareLock' and relation =
	    'ai_chat_requests'::regclass") }, 10, 'the locks on rows');
	my $start = time;
	is_done(retain('prune', 30, 100), { exchanges => 293, complete => 1 },
	    'locked rows are skipped');
	cmp_ok time - $start, '<', 5, '... without waiting';
	close $psql;
	is_done(retain('prune', 30), { exchanges => 7 },
	    '... and pruned by the next run');
}

add_exchanges(20_000, 31);
{
	my $got = retain('prune', 30, 100, 100, 1);
	is $got->{complete}, 0, 'a run with a time limit of a second stops in time';
	is $got->{failed}, undef, '... without a failure';
	cmp_ok $got->{exchanges}, '>', 0, '... after a part of the work';
	# PostgreSQL may have committed the last batch after that.
	my $unheard = 20_000 - $got->{exchanges} - exchanges();
	ok $unheard == 0 || $unheard == 100, '... which is committed'
	    or diag "$unheard more are gone";

	my $left = exchanges();
	my @got = $s->parallel(4, sub { retain('prune', 30, 100, 1) });
	is join(' ', grep { defined } map { $_->{failed} } @got), '',
	    'four at once: none fails';
	is exchanges(), 0, '... all is pruned';
	my $sum = 0;
	$sum += $_->{exchanges} for @got;
	is $sum, $left, '... each row once';
}

# -- users -------------------------------------------------------------------

empty();
add_user(1, 31);
add_user(2, 29);
add_user(3, 31, lease => '1 minute');
add_user(4, 31, lease => '-1 minute');
add_user(5, 31, day => 0);
add_user(6, 31, day => 1);
add_user(7, 31, day => -1);	# today where the day begins first
add_user(8, 31, day => 2);
{
	is_done(retain('prune', 30), { users => 3, complete => 1 },
	    'counters of users without a chat for 30 days are pruned');
	is users(), '2 3 5 6 7',
	    '... except with a chat in flight, or of a later day'
	    . ' that is not over everywhere';
	is chat(5)->{status}, 429, 'a day that was used up stays used up';
	is chat(1)->{json}{remaining_requests}, 2,
	    'a user who returns has a new counter';
	is $s->get('/v1/chat/limits/8')->{json}{requests_remaining}, 3,
	    '... with the whole limit';
	is_done(retain('prune', 1), { users => 1 },
	    'with one day, one more is pruned');
	is users(), '1 3 5 6 7', '... but not users of today';
}

# A chat and a prune of the same row at the same moment.
empty();
{
	my $bad = '';
	for my $round (1 .. 20) {
		my @ids = map { 100 * $round + $_ } 1 .. 8;
		add_user($_, 31) for @ids;
		my @socks = $s->start_chats(map { { telegram_id => $_ } } @ids);
		my $got = retain('prune', 30, 2, 1);
		my @said = finish_chats(@socks);
		$bad .= " $round: @{[ map { $_->{status} } @said ]}"
		    if $got->{failed} || grep { $_->{status} != 200 } @said;
	}
	is $bad, '', 'a chat during the prune of its user\'s row is answered';
	is $s->value('select count(*) from ai_chat_daily_limits
	    where request_count = 1 and cardinality(leases) = 0'), 160,
	    '... and counted once';
}

# -- erasure
# -------------------------------------------------------------------------

empty();
chat(1, message => 'Тайна') for 1 .. 3;
chat(2);
add_exchanges(2500, 40);
{
	is_done(retain('forget', 1), { exchanges => 2503, known => 1,
	    counter_kept => 1 }, 'a user is erased');
	is exchanges('telegram_id = 1'), 0, '... with all exchanges';
	is exchanges('telegram_id = 2'), 1, '... and of no other user';
	is $s->post('/v1/chat/history', { telegram_id => 1 })->{json}{total}, 0,
	    '... and history is empty';
	is chat(1)->{status}, 429, 'the day stays used up';
	is_done(retain('forget', 1), { exchanges => 0, known => 1,
	    counter_kept => 1 }, '... also after a second erasure');
	is chat(1)->{status}, 429, '... and the day stays used up';

	# Two days later.
	$s->sql("update ai_chat_daily_limits set last_reset_date =
	    last_reset_date - 2 where telegram_id = 1");
	is_done(retain('prune', 365), { users => 1 },
	    'two days later any prune removes the counter');
	is users(), '2', '... and no other';
	add_user(3, 5);
	is_done(retain('forget', 3), { known => 1, counter_kept => 0 },
	    'a counter of an earlier day is deleted at once');
	is_done(retain('forget', 4), { exchanges => 0, known => 0 },
	    'the erasure of an unknown user is no failure');
}

# Chats that are in flight.
empty();
chat(1, message => 'Тайна');
for my $headers ({}, { 'Idempotency-Key' => 'k' }) {
	my $what = %$headers ? 'with a key' : 'without a key';
	my $id = %$headers ? 'keyed' : 'plain';
	my %ask = (telegram_id => 1, headers => $headers,
	    message => "[[id=$id delay=600]]");
	my ($sock) = $s->start_chats(\%ask);
	wait_for(sub { $s->model_count($id) }, 10, 'a call of the model');
	is retain('forget', 1)->{known}, 1, "erased during a chat, $what";
	is_deeply $s->ledger(1), { count => 1, rows => 0, leases => 0 },
	    '... only the counter remains';
	my ($got) = finish_chats($sock);
	is $got->{status}, 503, '... the chat gets a 503';
	is_deeply $s->ledger(1), { count => 1, rows => 0, leases => 0 },
	    '... and is neither stored nor counted';
}
{
	my $got = $s->send(telegram_id => 1, message => '[[id=keyed delay=600]]',
	    headers => { 'Idempotency-Key' => 'k' });
	is $got->{status}, 200, 'afterwards a repeat is a new chat';
	is $got->{headers}{'idempotent-replayed'}, undef, '... and no replay';
	is_deeply [ map { $_->{role} } @{ $s->model_last('keyed')
	    ->{body}{messages} } ], [ qw(system user) ],
	    '... without the earlier context';
	is_deeply $s->ledger(1), { count => 2, rows => 1, leases => 0 },
	    '... which is stored and counted';
}

# A frozen worker continues when its reservation would have lapsed long ago.
empty();
{
	my ($sock) = $s->start_chats({ telegram_id => 1,
	    message => '[[id=frozen delay=100]]' });
	wait_for(sub { $s->model_count('frozen') }, 10, 'a call of the model');
	my ($busy) = grep { $s->taken($_) } 1, 2;
	$s->kill_worker($busy, 'STOP');
	retain('forget', 1);
	chat(1);
	$s->kill_worker($busy, 'CONT');
	is((finish_chats($sock))[0]{status}, 503,
	    'a worker that was frozen: its chat gets a 503');
	is_deeply $s->ledger(1), { count => 1, rows => 1, leases => 0 },
	    '... and does not restore erased data';
}

# Many times, so that it coincides with chats in every state.
$s->restart_worker($_, AI_CHAT_DAILY_LIMIT => 100_000) for 1, 2;
empty();
{
	my $load = $s->start_load(callers => 8, users => [ 1 ],
	    message => '[[delay=15]]');
	my $failed = 0;
	for (1 .. 40) {
		my $before = $load->count(200);
		wait_for(sub { $load->count(200) >= $before + 3 }, 10, 'chats');
		$failed++ if defined retain('forget', 1)->{failed};
	}
	my $before = $load->count(200);
	wait_for(sub { $load->count(200) >= $before + 10 }, 10, 'more chats');
	my @got = $load->stop;
	is $failed, 0, 'erased forty times under load: no failure';
	is((grep { $_->{status} !~ /^(?:200|503)$/ } @got), 0,
	    '... chats are answered, or get a 503');
	is $s->value('select count(*) from ai_chat_requests r
	    join ai_chat_daily_limits l using (telegram_id)
	    where r.created_at < l.created_at'), 0,
	    '... no exchange from before the last erasure remains';
	my $ledger = $s->ledger(1);
	cmp_ok $ledger->{rows}, '>=', 10, '... later exchanges remain';
	is $ledger->{leases}, 0, '... no reservation remains';
	# A chat that was saved, and erased before its worker had the result, is
	# reported as not saved, which is true.
	my $answered = grep { $_->{status} == 200 } @got;
	cmp_ok $ledger->{count}, '>=', $answered, '... all answers are counted';
	cmp_ok $ledger->{count}, '<=', @got, '... and no chat is counted twice';
}

is $s->value("select reloptions::text like '%autovacuum_vacuum_scale_factor%'
    from pg_class where oid = 'ai_chat_requests'::regclass"), 't',
    'deleted rows are soon reused';

done_testing;
