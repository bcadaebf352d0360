# The sums for operators: each stored exchange is counted once, whatever
# happens to workers and transactions, and a chat pays nothing for that.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 2, own_pg => 1, env => {
	API_ADMIN_KEY => 'admin-key',
	AI_CHAT_DAILY_LIMIT => 2,
	AI_CHAT_DB_TIMEOUT_MS => 1000,
});
my %admin = (headers => { 'X-API-KEY' => 'admin-key' });

sub get ($path) { return $s->get("/v1/admin/$path", %admin)->{json} }
sub days ($n = 1) { return get("overview?days=$n")->{items} }
sub today { return days()->[-1] }
sub top ($query = '') { return get("users?$query") }

# The sums according to the exchanges, and according to the tables.
sub stored
{
	return join ' ', map { join ',', @$_ } $s->sql("select request_date,
	    count(*), sum(tokens_used), count(distinct telegram_id)
	    from ai_chat_requests group by 1 order by 1");
}
sub counted
{
	return join ' ', map { join ',', @$_ } $s->sql("select first_day, chats,
	    tokens, users from ai_chat_usage where unit = 'd' order by 1");
}

# Waits until this is true. The server waits, because a process for each look
# would cost more than what is tested. A DO block that only reads has no
# transaction id, so the counting does not wait for it.
sub until_true ($condition)
{
	$s->sql("do \$\$ begin
	    for i in 1 .. 200 loop
		if ($condition) then return; end if;
		perform pg_sleep(0.1);
	    end loop;
	    end \$\$");
}

# Waits until all that is stored now is counted.
sub all_counted ($title)
{
	my $stored = stored();
	my $now = $s->value('select clock_timestamp()');

	until_true("select counted_at > '$now' from ai_chat_usage_state");
	is counted(), $stored, $title;
	is $s->value("select count(*) from (select telegram_id, request_date,
	    count(*)::int, sum(tokens_used) from ai_chat_requests group by 1, 2
	    except select telegram_id, first_day, chats, tokens
	    from ai_chat_usage_users where unit = 'd') x"), 0,
	    '... for each user';
	is $s->value("select count(*) from (select unit, first_day, sum(chats),
	    sum(tokens), count(*) from ai_chat_usage_users group by 1, 2
	    except select unit, first_day, chats, tokens, users
	    from ai_chat_usage) x"), 0, '... and each month';
}

sub add ($user, $day = 'current_date', $tokens = 10)
{
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    tokens_used, request_date) values ($user, 'm', 'r', $tokens, $day)");
}

# A session of psql that keeps its transaction open.
sub begin ($name, $sql)
{
	open my $psql, '|-', 'psql', '-XAtq', '-d', $s->db_url
	    or die "could not run psql: $!\n";
	print $psql "set application_name = '$name'; begin; $sql;\n";
	$psql->flush;
	wait_for(sub { $s->stack->pg->admin("select 1 from pg_stat_activity
	    where application_name = '$name'
	    and state = 'idle in transaction'
	    and query not like 'set%' and query not like 'begin%'") }, 10, $name);
	return $psql;
}

sub counted_at { return $s->value('select counted_at::text
    from ai_chat_usage_state') }

# Waits for n further runs, of which each moves counted_at or the mark.
sub runs ($n)
{
	my $version = $s->value('select version from ai_chat_usage_state');

	until_true("select version >= $version + $n from ai_chat_usage_state");
}

# -- chats -------------------------------------------------------------------

is_deeply [ map { $_->{chats} } @{ days(3) } ], [ 0, 0, 0 ],
    'at first there are days without chats';
wait_for(sub { get('overview')->{complete} }, 20, 'the first run');
is $s->send(telegram_id => $_)->{status}, 200, "user $_ chats"
    for 1, 1, 2, 3, 3;
is $s->send(telegram_id => 1)->{status}, 429, '... and reaches the limit';
$s->expect_log(qr/status=500/);
is $s->send(telegram_id => 2, message => '[[status=401]]')->{status}, 500,
    '... or the model fails';
all_counted('chats are counted');
{
	wait_for(sub { today()->{failed} }, 20, 'the failure');
	my $day = today();
	is_deeply [ @$day{qw(chats users limited crowded failed)} ],
	    [ 5, 3, 1, 0, 1 ], '... with users, refusals and failures';
	is_deeply $day->{failures}, { model_failed => 1, model_open => 0,
	    database_failed => 0, busy => 0, failed => 0 },
	    '... by their kind';
	my $all = get('overview?days=3');
	is_deeply $all->{totals}, { chats => 5, tokens => $day->{tokens},
	    limited => 1, crowded => 0, failed => 1 }, '... and their sum';
	is $all->{refusals_since}, $day->{date}, '... since that day';
	cmp_ok $day->{tokens}, '>', 0, '... and tokens';

	is $s->send(telegram_id => 2, message => '[[status=401]]')->{status},
	    500, 'the model fails again';
	ok eval { wait_for(sub { today()->{failed} == 2 }, 20,
	    'the second failure') }, '... which is added';
	runs(2);
	is today()->{failed}, 2, '... once, however many runs follow';
}
{
	my $top = top();
	is_deeply [ map { "$_->{telegram_id} $_->{chats}" }
	    @{ $top->{items} } ], [ '1 2', '3 2', '2 1' ],
	    'the users with the most chats of the month';
	is_deeply [ @$top{qw(users chats)} ], [ 3, 5 ], '... and all of it';
	add(9, 'current_date', 1_000_000);
	all_counted('an exchange of another program is counted');
	is top('by=tokens&limit=1')->{items}[0]{telegram_id}, 9,
	    'the user with the most tokens';
	is_deeply [ map { $_->{telegram_id} }
	    @{ top('limit=2&offset=1')->{items} } ], [ 3, 2 ],
	    'a page of users';
	my $day = today()->{date};
	is top("period=$day")->{chats}, 6, 'a day is a period, too';
	is top('period=2020-01')->{chats}, 0, '... and a month without chats';
}
add($_, "date '2024-02-29'") for 1, 1, 2;
add(1, "date '2024-03-01'");
all_counted('exchanges of earlier days are counted for their days');
is_deeply [ map { top("period=$_")->{chats} } qw(2024-02 2024-02-29 2024-03) ],
    [ 3, 3, 1 ], '... and months';

# -- transactions ------------------------------------------------------------

# The id of the open one is lower than that of the next one.
{
	my $open = begin('late', "insert into ai_chat_requests (telegram_id,
	    message, response, tokens_used, request_date)
	    values (20, 'm', 'r', 1, current_date)");
	add(21);
	runs(1);
	my $at = counted_at();
	# Chats go on meanwhile.
	is $s->send(telegram_id => 22)->{status}, 200,
	    'a chat beside a transaction that stays open';
	until_true('select mark_id > counted_id from ai_chat_usage_state');
	is counted_at(), $at, '... which holds up the counting';
	print $open "commit;\n";
	close $open;
	all_counted('... and is counted when it commits');
}
{
	my $open = begin('undone', "insert into ai_chat_requests (telegram_id,
	    message, response, tokens_used, request_date)
	    values (23, 'm', 'r', 1, current_date)");
	add(24);
	print $open "rollback;\n";
	close $open;
	all_counted('one that is rolled back is not counted');
}
{
	# The transaction that begins later gets the smaller id of an exchange,
	# and stays open.
	my $insert = "insert into ai_chat_requests (telegram_id, message,
	    response, tokens_used, request_date)
	    values (27, 'm', 'r', 1, current_date)";
	my $early = begin('early', 'select pg_current_xact_id()');
	my $late = begin('late', $insert);
	print $early "$insert; commit;\n";
	close $early;
	until_true('select mark_id > counted_id from ai_chat_usage_state');
	# The workers, whose transactions the counting must not take for it.
	is $s->send(telegram_id => 28)->{status}, 200,
	    'a chat beside a transaction that began later';
	print $late "commit;\n";
	close $late;
	all_counted('... which is counted when it commits');
}
# The mark of another cluster, after a restore. The exchange is before the mark,
# and no worker can set another mark meanwhile.
$s->sql("begin; select from ai_chat_usage_state for update;
    insert into ai_chat_requests (telegram_id, message, response, tokens_used,
    request_date) values (25, 'm', 'r', 1, current_date);
    update ai_chat_usage_state set version = version + 1,
    mark_id = (select max(id) from ai_chat_requests),
    mark_xid = '4611686018427387904'; commit");
all_counted('a mark of another cluster does not stop the counting');

# -- workers that are killed -------------------------------------------------

$s->restart_worker($_, AI_CHAT_DAILY_LIMIT => 0) for 1, 2;
{
	my $load = $s->start_load(callers => 6, users => [ 30 .. 60 ],
	    message => '[[delay=5]]');
	for my $n (1, 2, 1, 2) {
		my $before = $load->count(200);
		wait_for(sub { $load->count(200) >= $before + 40 }, 30,
		    'chats');
		$s->kill_worker($n);
		$s->start_worker($n);
	}
	$load->stop;
	$s->expect_log(qr/while (?:connecting|reading response header)/,
	    qr/connection to client lost/);
	all_counted('workers are killed under load: each exchange counts once');
}

# Many at once, in steps of 500.
$s->sql("insert into ai_chat_requests (telegram_id, message, response,
    tokens_used, request_date) select g % 700, 'm', 'r', g,
    current_date - (g % 50) from generate_series(1, 3700) g");
all_counted('thousands of exchanges are counted in steps');

# A database that is away.
$s->stop_pg('immediate');
$s->start_pg;
$s->expect_log(qr/could not|terminat|database system|crash/);
add(26);
all_counted('after a crash of the database the counting goes on');

# -- chats pay nothing -------------------------------------------------------

# A session that changes the sums, or reads them without end, stops no chat.
{
	my $open = begin('sums', 'lock table ai_chat_usage, ai_chat_usage_users,
	    ai_chat_usage_state, ai_chat_unanswered, ai_chat_audit');
	my @got = map { $s->send(telegram_id => 70 + $_) } 1 .. 5;
	is_deeply [ map { $_->{status} } @got ], [ (200) x 5 ],
	    'while all tables of operators are locked, chats are answered';
	$s->expect_log(qr/canceling statement|lock timeout|status=503/);
	is $s->get('/v1/admin/users', %admin)->{status}, 503,
	    '... and operators get a 503';
	close $open;
	wait_for(sub { $s->get('/v1/admin/users', %admin)->{status} == 200 },
	    10, 'the lock to be gone');
}

# -- erased and pruned -------------------------------------------------------

# While this worker counts.
$s->restart_worker($_) for 1, 2;	# a failed run waits for half a minute
{
	my $before = counted();
	runs(2);
	for my $user (30 .. 40) {
		$s->send(telegram_id => $user);
		is $s->post('/v1/admin/forget', { telegram_id => $user },
		    %admin)->{status}, 200, "user $user is erased";
	}
	runs(2);
	is $s->value('select count(*) from ai_chat_usage_users
	    where telegram_id between 30 and 40'), 0,
	    'no sum of an erased user remains';
	$s->send(telegram_id => 30);
	runs(3);
	is $s->value('select chats from ai_chat_usage_users
	    where telegram_id = 30 and unit = ' . "'d'"), 1,
	    '... and one who returns begins anew';
	cmp_ok $s->value("select chats from ai_chat_usage
	    where unit = 'd' and first_day = current_date"), '>=',
	    (split /,/, (split ' ', $before)[-1])[1],
	    '... the sums over all users keep what was counted';
}
{
	$s->sql("insert into ai_chat_audit (action_id, at, key_name, action)
	    select gen_random_uuid(), now() - g * interval '1 day', 'k', 'clear'
	    from unnest(array[400, 1000, 1200]) g");
	my $sums = counted();
	my ($status, $text) = program('ai-chat-retain',
	    { DATABASE_URL => $s->db_url }, 'prune', 40);
	is $status, 0, 'a prune';
	is counted(), $sums, '... keeps the sums over all users';
	is $s->value("select count(*) from ai_chat_usage_users
	    where unit = 'd' and first_day < current_date - 41"), 0,
	    '... deletes those of users before';
	cmp_ok $s->value("select count(*) from ai_chat_usage_users
	    where unit = 'd' and first_day > current_date - 39"), '>', 500,
	    '... and keeps later ones';
	is $s->value("select count(*) from ai_chat_usage_users
	    where unit = 'm' and first_day < '2024-04-01'"), 0,
	    '... months, too';
	is $s->value("select count(*) from ai_chat_audit
	    where key_name = 'k'"), 2,
	    '... and actions of operators after three years only';
}

# Without the key nothing is counted.
$s->restart_worker($_, API_ADMIN_KEY => '') for 1, 2;
{
	my $version = $s->value('select version from ai_chat_usage_state');
	$s->send(telegram_id => 90_080);
	# That nothing happens has no event to wait for: two intervals of the
	# counting have to pass.
	$s->value('select 1 from pg_sleep(4.5)');
	is $s->value('select version from ai_chat_usage_state'), $version,
	    'without API_ADMIN_KEY the workers do not count';
	$s->restart_worker($_, API_ADMIN_KEY => 'admin-key') for 1, 2;
	runs(3);
	is $s->value("select chats from ai_chat_usage_users
	    where telegram_id = 90080 and unit = 'd'"), 1,
	    '... and with it they count what was stored meanwhile';
}

done_testing;
