# Restarts of PostgreSQL, lost connections, locks and hangs: a chat is saved and
# counted exactly when it was answered.

use v5.36;
use utf8;
use AIChat::Proc qw(unix_connections);
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(own_pg => 1, env => {
	AI_CHAT_DEADLINE_MS => 15000,
	AI_CHAT_DB_TIMEOUT_MS => 2000,
});
my $pg = $s->stack->pg;

# Both the worker and PostgreSQL log what PostgreSQL refused.
$s->expect_log(qr/code=EDB/, qr/FATAL:  (?:terminating|connection to client)/,
    qr/FATAL:  the database system is/,
    qr/ERROR:  canceling statement/, qr/ERROR:  duplicate key/);

sub ask_slowly ($user, $ms)
{
	my $id = "slow$user";
	my @socks = $s->start_chats({ telegram_id => $user,
	    message => "[[delay=$ms id=$id]]" });
	wait_for(sub { $s->model_count($id) }, 10, 'the model to be called');
	return @socks;
}

sub paid ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

# The process ids of the worker's sessions.
sub backends ($where = 'true')
{
	return map { $_->[0] } $pg->admin("select pid from pg_stat_activity
	    where datname = '$s->{db}' and application_name = 'ai-chat'
	    and $where");
}

# A session of psql that holds a lock until it is closed.
sub hold_lock ($sql)
{
	state $n = 0;
	my $name = 'holder' . ++$n;

	open my $psql, '|-', 'psql', '-XAtq', '-d', $s->db_url
	    or die "could not run psql: $!\n";
	print $psql "set application_name = '$name'; begin; $sql;\n";
	$psql->flush;
	wait_for(sub {
		$pg->admin("select 1 from pg_stat_activity where
		    application_name = '$name'
		    and state = 'idle in transaction'
		    and query like 'select%'");
	}, 10, 'the lock');
	return $psql;
}

# -- PostgreSQL --------------------------------------------------------------

for my $mode (qw(fast immediate)) {
	my $user = $mode eq 'fast' ? 301 : 302;
	is $s->send(telegram_id => $user)->{status}, 200, 'a chat';
	$s->stop_pg($mode);
	$s->start_pg;
	my $got = $s->send(telegram_id => $user);
	is $got->{status}, 200,
	    "after a restart ($mode) of PostgreSQL the next chat is answered";
	paid($user, 2, '... and counted');

	my @socks = ask_slowly($user + 10, 1000);
	$s->stop_pg($mode);
	$s->start_pg;
	($got) = finish_chats(@socks);
	is $got->{status}, 200,
	    "a restart ($mode) during the call of the model: answered";
	paid($user + 10, 1, '... and counted once');

	@socks = ask_slowly($user + 20, 1200);
	$s->stop_pg($mode);
	($got) = finish_chats(@socks);
	is $got->{status}, 503,
	    "PostgreSQL is down ($mode) when the chat has to be saved: 503";
	like $got->{headers}{'retry-after'}, qr/^[1-9]/,
	    '... with Retry-After';
	unlike $got->{content}, qr/postgres|socket|libpq|sql/i,
	    '... without details of the database';
	my $start = time;
	$got = $s->send(telegram_id => $user + 30);
	is $got->{status}, 503, 'the next chat is refused, too';
	cmp_ok time - $start, '<', 4, '... in time';
	$s->start_pg;
	my $asked = $s->model_count;
	is_deeply { %{ $s->ledger($user + 20) }, leases => 0 },
	    { count => 0, rows => 0, leases => 0 },
	    '... nothing was saved or counted';
	ok wait_for(sub {
		$s->send(telegram_id => $user + 20)->{status} == 200;
	}, 2, 'an answer'),
	    'when PostgreSQL is back, chats are answered at once';
	is $s->ledger($user + 20)->{rows}, 1, '... and saved';
	is $s->model_count, $asked + 1, '... with one call of the model';
	is $s->ledger($user + 30)->{rows}, 0,
	    '... the refused chat was not saved';

	# Many chats are refused while PostgreSQL is down, and none afterwards.
	$s->stop_pg($mode);
	my @got = $s->send_many(map { { telegram_id => $user + 40 } } 1 .. 8);
	is((grep { $_->{status} == 503 } @got), 8, 'eight are refused');
	$s->start_pg;
	# While connecting has just failed, the pool refuses without a new
	# attempt.
	my $back = time;
	wait_for(sub { time - $back > 0.6 }, 10, 'the refusal to be old');
	@got = $s->send_many(map { { telegram_id => $user + 40 } } 1 .. 8);
	is((grep { $_->{status} == 200 } @got), 8,
	    '... and none after its return');
}

# -- connections -------------------------------------------------------------

{
	ok scalar backends(), 'there are connections';
	$pg->admin('select pg_terminate_backend(pid) from pg_stat_activity
	    where application_name = \'ai-chat\'');
	my @got = map { $s->send(telegram_id => 401) } 1 .. 3;
	is((grep { $_->{status} == 200 } @got), 3,
	    'idle connections are terminated: chats are answered');
	paid(401, 3, '... and each is counted once');
}

# A slow save whose session is terminated: nothing was committed.
{
	$s->sql('create function wait_a_bit() returns trigger language plpgsql
	    as $$ begin perform pg_sleep(0.5); return new; end $$');
	$s->sql('create trigger wait_a_bit before insert on ai_chat_requests
	    for each row when (new.telegram_id between 410 and 419)
	    execute function wait_a_bit()');
	my @socks = $s->start_chats({ telegram_id => 411 });
	my ($pid) = wait_for(sub { (backends("wait_event = 'PgSleep'"))[0] },
	    10, 'the save');
	$pg->admin("select pg_terminate_backend($pid)");
	my ($got) = finish_chats(@socks);
	is $got->{status}, 200,
	    'a connection that is lost during a save: the chat is answered';
	paid(411, 1, '... and saved once by a second save');

	# The same with many saves at once.
	@socks = $s->start_chats(map { { telegram_id => 412 } } 1 .. 6);
	wait_for(sub { backends("wait_event = 'PgSleep'") }, 10, 'the saves');
	$pg->admin("select pg_terminate_backend(pid) from pg_stat_activity
	    where application_name = 'ai-chat'");
	my @got = finish_chats(@socks);
	my $n = grep { $_->{status} == 200 } @got;
	is((grep { $_->{status} == 200 || $_->{status} == 503 } @got), 6,
	    'many saves of one user lose their connections: answers or 503');
	is_deeply { %{ $s->ledger(412) }, leases => 0 },
	    { count => $n, rows => $n, leases => 0 },
	    '... rows, counter and answers agree';
	$s->sql('drop trigger wait_a_bit on ai_chat_requests');
}

# A save is committed, but the connection is lost before the reply.  For that,
# the commit waits for a standby that does not exist.
sub set_standby ($name)
{
	$pg->admin("alter system set synchronous_standby_names = '$name'");
	$pg->admin('select pg_reload_conf()');
	wait_for(sub {
		$pg->admin("select 1 from pg_settings where setting = '$name'
		    and name = 'synchronous_standby_names'");
	}, 10, 'the setting');
}

sub commit_in_doubt ($user, $meanwhile)
{
	set_standby('nobody');
	my @socks = $s->start_chats({ telegram_id => $user });
	my $pid = wait_for(sub { (backends("wait_event = 'SyncRep'"))[0] },
	    10, 'the commit');
	$meanwhile->();
	$pg->admin("select pg_terminate_backend($pid)");
	set_standby('');
	return (finish_chats(@socks))[0];
}

{
	my $got = commit_in_doubt(421, sub { });
	is $got->{status}, 200,
	    'the reply to a commit is lost: the chat is answered';
	paid(421, 1, '... and the commit is found: counted once');
	is $got->{json}{remaining_requests}, 29,
	    '... and the number of chats left is right';
}

# The same, and the reservation appears again, because a statement that made it
# was delayed.
{
	my $psql;
	my $got = commit_in_doubt(422, sub {
		my $lease = $s->value('select leases::text
		    from ai_chat_daily_limits where telegram_id = 422');
		open $psql, '|-', 'psql', '-XAtq', '-d', $s->db_url
		    or die "could not run psql: $!\n";
		print $psql "set synchronous_commit = off;
		    update ai_chat_daily_limits
		    set leases = '$lease'::ai_chat_lease[]
		    where telegram_id = 422;\n";
		$psql->flush;
		wait_for(sub {
			$pg->admin("select 1 from pg_stat_activity where
			    application_name = 'psql'
			    and wait_event_type = 'Lock'");
		}, 10, 'the late reservation');
	});
	close $psql;
	is $got->{status}, 200,
	    'a lost reply and a late reservation: the chat is answered';
	# The reservation may come after the check of the save, and then lapses.
	is_deeply { %{ $s->ledger(422) }, leases => 0 },
	    { count => 1, rows => 1, leases => 0 }, '... and counted once';
}

# -- no connection is held during the call of the model ----------------------

$s->restart_worker(1, AI_CHAT_DB_POOL => 1, AI_CHAT_DB_TIMEOUT_MS => 3000);
{
	my $start = time;
	my @socks = $s->start_chats(map { {
		telegram_id => 500 + $_, message => '[[delay=1000]]',
	} } 1 .. 20);
	wait_for(sub { $s->model_counts->{pending} == 20 }, 10,
	    'twenty chats');
	is scalar backends(), 1, 'twenty chats in flight use one connection';
	is scalar backends("state <> 'idle'"), 0,
	    '... which is idle during the calls of the model';
	is((grep { $_->{status} == 200 } finish_chats(@socks)), 20,
	    '... and all are answered');
	cmp_ok time - $start, '<', 3, '... in little more than one second';
}

# -- a lock ------------------------------------------------------------------

{
	$s->send(telegram_id => 601);
	my $lock = hold_lock('select from ai_chat_daily_limits
	    where telegram_id = 601 for update');
	my $start = time;
	my @locked = $s->start_chats({ telegram_id => 601 });
	wait_for(sub { backends("wait_event_type = 'Lock'") }, 10,
	    'the only connection to be blocked');
	wait_for(sub { time - $start > 0.8 }, 5, 'some time to pass');
	my @others = $s->start_chats(map { { telegram_id => 610 + $_ } }
	    1 .. 12);
	my ($got) = finish_chats(@locked);
	is $got->{status}, 503, 'the row of a user is locked: 503';
	cmp_ok $got->{seconds}, '<', 3 + 1, '... in time';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... with Retry-After';
	is((grep { $_->{status} == 200 } finish_chats(@others)), 12,
	    'other users are served, though there is one connection');
	close $lock;
	is $s->send(telegram_id => 601)->{status}, 200,
	    'when the lock is released, the user is served';
	paid(601, 2, '... and the refused chat was not counted');
}

# Two chats wait for the only connection and share a trip.  The time limit of
# the second does not depend on that of the first.
$s->restart_worker(1, AI_CHAT_DB_TIMEOUT_MS => 2000);
{
	$s->send(telegram_id => $_) for 661, 662, 663;
	my @locks = map { hold_lock("select from ai_chat_daily_limits
	    where telegram_id = $_ for update") } 661, 663;
	my $reset = $s->connect;
	print $reset reset_bytes(661);
	$reset->flush;
	wait_for(sub { backends("wait_event_type = 'Lock'") }, 10,
	    'the only connection to be blocked');
	my $start = time;
	my @first = $s->start_chats({ telegram_id => 662 });
	wait_for(sub { time - $start > 1 }, 5, 'one second');
	my @second = $s->start_chats({ telegram_id => 663 });
	wait_for(sub { $s->taken(1) == 3 }, 10, 'both to wait');
	close shift @locks;
	wait_for(sub { time - $start > 2.3 }, 5,
	    'the time of the first to be over');
	close shift @locks;
	is((grep { $_->{status} == 200 }
	    finish_chats($reset, @first, @second)), 3,
	    'two chats that share a trip have a time limit each');
	paid(662, 2, '... the first is counted once');
	paid(663, 2, '... and so does the second');
}

# -- a server that hangs -----------------------------------------------------

$s->restart_worker(1, AI_CHAT_DB_POOL => 2, AI_CHAT_DB_TIMEOUT_MS => 1500);
{
	$s->send_many(map { { telegram_id => 620 + $_ } } 1 .. 4);
	my @pids = backends();
	kill 'STOP', @pids;
	my $start = time;
	my @got = $s->send_many(map { { telegram_id => 630 + $_ } } 1 .. 10);
	is((grep { $_->{status} !~ /^(?:200|503)$/ } @got), 0,
	    'connections that hang: answers or 503');
	cmp_ok time - $start, '<', 5, '... in time';
	is $s->send(telegram_id => 650)->{status}, 200,
	    '... and then a new connection serves';
	kill 'CONT', @pids;
	for (0 .. 9) {
		my $n = $got[$_]{status} == 200 ? 1 : 0;
		my $ledger = $s->ledger(631 + $_);
		is "$ledger->{count} $ledger->{rows}", "$n $n",
		    '... counted and saved exactly when answered';
	}
}

# New connections hang, and an old one becomes free: a waiting batch gets it.
{
	$s->restart_worker(1, AI_CHAT_DB_TIMEOUT_MS => 3000);
	$s->send(telegram_id => 651);
	is scalar backends(), 1, 'one of two connections is open';
	my $lock = hold_lock('select from ai_chat_daily_limits
	    where telegram_id = 651 for update');
	my $reset = $s->connect;
	print $reset reset_bytes(651);
	$reset->flush;
	wait_for(sub { backends("wait_event_type = 'Lock'") }, 10,
	    'it to be in use');
	kill 'STOP', $s->pg_pid;
	my @second = $s->start_chats({ telegram_id => 652 });
	my ($path) = glob $s->stack->run_dir . '/pg/.s.PGSQL.*[0-9]';
	wait_for(sub { (unix_connections($path))[0] }, 10,
	    'the other one to be made');
	my @third = $s->start_chats({ telegram_id => 653 });
	wait_for(sub { $s->taken(1) == 3 }, 10, 'a third chat to wait');
	close $lock;
	my ($got) = finish_chats(@third);
	is $got->{status}, 200, 'a connection that becomes free is used';
	cmp_ok $got->{seconds}, '<', 1.5, '... at once';
	kill 'CONT', $s->pg_pid;
	is((grep { $_->{status} == 200 } finish_chats($reset, @second)), 2,
	    '... and the other requests are answered');
}

# A reset has one batch, and so does not need its connection again.
sub reset_bytes ($user)
{
	my $body = "{\"telegram_id\":$user}";
	return join "\r\n", 'POST /v1/chat/reset-limit HTTP/1.1',
	    'Host: localhost', 'Connection: close',
	    "X-API-KEY: $AIChat::Test::KEY", 'Content-Length: '
	    . length $body, '', $body;
}

# -- without prepared statements ---------------------------------------------

$s->restart_worker(1, AI_CHAT_DB_PREPARE => 0, AI_CHAT_DB_POOL => 4,
    AI_CHAT_DAILY_LIMIT => 3);
{
	my @got = map { $s->send(telegram_id => 701) } 1 .. 4;
	is join(' ', map { $_->{status} } @got), '200 200 200 429',
	    'AI_CHAT_DB_PREPARE=0: the daily limit holds';
	paid(701, 3, '... and chats are counted');
	is $s->value('select count(*) from pg_stat_activity
	    where application_name = \'ai-chat\' and query like \'PREPARE%\''),
	    0, '... and no statement is prepared';
}

done_testing;
