# Workers behind PgBouncer in transaction pooling, with fewer connections than
# the workers would open themselves: the same promises hold.

use v5.36;
use utf8;
use AIChat::Proc qw(base_env spew);
use Test::More ();

BEGIN {
	Test::More::plan(skip_all => 'pgbouncer is not installed')
	    if !grep { -x "$_/pgbouncer" } qw(/usr/sbin /usr/local/sbin /usr/bin);
}

use AIChat::Test;
use File::Path qw(make_path);

my $POOL = 3;
my $s = AIChat::Test->new(workers => 0, nginx => 0, own_pg => 1);
my ($db) = $s->db_url =~ m{^postgresql:///(\w+)};
my $stack = $s->stack;
my $DIR = $stack->run_dir . '/bouncer';
my $URL = "postgresql:///$db?host=$DIR&port=6432&user=ai_chat&options=";

# PgBouncer refuses to run as root, so it runs as the user of PostgreSQL.
sub start_bouncer
{
	my $proc = AIChat::Proc->start(name => 'PgBouncer',
	    cmd => [ 'pgbouncer', "$DIR/pgbouncer.ini" ], env => { base_env() },
	    user => $stack->pg->{user}, log => $s->dir . '/log/pgbouncer.log');
	wait_for(sub { eval { through('select 1') } }, 10, 'PgBouncer');
	return $proc;
}

# The first value of a query that is sent through PgBouncer.
sub through ($sql)
{
	my ($row) = AIChat::Postgres::psql($URL, $sql);
	return $row->[0];
}

make_path($DIR);
$stack->pg->give($DIR);
spew("$DIR/pgbouncer.ini", <<"INI");
[databases]
$db = host=$stack->{pg}{socket} dbname=$db user=ai_chat
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $DIR
auth_type = any
pool_mode = transaction
default_pool_size = $POOL
max_client_conn = 500
INI
# The settings that workers set by start-up options elsewhere.
$s->stack->pg->admin("alter role ai_chat in database $db set $_") for
    "statement_timeout = '1000ms'", "lock_timeout = '900ms'",
    "idle_in_transaction_session_timeout = '1000ms'",
    "plan_cache_mode = 'force_generic_plan'";

my $bouncer = start_bouncer();

%{ $stack->settings } = (%{ $stack->settings }, DATABASE_URL => $URL,
    AI_CHAT_DB_PREPARE => 0);
$stack->start_workers(1, 2);
$stack->start_nginx;

# An autovacuum worker of this database is listed too, but is not a session.
sub sessions
{
	return $s->value("select count(*) from pg_stat_activity
	    where datname = '$db' and pid <> pg_backend_pid()
	    and usename = current_user");
}

# -- one user ----------------------------------------------------------------

{
	my $got = $s->send(telegram_id => 1);
	is $got->{status}, 200, 'a chat is answered';
	is $got->{json}{remaining_requests}, 29, '... and counted';
	is $s->post('/v1/chat/history', { telegram_id => 1 })->{json}{total}, 1,
	    '... and stored';
	is through('show lock_timeout'), '900ms', 'the role has its timeouts';

	my @got = $s->send_many(map { { telegram_id => 2,
	    message => '[[delay=100]]' } } 1 .. 60);
	is((grep { $_->{status} == 200 } @got), 30,
	    'sixty at once: the limit, and no more');
	is((grep { $_->{status} == 429 } @got), 30, '... are answered');
	is_deeply $s->ledger(2), { count => 30, rows => 30, leases => 0 },
	    '... counted and stored';

	@got = $s->send_many(map { { telegram_id => 3,
	    message => '[[id=same delay=200]]',
	    headers => { 'Idempotency-Key' => 'k' } } } 1 .. 20);
	is((grep { $_->{status} == 200 } @got), 20,
	    'twenty at once under one key: all are answered');
	is $s->model_count('same'), 1, '... with one call of the model';
	is_deeply $s->ledger(3), { count => 1, rows => 1, leases => 0 },
	    '... and one count';
}

# -- many --------------------------------------------------------------------

# During a disturbance: stored = counted = answered.
sub load_with ($users, $sub)
{
	my $load = $s->start_load(callers => 16, users => $users,
	    message => '[[delay=20]]');
	wait_for(sub { $load->count(200) >= 100 }, 20, 'a hundred chats');
	$sub->($load);
	my @got = $load->stop;
	my ($row) = $s->sql("select (select count(*) from ai_chat_requests
	    where telegram_id between $users->[0] and $users->[-1]),
	    (select coalesce(sum(request_count), 0) from ai_chat_daily_limits
	    where telegram_id between $users->[0] and $users->[-1])");
	return (\@got, @$row);
}

{
	my ($got, $rows, $counted) = load_with([ 1000 .. 1199 ], sub ($load) {
		cmp_ok sessions(), '<=', $POOL,
		    "two workers use no more than $POOL connections";
		wait_for(sub { $load->count(200) >= 1000 }, 30, 'a thousand');
	});
	is((grep { $_->{status} != 200 } @$got), 0, '... and no chat fails');
	is "$rows $counted", @$got . ' ' . @$got,
	    '... all are stored and counted';
	is through('show synchronous_commit'), 'on',
	    '... and no setting of a transaction stays on a connection'
	    for 1 .. $POOL;
}

$s->expect_log(qr/code=EDB/, qr/msg="could not/,
    qr/FATAL:  (?:connection to client|terminating connection)/);
{
	my ($got, $rows, $counted) = load_with([ 2000 .. 2199 ], sub ($load) {
		for (1 .. 3) {
			$bouncer->stop('KILL');
			$bouncer = start_bouncer();
			my $before = $load->count(200);
			wait_for(sub { $load->count(200) >= $before + 50 }, 30,
			    'chats after its restart');
		}
	});
	my $answered = grep { $_->{status} == 200 } @$got;
	is join(' ', grep { !/^(?:200|503)$/ } map { $_->{status} } @$got), '',
	    'killed three times under load: answers and 503, nothing else';
	is $counted, $rows, '... stored chats are counted';
	cmp_ok $rows, '>=', $answered, '... and answered chats are stored';
}

# -- prepared statements -----------------------------------------------------

# A wrong setting: this PgBouncer gives one session to several connections in
# turn, so prepared statements of one connection conflict with those of others,
# or are missing.
$s->restart_worker($_, AI_CHAT_DB_PREPARE => 1) for 1, 2;
$s->expect_log(qr/ERROR:  prepared statement/, qr/invalid frontend message/,
    qr/invalid byte sequence/, qr/insufficient data left/, qr/protocol/);
{
	my ($got, $rows, $counted) = load_with([ 3000 .. 3199 ], sub ($load) {
		wait_for(sub { $load->count(200) >= 500 }, 30, 'five hundred');
	});
	# Until a worker has detected it, trips of several chats can be mixed
	# up.
	cmp_ok scalar(grep { $_->{status} != 200 } @$got), '<=', 20,
	    'with prepared statements, which it does not support: few chats fail';
	is join(' ', grep { !/^(?:200|503)$/ } map { $_->{status} } @$got), '',
	    '... with 503';
	is $counted, $rows, '... stored chats are counted';
	cmp_ok $rows, '>=', scalar(grep { $_->{status} == 200 } @$got),
	    '... and answered chats are stored';
	$s->sql('select pg_terminate_backend(pid) from pg_stat_activity
	    where datname = current_database() and pid <> pg_backend_pid()
	    and usename = current_user') for 1, 2;
	wait_for(sub { $s->send(telegram_id => 5)->{status} == 200 }, 10,
	    'a chat over new sessions');
	my @got = map { $s->send(telegram_id => 5) } 1 .. 10;
	is((grep { $_->{status} != 200 } @got), 0,
	    '... and none fails over new sessions');
}
$s->restart_worker($_, AI_CHAT_DB_PREPARE => 0) for 1, 2;

# -- the role's timeouts -----------------------------------------------------

$s->expect_log(qr/lock timeout/);
{
	open my $psql, '|-', 'psql', '-XAtq', '-o', '/dev/null', '-d', $s->db_url
	    or die "psql: $!\n";
	print $psql "set idle_in_transaction_session_timeout = 0; begin;
	    select from ai_chat_daily_limits where telegram_id = 1 for update;\n";
	$psql->flush;
	wait_for(sub { $s->value("select count(*) from pg_locks where
	    mode = 'RowShareLock' and relation =
	    'ai_chat_daily_limits'::regclass") }, 10, 'the row to be locked');
	my $got = $s->send(telegram_id => 1);
	is $got->{status}, 503, 'a chat that waits for a lock fails';
	cmp_ok $got->{seconds}, '<', 2.5,
	    '... after the lock_timeout of the role';
	is $s->send(telegram_id => 4)->{status}, 200,
	    '... and other users are served';
	close $psql;
	is $s->send(telegram_id => 1)->{status}, 200,
	    '... and afterwards the user is served';
}

done_testing;
$bouncer->stop('INT');
