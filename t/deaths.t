# Workers that are killed, are frozen, drain or run out of descriptors: no chat
# without an answer is counted.

use v5.36;
use utf8;
use AIChat::Test;
use POSIX ();
use Time::HiRes qw(time);

# One worker is killed or frozen, the other goes on.  A reservation lapses 5 s
# after the deadline.
my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DEADLINE_MS => 2500,
	AI_CHAT_DB_TIMEOUT_MS => 400,
});

$s->expect_log(qr/code=EDB/, qr/upstream prematurely closed/,
    qr/connect\(\) to unix:\S+ failed/);

sub ask_slowly ($user, $ms)
{
	my $id = "slow$user";
	my @socks = $s->start_chats({ telegram_id => $user,
	    message => "[[delay=$ms id=$id]]" });
	wait_for(sub { $s->model_count($id) }, 10, 'the model to be called');
	return @socks;
}

# The worker that has a request in flight.
sub busy_worker
{
	return (grep { $s->taken($_) } $s->stack->worker_numbers)[0];
}

sub paid ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

sub used ($user)
{
	return $s->get("/v1/chat/limits/$user")->{json}{requests_today};
}

# -- workers -----------------------------------------------------------------

# One worker is killed during a chat; the other serves the next chat.  Another
# worker is frozen until its reservation has lapsed.  Both reservations lapse
# at the same time, to make the test shorter.
my $killed_at = time;
{
	my @socks = ask_slowly(1, 900);
	is used(1), 1, 'a chat in flight counts';
	my $busy = busy_worker();
	is $s->kill_worker($busy), 9, 'its worker is killed';
	my ($got) = finish_chats(@socks);
	is $got->{status}, 502, 'Nginx answers the caller';
	is ref($got->{json}), 'HASH', '... in JSON';
	is used(1), 1, 'the chat counts until its reservation lapses';
	is $s->send(telegram_id => 1)->{status}, 200,
	    'the next chat of the user is answered by the other worker';
	$s->start_worker($busy);
}
my ($frozen, @frozen_socks);
{
	@frozen_socks = ask_slowly(2, 300);
	$frozen = busy_worker();
	$s->kill_worker($frozen, 'STOP');
}

{
	my $lapsed = wait_for(sub {
		return time if used(1) == 1;
	}, 12.5, 'the reservation of the killed worker to lapse');
	cmp_ok $lapsed - $killed_at, '<=', 2.5 + 10,
	    'the reservation of a killed worker lapses in time';
	is $s->ledger(1)->{rows}, 1, '... and the chat was not saved';

	wait_for(sub { used(2) == 0 }, 12.5,
	    'the reservation of the frozen worker to lapse');
	is $s->send(telegram_id => 2)->{status}, 200,
	    'the next chat removes the lapsed reservation';
	$s->kill_worker($frozen, 'CONT');
	my ($got) = finish_chats(@frozen_socks);
	my $n = 1 + ($got->{status} == 200);
	like $got->{status}, qr/^(?:200|50[034])$/,
	    'the frozen worker goes on, and its chat is answered or fails';
	paid(2, $n, '... and a chat is counted exactly when answered');
}

