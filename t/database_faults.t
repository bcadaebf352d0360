# What can happen between a worker and PostgreSQL: it hangs, a reply is lost after
# the commit, there is no connection to be had.

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

my $IDLE = "Z\0\0\0\5I"; # ready for the next one, nothing open

sub paid ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

# Every thread can still take a chat, and all at the same time.
sub all_threads_serve ($first, $what)
{
	my @got = $s->send_many(map { { telegram_id => $first + $_,
	    message => '[[delay=100]]' } } 1 .. 12);
	is((grep { $_->{status} == 200 } @got), 12, $what);
}

# -- a reply that is lost ----------------------------------------------------

# The proxy passes the statement on, waits until PostgreSQL has said that it is
# done, tells nobody, and closes.
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
	is $proxy->counts->{ended}, $ended + 1, "$what whose answer is lost";
	is $got->{status}, 200, '... is answered all the same';
	is $got->{json}{remaining_requests}, 28, '... as the second';
	paid($user, 2, '... and is there exactly once');
	is $s->model_count, $asked + 1, '... with one call of the model';
}

{
	my $ended = $proxy->counts->{ended};
	$proxy->fault(lose_reply => [ "\0release\0", $IDLE ], times => 1);
	my $got = $s->send(telegram_id => 140, message => '[[status=400]]');
	$proxy->clear;
	is $proxy->counts->{ended}, $ended + 1,
	    'a reservation given back, and the answer lost';
	is $got->{status}, 500, '... the failure is told';
	paid(140, 0, '... and nothing stays reserved');
}

# Many at once share trips; the reply of each trip in turn is lost.
{
	my $ended = $proxy->counts->{ended};
	$proxy->fault(lose_reply => [ "\0save\0", $IDLE ], times => 4);
	my @got = $s->send_many(map { { telegram_id => 150 + $_ % 2,
	    message => '[[delay=50]]' } } 1 .. 12);
	$proxy->clear;
	is $proxy->counts->{ended}, $ended + 4,
	    'twelve at once, four replies lost';
	is((grep { $_->{status} == 200 } @got), 12, '... all are answered');
	paid($_, 6, '... each once') for 150, 151;
}

# The same in the middle of a reply.
for my $how (qw(cut truncate reset)) {
	my $user = 160 + length $how;
	my $ended = $proxy->counts->{ended};
	$s->send(telegram_id => 160);
	$proxy->fault(down => { $how => 9 }, times => 2);
	my $got = $s->send(telegram_id => $user);
	$proxy->clear;
	cmp_ok $proxy->counts->{ended}, '>', $ended, "a reply cut off ($how)";
	is $got->{status}, 200, '... is asked for again';
	paid($user, 1, '... and counts once');
}

# -- a server that is slow, or hangs -----------------------------------------

{
	$proxy->fault(latency_ms => 40, jitter_ms => 20);
	my @got = $s->send_many(map { { telegram_id => 200 + $_ } } 1 .. 12);
	$proxy->clear;
	is((grep { $_->{status} == 200 } @got), 12,
	    'a database that is far away: all are answered');
}

