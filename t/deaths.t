# Workers that die, freeze, drain or run out of descriptors: nobody pays for what
# he did not get.

use v5.36;
use utf8;
use AIChat::Test;
use POSIX ();
use Time::HiRes qw(time);

# One is killed or frozen, the other goes on.  A lease lapses 5 s after the
# deadline.
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
	wait_for(sub { $s->model_count($id) }, 10, 'the model to be asked');
	return @socks;
}

# The one that has a request under way.
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

# Killed in mid-chat; the other one takes over what comes next.  Another is
# frozen, until after its lease: the two lapse while the rest goes on.
my $killed_at = time;
{
	my @socks = ask_slowly(1, 900);
	is used(1), 1, 'a chat in flight counts';
	my $busy = busy_worker();
	is $s->kill_worker($busy), 9, 'its worker is killed';
	my ($got) = finish_chats(@socks);
	is $got->{status}, 502, 'the caller is told by Nginx';
	is ref($got->{json}), 'HASH', '... in JSON';
	is used(1), 1, 'the chat counts until its lease lapses';
	is $s->send(telegram_id => 1)->{status}, 200,
	    'the user goes on with the other worker';
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
	}, 12.5, 'the lease of the killed worker to lapse');
	cmp_ok $lapsed - $killed_at, '<=', 2.5 + 10,
	    'the chat of a killed worker lapses in time';
	is $s->ledger(1)->{rows}, 1, '... and was not kept';

	wait_for(sub { used(2) == 0 }, 12.5,
	    'the lease of the frozen worker to lapse');
	is $s->send(telegram_id => 2)->{status}, 200,
	    'a chat after that sweeps the lapsed lease';
	$s->kill_worker($frozen, 'CONT');
	my ($got) = finish_chats(@frozen_socks);
	my $n = 1 + ($got->{status} == 200);
	like $got->{status}, qr/^(?:200|50[034])$/,
	    'the frozen worker goes on and answers something';
	paid(2, $n, '... and the user pays for what was answered');
}

# The same from the side of the save: the reservation is not there any more.
{
	my @socks = ask_slowly(3, 600);
	$s->sql("update ai_chat_daily_limits set leases = '{}'
	    where telegram_id = 3");
	my ($got) = finish_chats(@socks);
	is $got->{status}, 200, 'a save without its lease takes a slot again';
	is $got->{json}{remaining_requests}, 29, '... and says what is left';
	paid(3, 1, '... one');

	@socks = ask_slowly(4, 600);
	$s->sql("update ai_chat_daily_limits set leases = '{}',
	    request_count = 30 where telegram_id = 4");
	($got) = finish_chats(@socks);
	is $got->{status}, 503, 'but not where none is left';
	like $got->{headers}{'retry-after'}, qr/^[1-9]/,
	    '... which it says as it should';
	is_deeply $s->ledger(4), { count => 30, rows => 0, leases => 0 },
	    '... and nothing is kept';
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
	    'SIGTERM: what runs and what is queued is answered');
	is $s->kill_worker(1, 'TERM'), 0, '... and then the worker exits, 0';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 100 and 130'), 25, '... all is kept';
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
	cmp_ok $sent, '>', 20, '... of many';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 200 and 250'), $sent, '... all kept';
}

# A process that sends one chat after the other until the file is there, each
# of a user of its own.
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
	# Each thread keeps its connection to the model: they could hold all the
	# descriptors there are, and no request would ever be taken again.
	finish_chats($s->start_chats(map { { telegram_id => 700 + $_,
	    message => '[[delay=100]]' } } 1 .. 30));
	my $kept = $s->model_counts->{open};
	cmp_ok $kept, '>', 20,
	    'idle threads keep their connections to the model';
	wait_for(sub { !$s->taken(1) }, 10, 'the last one to be done');
	my %open = map { m{(\d+)$} ? ($1 => 1) : () } glob "/proc/$pid/fd/*";
	my $free = 0;
	$free++ while $open{$free};
	$allow->($free);
	my @busy = $s->start_chats(map { { telegram_id => 740 + $_,
	    message => '[[delay=500]]' } } 1 .. 8);
	ok eval { wait_for(sub { $s->model_counts->{open} < $kept }, 10,
	    '') },
	    '... but not when somebody needs the descriptors';
	$allow->(1000);
	finish_chats(@busy);

	# Enough for some of them, and not for what they need.
	$allow->(30);
	my @got = $s->send_many(map { { telegram_id => 800 + $_,
	    message => '[[delay=100]]' } } 1 .. 60);
	ok $s->worker_log(1) =~ /event=accept.*open files/,
	    'sixty callers of a worker with thirty descriptors';
	is((grep { $_->{status} !~ /^(?:200|50[03])$/ } @got), 0,
	    '... all are answered, or told why not');
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id between 801 and 860'),
	    (grep { $_->{status} == 200 } @got),
	    '... rows and answers agree';

	$allow->(1000);
	wait_for(sub { $s->send(telegram_id => 800)->{status} == 200 }, 5,
	    'an answer');
	@got = $s->send_many(map { { telegram_id => 900 + $_ } } 1 .. 60);
	is((grep { $_->{status} == 200 } @got), 60,
	    '... and then it serves as ever');
	is $s->worker_pid(1), $pid, '... the same worker';
}

done_testing;