# The save of a chat whose reservation does not exist any more.
{
	my @socks = ask_slowly(3, 600);
	$s->sql("update ai_chat_daily_limits set leases = '{}'
	    where telegram_id = 3");
	my ($got) = finish_chats(@socks);
	is $got->{status}, 200,
	    'a save without its reservation counts where the limit permits';
	is $got->{json}{remaining_requests}, 29,
	    '... with the right number of chats left';
	paid(3, 1, '... and counted once');

	@socks = ask_slowly(4, 600);
	$s->sql("update ai_chat_daily_limits set leases = '{}',
	    request_count = 30 where telegram_id = 4");
	($got) = finish_chats(@socks);
	is $got->{status}, 503,
	    'a save without its reservation fails where the day is used up';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/,
	    '... with Retry-After';
	is_deeply $s->ledger(4), { count => 30, rows => 0, leases => 0 },
	    '... and nothing is saved';
}

# -- SIGTERM -----------------------------------------------------------------

{
	$s->scale(1);
	my @running = $s->start_chats(map { { telegram_id => 100 + $_,
	    message => '[[delay=800]]' } } 1 .. 5);
	wait_for(sub { $s->model_counts->{pending} == 5 }, 10, 'five chats');
	$s->kill_worker(1, 'STOP');
	my @queued = $s->start_chats(map { { telegram_id => 110 + $_,
	    message => '[[delay=100]]' } } 1 .. 20);
	wait_for(sub { $s->queued(1) == 20 }, 10, 'twenty more to queue');
	kill 'TERM', $s->worker_pid(1);
	$s->kill_worker(1, 'CONT');
	my @got = finish_chats(@running, @queued);
	is((grep { $_->{status} == 200 } @got), 25,
	    'SIGTERM: requests in flight and queued are answered');
	is $s->kill_worker(1, 'TERM'), 0,
	    '... and then the worker exits with 0';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 100 and 130'), 25, '... all are saved';
	$s->start_worker(1);
	$s->scale(2);
}

{
	my $stop = $s->dir . '/stop';
	my @loads = map { load(200 + 10 * $_, $stop) } 1 .. 4;
	for (1 .. 5) {
		$s->restart_worker(1);
		$s->restart_worker(2);
	}
	AIChat::Proc::spew($stop, '');
	my ($sent, $bad) = (0, '');
	for (@loads) {
		my ($n, $wrong) = split /\t/, <$_>, 2;
		close $_;
		$sent += $n;
		$bad .= $wrong;
	}
	is $bad, '', 'a rolling restart under load: no failure';
	cmp_ok $sent, '>', 20, '... of more than 20 chats';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 200 and 250'), $sent, '... all are saved';
}

# Starts a process that sends one chat after another until the file exists, 30
# chats for each user.
sub load ($first, $stop)
{
	my $pid = open my $fh, '-|';
	die "could not fork: $!\n" if !defined $pid;
	return $fh if $pid;
	my ($n, $wrong) = (0, '');
	until (-e $stop) {
		my $got = $s->send(telegram_id => $first + int($n / 30),
		    message => '[[delay=20]]');
		$n++;
		$wrong .= " $got->{status}: $got->{content}"
		    if $got->{status} != 200;
		last if $n == 300;
	}
	syswrite STDOUT, "$n\t$wrong";
	POSIX::_exit(0);
}

# -- no descriptors ----------------------------------------------------------

$s->scale(1);
{
	my $pid = $s->worker_pid(1);
	my $allow = sub ($n) {
		system('prlimit', "--pid=$pid", "--nofile=$n:") == 0
		    or die "could not set the limit\n";
	};
	# Idle connections to the model must not hold all descriptors, because
	# the worker could then never accept a request again.
	finish_chats($s->start_chats(map { { telegram_id => 700 + $_,
	    message => '[[delay=1500]]' } } 1 .. 30));
	my $kept = $s->model_counts->{open};
	cmp_ok $kept, '>', 20,
	    'idle connections to the model are kept';
	wait_for(sub { !$s->taken(1) }, 10, 'the last one to be done');
	my %open = map { m{(\d+)$} ? ($1 => 1) : () } glob "/proc/$pid/fd/*";
	my $free = 0;
	$free++ while $open{$free};
	$allow->($free);
	my @busy = $s->start_chats(map { { telegram_id => 740 + $_,
	    message => '[[delay=500]]' } } 1 .. 8);
	ok eval { wait_for(sub { $s->model_counts->{open} < $kept }, 10,
	    '') },
	    '... but closed when requests need the descriptors';
	$allow->(1000);
	finish_chats(@busy);

	# Enough descriptors to accept some callers, but not to serve them all.
	$allow->(30);
	my @got = $s->send_many(map { { telegram_id => 800 + $_,
	    message => '[[delay=100]]' } } 1 .. 60);
	ok $s->worker_log(1) =~ /event=accept.*open files/,
	    'sixty callers of a worker with thirty descriptors';
	is((grep { $_->{status} !~ /^(?:200|50[03])$/ } @got), 0,
	    '... all get an answer or an error');
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 801 and 860'),
	    (grep { $_->{status} == 200 } @got),
	    '... rows and answers agree';

	$allow->(1000);
	wait_for(sub { $s->send(telegram_id => 800)->{status} == 200 }, 5,
	    'an answer');
	@got = $s->send_many(map { { telegram_id => 900 + $_ } } 1 .. 60);
	is((grep { $_->{status} == 200 } @got), 60,
	    '... and with more descriptors all are answered');
	is $s->worker_pid(1), $pid, '... by the same worker';
}

done_testing;
