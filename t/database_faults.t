# Faults between a worker and PostgreSQL: the reply to a commit is lost,
# PostgreSQL hangs, no connection is left.

use v5.36;
use utf8;
use AIChat::Test;
use IO::Handle;
use IPC::Open2 qw(open2);
use Time::HiRes qw(time);

my $s = AIChat::Test->new(pg_conf => { max_connections => 9,
    superuser_reserved_connections => 3 }, proxy => [ 'database' ], env => {
	AI_CHAT_DEADLINE_MS => 8000,
	AI_CHAT_DB_TIMEOUT_MS => 1200,
	AI_CHAT_THREADS => 12,
});
my $pg = $s->stack->pg;
my $proxy = $s->proxy('database');
$s->expect_log(qr/code=EDB/, qr/ERROR:  canceling statement/,
    qr/FATAL:  (?:connection to client|terminating connection)/,
    qr/FATAL:  (?:remaining connection slots|sorry, too many)/);

my $IDLE = "Z\0\0\0\5I"; # ReadyForQuery, no transaction open

sub paid ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

# All threads can still run a chat, at the same time.
sub all_threads_serve ($first, $what)
{
	my @got = $s->send_many(map { { telegram_id => $first + $_,
	    message => '[[delay=100]]' } } 1 .. 12);
	is((grep { $_->{status} == 200 } @got), 12, $what);
}

# -- a reply that is lost ----------------------------------------------------

# The proxy passes the statement on, reads the reply of PostgreSQL to its end,
# passes nothing of it on, and closes the connection.
for my $case ([ save => 'the commit of a save' ],
    [ reserve => 'the commit of a reservation' ]) {
	my ($stmt, $what) = @$case;
	my $user = 100 + length $what;
	is $s->send(telegram_id => $user)->{status}, 200, 'a chat';
	my $ended = $proxy->counts->{ended};
	my $asked = $s->model_count;
	$proxy->fault(lose_reply => [ "\0$stmt\0", $IDLE ], times => 1);
	my $got = $s->send(telegram_id => $user);
	$proxy->clear;
	is $proxy->counts->{ended}, $ended + 1, "the reply to $what is lost";
	is $got->{status}, 200, '... the chat is answered';
	is $got->{json}{remaining_requests}, 28,
	    '... with the right number of chats left';
	paid($user, 2, '... and counted exactly once');
	is $s->model_count, $asked + 1, '... with one call of the model';
}

{
	my $ended = $proxy->counts->{ended};
	$proxy->fault(lose_reply => [ "\0release\0", $IDLE ], times => 1);
	my $got = $s->send(telegram_id => 140, message => '[[status=400]]');
	$proxy->clear;
	is $proxy->counts->{ended}, $ended + 1,
	    'the reply to the release of a reservation is lost';
	is $got->{status}, 500, '... the chat gets the error of the model';
	paid(140, 0, '... and nothing stays reserved');
}

# Many chats share trips; the replies of four trips are lost.
{
	my $ended = $proxy->counts->{ended};
	$proxy->fault(lose_reply => [ "\0save\0", $IDLE ], times => 4);
	my @got = $s->send_many(map { { telegram_id => 150 + $_ % 2,
	    message => '[[delay=50]]' } } 1 .. 12);
	$proxy->clear;
	is $proxy->counts->{ended}, $ended + 4,
	    'twelve chats at once, four replies are lost';
	is((grep { $_->{status} == 200 } @got), 12, '... all are answered');
	paid($_, 6, '... and counted once each') for 150, 151;
}

# The same in the middle of a reply.
for my $how (qw(cut truncate reset)) {
	my $user = 160 + length $how;
	my $ended = $proxy->counts->{ended};
	$s->send(telegram_id => 160);
	$proxy->fault(down => { $how => 9 }, times => 2);
	my $got = $s->send(telegram_id => $user);
	$proxy->clear;
	cmp_ok $proxy->counts->{ended}, '>', $ended,
	    "a reply is cut off ($how)";
	is $got->{status}, 200, '... the chat is answered';
	paid($user, 1, '... and counted once');
}

