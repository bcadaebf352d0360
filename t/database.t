# What can become of the database and of the connections to it: what is answered
# is kept and counted, and nothing else is.

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

# What the database refused, the worker and the server tell each in its way.
$s->expect_log(qr/code=EDB/, qr/FATAL:  (?:terminating|connection to client)/,
    qr/FATAL:  the database system is/,
    qr/ERROR:  canceling statement/, qr/ERROR:  duplicate key/);

sub ask_slowly ($user, $ms)
{
	my $id = "slow$user";
	my @socks = $s->start_chats({ telegram_id => $user,
	    message => "[[delay=$ms id=$id]]" });
	wait_for(sub { $s->model_count($id) }, 10, 'the model to be asked');
	return @socks;
}

sub paid ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

# The worker's connections, as the server sees them.
sub backends ($where = 'true')
{
	return map { $_->[0] } $pg->admin("select pid from pg_stat_activity
	    where datname = '$s->{db}' and application_name = 'ai-chat'
	    and $where");
}

# A session of psql that holds what it has locked until it is closed.
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
	    "after a restart ($mode) of PostgreSQL the next one is answered";
	paid($user, 2, '... and counted');

	my @socks = ask_slowly($user + 10, 1000);
	$s->stop_pg($mode);
	$s->start_pg;
	($got) = finish_chats(@socks);
	is $got->{status}, 200, "a restart ($mode) while the model thinks";
	paid($user + 10, 1, '... goes unnoticed');

	@socks = ask_slowly($user + 20, 1200);
	$s->stop_pg($mode);
	($got) = finish_chats(@socks);
	is $got->{status}, 503,
	    "PostgreSQL away ($mode) when the chat is to be kept";
	like $got->{headers}{'retry-after'}, qr/^[1-9]/,
	    '... the caller is told when to come again';
	unlike $got->{content}, qr/postgres|socket|libpq|sql/i,
	    '... and not why';
	my $start = time;
	$got = $s->send(telegram_id => $user + 30);
	is $got->{status}, 503, 'and so is the next one';
	cmp_ok time - $start, '<', 4, '... in time';
	$s->start_pg;
	my $asked = $s->model_count;
	is_deeply { %{ $s->ledger($user + 20) }, leases => 0 },
	    { count => 0, rows => 0, leases => 0 },
	    '... nothing was kept, nothing counted';
	ok wait_for(sub {
		$s->send(telegram_id => $user + 20)->{status} == 200;
	}, 2, 'an answer'), 'when it is back, chats are answered at once';
	is $s->ledger($user + 20)->{rows}, 1, '... and kept';
	is $s->model_count, $asked + 1, '... with one call of the model';
	is $s->ledger($user + 30)->{rows}, 0, '... the refused one was not';

	# Many find it gone; when it is back, each of many finds it there.
	$s->stop_pg($mode);
	my @got = $s->send_many(map { { telegram_id => $user + 40 } } 1 .. 8);
	is((grep { $_->{status} == 503 } @got), 8, 'eight are refused');
	$s->start_pg;
	# Until then the worker itself may have tried again, in vain.
	my $back = time;
	wait_for(sub { time - $back > 0.6 }, 10, 'the refusal to be old');
	@got = $s->send_many(map { { telegram_id => $user + 40 } } 1 .. 8);
	is((grep { $_->{status} == 200 } @got), 8,
	    '... and none when it is there again');
}

# -- connections -------------------------------------------------------------

{
	ok scalar backends(), 'there are connections';
	$pg->admin('select pg_terminate_backend(pid) from pg_stat_activity
	    where application_name = \'ai-chat\'');
	my @got = map { $s->send(telegram_id => 401) } 1 .. 3;
	is((grep { $_->{status} == 200 } @got), 3,
	    'idle connections that died go unnoticed');
	paid(401, 3, '... and all is counted once');
}

# A save that takes its time, ended in the middle: nothing was committed.
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
	is $got->{status}, 200, 'a connection that dies in mid-save';
	paid(411, 1, '... is made up for: one row, one count');

	# The same to many at once.
	@socks = $s->start_chats(map { { telegram_id => 412 } } 1 .. 6);
	wait_for(sub { backends("wait_event = 'PgSleep'") }, 10, 'the saves');
	$pg->admin("select pg_terminate_backend(pid) from pg_stat_activity
	    where application_name = 'ai-chat'");
	my @got = finish_chats(@socks);
	my $n = grep { $_->{status} == 200 } @got;
	is((grep { $_->{status} == 200 || $_->{status} == 503 } @got), 6,
	    'many saves of one user, their connections killed');
	is_deeply { %{ $s->ledger(412) }, leases => 0 },
	    { count => $n, rows => $n, leases => 0 },
	    '... rows, counter and answers agree';
	$s->sql('drop trigger wait_a_bit on ai_chat_requests');
}