{
	my @thinking = $s->start_chats(map { { telegram_id => 220 + $_,
	    message => '[[delay=400]]' } } 1 .. 4);
	wait_for(sub { $s->model_counts->{pending} == 4 }, 10, 'four chats');
	$proxy->fault(stall => 1);
	my $start = time;
	my @new = $s->start_chats(map { { telegram_id => 240 + $_ } } 1 .. 6);
	is $s->get('/health')->{status}, 200,
	    'a database that hangs: health goes on';
	is $s->ready_with(503)->{status}, 503, '... and is not ready';
	my @got = finish_chats(@new, @thinking);
	is((grep { $_->{status} == 503 && ref $_->{json}
	    && $_->{headers}{'retry-after'} } @got), 10,
	    '... chats are refused, in JSON with Retry-After');
	is((grep { $_->{seconds} > 1.2 + 1 } @got[0 .. 5]), 0,
	    '... new ones after the time of one stage');
	cmp_ok time - $start, '<', 8, '... the others within the deadline';
	$proxy->clear;
	my $back = time;
	wait_for(sub { $s->send(telegram_id => 260)->{status} == 200 }, 5,
	    'an answer');
	cmp_ok time - $back, '<', 1, '... and when it goes on, so do chats';
	wait_for(sub { !$s->value("select 1 from pg_stat_activity where
	    application_name = 'ai-chat' and state = 'active'") }, 5,
	    'what was stuck to come to its end');
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 241 and 250'), 0,
	    '... the new ones, which were refused, are not kept';
	# Of a save that was on its way nobody could know: it is kept once, or
	# not at all.
	my ($row) = $s->sql('select (select count(*) from ai_chat_requests
	    where telegram_id between 221 and 250), sum(request_count),
	    max(request_count) from ai_chat_daily_limits
	    where telegram_id between 221 and 250');
	is $row->[0], $row->[1], '... what is kept is counted';
	cmp_ok $row->[2], '<=', 1, '... no more than once each';
	all_threads_serve(260, '... and no thread is lost');
}

# The network swallows what goes over the connections that there are, and serves new
# ones: one chat finds out for all of them.
sub four_connections ($user)
{
	# Whoever waits for a slow connection makes another one.
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

# Two reservations of which no answer comes, while no connection can be made by which to
# give them back: the first attempts fail as well.
{
	four_connections(2800);
	$proxy->fault(down => { stall => 1 });
	my @socks = $s->start_chats(map { { telegram_id => $_ } } 295, 296);
	wait_for(sub { $s->ledger(295)->{leases} + $s->ledger(296)->{leases} == 2 },
	    10, 'both to be reserved');
	is((grep { $_->{status} == 503 } finish_chats(@socks)), 2,
	    'two reservations whose answers do not come');
	my $before = $proxy->counts->{connections};
	# The worker makes one attempt at a time, each by a new connection.
	ok eval { wait_for(sub {
		$proxy->counts->{connections} >= $before + 3;
	}, 20, 'attempts to give them back') },
	    '... the worker tries again and again to give them back';
	$proxy->clear;
	# Where it lapses the row keeps it.
	ok eval { wait_for(sub {
		$s->ledger(295)->{leases} + $s->ledger(296)->{leases} == 0;
	}, 10, 'them to be given back') },
	    '... and does, though the first attempts failed';
	paid($_, 0, '... and cost nothing') for 295, 296;
}

# All of it hangs when a chat is to be kept, and comes to it when the caller has
# been told that it was not.
{
	$s->restart_worker(1);
	my ($sock) = $s->start_chats({ telegram_id => 290,
	    message => '[[delay=2000 id=hung]]' });
	wait_for(sub { $s->model_count('hung') }, 10, 'the model to be asked');
	my @pids = ($s->pg_pid, map { $_->[0] } $pg->admin('select pid from
	    pg_stat_activity where pid <> pg_backend_pid()'));
	kill 'STOP', @pids;
	my ($got) = finish_chats($sock);
	kill 'CONT', @pids;
	is $got->{status}, 503, 'a database that hangs when a chat is to be kept';
	wait_for(sub {
		!$s->value("select 1 from pg_stat_activity where
		    application_name = 'ai-chat' and state = 'active'")
		    && !$s->ledger(290)->{leases};
	}, 10, 'what was stuck to come to its end');
	is_deeply $s->ledger(290), { count => 0, rows => 0, leases => 0 },
	    '... keeps and counts nothing afterwards either';
}

# -- no connection to be had -------------------------------------------------

# Six are allowed; others take them.  A connection that has just been closed may
# still be in the way; so would be the administrator's, so each is asked itself
# whether it is there.
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
	# A pool that is empty, and nothing left to be given back.
	$s->restart_worker(1);
	wait_for(sub { !$pg->admin("select 1 from pg_stat_activity
	    where application_name = 'ai-chat'") }, 10, 'the pool to be empty');
	my @psqls = take_connections(6);
	my $asked = $s->model_count;
	my @got = $s->send_many(map { { telegram_id => 300 + $_ } } 1 .. 8);
	is((grep { $_->{status} == 503 && ref $_->{json}
	    && $_->{headers}{'retry-after'} } @got), 8,
	    'too many connections: refused');
	is((grep { $_->{seconds} > 1.2 + 1 } @got), 0, '... in time');
	cmp_ok $got[0]{seconds}, '>', 1, '... after having waited for one';
	is $s->model_count, $asked, '... and the model was not asked';
	unlike $got[0]{content}, qr/slot|client|connection/,
	    '... without saying why';

	give_connection_back(pop @psqls);
	wait_for(sub { $s->send(telegram_id => 320)->{status} == 200 }, 5,
	    'an answer');
	@got = $s->send_many(map { { telegram_id => 330 + $_ } } 1 .. 12);
	is((grep { $_->{status} == 200 } @got), 12,
	    'one connection is enough for twelve at once');
	give_connection_back($_) for @psqls;
	all_threads_serve(350, 'with all of them it is as ever: no thread lost');
}

done_testing;