# -- a server that is slow, or hangs -----------------------------------------

{
	$proxy->fault(latency_ms => 40, jitter_ms => 20);
	my @got = $s->send_many(map { { telegram_id => 200 + $_ } } 1 .. 12);
	$proxy->clear;
	is((grep { $_->{status} == 200 } @got), 12,
	    'a slow connection to the database: all are answered');
}

{
	my @thinking = $s->start_chats(map { { telegram_id => 220 + $_,
	    message => '[[delay=400]]' } } 1 .. 4);
	wait_for(sub { $s->model_counts->{pending} == 4 }, 10, 'four chats');
	$proxy->fault(stall => 1);
	my $start = time;
	my @new = $s->start_chats(map { { telegram_id => 240 + $_ } } 1 .. 6);
	is $s->get('/health')->{status}, 200,
	    'the database hangs: health is answered';
	is $s->ready_with(503)->{status}, 503,
	    '... and the worker is not ready';
	my @got = finish_chats(@new, @thinking);
	is((grep { $_->{status} == 503 && ref $_->{json}
	    && $_->{headers}{'retry-after'} } @got), 10,
	    '... chats are refused, in JSON with Retry-After');
	is((grep { $_->{seconds} > 1.2 + 1 } @got[0 .. 5]), 0,
	    '... new chats after the time limit of one stage');
	cmp_ok time - $start, '<', 8, '... chats in flight within the deadline';
	$proxy->clear;
	my $back = time;
	wait_for(sub { $s->send(telegram_id => 260)->{status} == 200 }, 5,
	    'an answer');
	cmp_ok time - $back, '<', 1,
	    '... and when the database goes on, chats are answered';
	wait_for(sub { !$s->value("select 1 from pg_stat_activity where
	    application_name = 'ai-chat' and state = 'active'") }, 5,
	    'stuck statements to end');
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 241 and 250'), 0,
	    '... the new chats, which were refused, are not saved';
	# Whether a save in flight was made is not known: it is made once or
	# not at all.
	my ($row) = $s->sql('select (select count(*) from ai_chat_requests
	    where telegram_id between 221 and 250), sum(request_count),
	    max(request_count) from ai_chat_daily_limits
	    where telegram_id between 221 and 250');
	is $row->[0], $row->[1],
	    '... a chat in flight is counted exactly when saved';
	cmp_ok $row->[2], '<=', 1, '... no more than once each';
	all_threads_serve(260, '... and no thread is lost');
}

# The network drops all packets of the connections that exist, and serves new
# connections.  The first chat that times out makes the pool replace them all.
sub four_connections ($user)
{
	# A batch that waits for a slow connection makes another one.
	$proxy->fault(latency_ms => 60);
	wait_for(sub {
		$s->send_many(map { { telegram_id => $user++ } } 1 .. 12);
		$proxy->counts->{open} == 4;
	}, 20, 'four connections');
	$proxy->clear;
}

{
	four_connections(2700);
	$proxy->fault(stall => 1, old => 1);
	my @got = map { $s->send(telegram_id => 280 + $_) } 1 .. 6;
	cmp_ok scalar(grep { $_->{status} != 200 } @got), '<=', 1,
	    'all connections fall silent: one chat fails at most';
	is((grep { $_->{status} !~ /^(?:200|503)$/ } @got), 0, '... with 503');
	$proxy->cut_all;
	$proxy->clear;
	all_threads_serve(370, '... and all threads serve');
}

# The replies to two reservations do not come, and no new connection can be
# made.  So the first attempts to release the reservations fail, too.
{
	four_connections(2800);
	$proxy->fault(down => { stall => 1 });
	my @socks = $s->start_chats(map { { telegram_id => $_ } } 295, 296);
	wait_for(sub { $s->ledger(295)->{leases} + $s->ledger(296)->{leases} == 2 },
	    10, 'both to be reserved');
	is((grep { $_->{status} == 503 } finish_chats(@socks)), 2,
	    'the replies to two reservations do not come: 503');
	my $before = $proxy->counts->{connections};
	# The worker makes one attempt at a time, each by a new connection.
	ok eval { wait_for(sub {
		$proxy->counts->{connections} >= $before + 3;
	}, 20, 'attempts to release them') },
	    '... the worker retries the release';
	$proxy->clear;
	# A reservation that only lapses would stay in the row.
	ok eval { wait_for(sub {
		$s->ledger(295)->{leases} + $s->ledger(296)->{leases} == 0;
	}, 10, 'them to be released') },
	    '... and releases them, though the first attempts failed';
	paid($_, 0, '... and nothing is counted') for 295, 296;
}

# PostgreSQL hangs when a chat has to be saved, and goes on after the caller got
# a 503.  The save in flight must not be made then.
{
	$s->restart_worker(1);
	my ($sock) = $s->start_chats({ telegram_id => 290,
	    message => '[[delay=2000 id=hung]]' });
	wait_for(sub { $s->model_count('hung') }, 10, 'the model to be called');
	my @pids = ($s->pg_pid, map { $_->[0] } $pg->admin('select pid from
	    pg_stat_activity where pid <> pg_backend_pid()'));
	kill 'STOP', @pids;
	my ($got) = finish_chats($sock);
	kill 'CONT', @pids;
	is $got->{status}, 503,
	    'PostgreSQL hangs when a chat has to be saved: 503';
	wait_for(sub {
		!$s->value("select 1 from pg_stat_activity where
		    application_name = 'ai-chat' and state = 'active'")
		    && !$s->ledger(290)->{leases};
	}, 10, 'stuck statements to end');
	is_deeply $s->ledger(290), { count => 0, rows => 0, leases => 0 },
	    '... and nothing is saved or counted when it goes on';
}

# -- no connection left ------------------------------------------------------

# Takes connections, of which the role has six.  A session that has just been
# closed may still count, so psql is retried until a query succeeds.  A look at
# pg_stat_activity would need a session of the administrator, which counts, too.
sub take_connections ($n)
{
	my @psqls;

	for (1 .. $n) {
		wait_for(sub {
			my $pid = open2(my $from, my $to, 'exec psql -XAtq -d '
			    . "'" . $s->db_url . "' 2>/dev/null");
			$to->autoflush;
			local $SIG{PIPE} = 'IGNORE';
			say $to 'select 1;';
			if (!defined readline $from) {
				waitpid $pid, 0;
				return;
			}
			push @psqls, { pid => $pid, to => $to, from => $from };
		}, 30, 'a connection');
	}
	return @psqls;
}

sub give_connection_back ($psql)
{
	close $psql->{to};
	waitpid $psql->{pid}, 0;
}

{
	# The pool is empty, and no release is queued.
	$s->restart_worker(1);
	wait_for(sub { !$pg->admin("select 1 from pg_stat_activity
	    where application_name = 'ai-chat'") }, 10, 'the pool to be empty');
	my @psqls = take_connections(6);
	my $asked = $s->model_count;
	my @got = $s->send_many(map { { telegram_id => 300 + $_ } } 1 .. 8);
	is((grep { $_->{status} == 503 && ref $_->{json}
	    && $_->{headers}{'retry-after'} } @got), 8,
	    'no connection is left: 503');
	is((grep { $_->{seconds} > 1.2 + 1 } @got), 0, '... in time');
	cmp_ok $got[0]{seconds}, '>', 1, '... after waiting for one';
	is $s->model_count, $asked, '... and the model is not called';
	unlike $got[0]{content}, qr/slot|client|connection/,
	    '... without the reason';

	give_connection_back(pop @psqls);
	wait_for(sub { $s->send(telegram_id => 320)->{status} == 200 }, 5,
	    'an answer');
	@got = $s->send_many(map { { telegram_id => 330 + $_ } } 1 .. 12);
	is((grep { $_->{status} == 200 } @got), 12,
	    'one connection is enough for twelve chats at once');
	give_connection_back($_) for @psqls;
	all_threads_serve(350, 'with all connections all threads serve');
}

done_testing;