# A save that was committed, and then the connection died before it said so:
# the commit waits for a standby that there is not.
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
	is $got->{status}, 200, 'a commit whose answer was lost';
	paid(421, 1, '... is found, and counts once');
	is $got->{json}{remaining_requests}, 29, '... and leaves the rest';
}

# The same, and the reservation is there once more: one that had hung at the
# database came through in between.
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
	is $got->{status}, 200, 'a lost answer and a late reservation';
	# It may come even later than the save was looked for, and then lapses.
	is_deeply { %{ $s->ledger(422) }, leases => 0 },
	    { count => 1, rows => 1, leases => 0 }, '... count once too';
}

# -- nothing held while the model thinks -------------------------------------

$s->restart_worker(1, AI_CHAT_DB_POOL => 1, AI_CHAT_DB_TIMEOUT_MS => 3000);
{
	my $start = time;
	my @socks = $s->start_chats(map { {
		telegram_id => 500 + $_, message => '[[delay=1000]]',
	} } 1 .. 20);
	wait_for(sub { $s->model_counts->{pending} == 20 }, 10,
	    'twenty chats');
	is scalar backends(), 1, 'twenty chats, one connection';
	is scalar backends("state <> 'idle'"), 0,
	    '... which is idle while the model thinks';
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
	is $got->{status}, 503, 'a user whose row is locked';
	cmp_ok $got->{seconds}, '<', 3 + 1, '... is told in time';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/, '... and when';
	is((grep { $_->{status} == 200 } finish_chats(@others)), 12,
	    'others are served, though there is one connection');
	close $lock;
	is $s->send(telegram_id => 601)->{status}, 200,
	    'when the lock is gone, so is he';
	paid(601, 2, '... and what failed was not counted');
}

# Two wait for the one connection and share a trip: the second may use its own
# time, whatever is left of the first's.
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
	    'two that share a trip have each their own time');
	paid(662, 2, '... the first counts once');
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
	    'connections that hang: answered, or refused');
	cmp_ok time - $start, '<', 5, '... in time';
	is $s->send(telegram_id => 650)->{status}, 200,
	    '... and then there are new ones';
	kill 'CONT', @pids;
	for (0 .. 9) {
		my $n = $got[$_]{status} == 200 ? 1 : 0;
		my $ledger = $s->ledger(631 + $_);
		is "$ledger->{count} $ledger->{rows}", "$n $n",
		    '... and what was answered is what is counted';
	}
}

# New connections hang, an old one is given back: who waits gets that one.
{
	$s->restart_worker(1, AI_CHAT_DB_TIMEOUT_MS => 3000);
	$s->send(telegram_id => 651);
	is scalar backends(), 1, 'one connection of two';
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
	is $got->{status}, 200, 'a connection that is given back is used';
	cmp_ok $got->{seconds}, '<', 1.5, '... at once';
	kill 'CONT', $s->pg_pid;
	is((grep { $_->{status} == 200 } finish_chats($reset, @second)), 2,
	    '... and all others are answered');
}

# It asks the database once, and so frees its connection for good.
sub reset_bytes ($user)
{
	my $body = "{\"telegram_id\":$user}";
	return join "\r\n", 'POST /v1/chat/reset-limit HTTP/1.1',
	    'Host: localhost', 'Connection: close',
	    "X-API-KEY: $AIChat::Test::KEY", 'Content-Length: '
	    . length $body, '', $body;
}

# -- other ways --------------------------------------------------------------

$s->restart_worker(1, AI_CHAT_DB_PREPARE => 0, AI_CHAT_DB_POOL => 4,
    AI_CHAT_DAILY_LIMIT => 3);
{
	my @got = map { $s->send(telegram_id => 701) } 1 .. 4;
	is join(' ', map { $_->{status} } @got), '200 200 200 429',
	    'it works without prepared statements';
	paid(701, 3, '... and counts as ever');
	is $s->value('select count(*) from pg_stat_activity
	    where application_name = \'ai-chat\' and query like \'PREPARE%\''),
	    0, '... of which there are none';
}

done_testing;
