# ai-chatctl changes the workers while a part is stopped: a worker, Nginx or the
# database. The message names the cause, and nothing else is changed.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DEADLINE_MS => 5000,
	AI_CHAT_DB_TIMEOUT_MS => 1800,
});
# A worker that is stopped refuses connections, and Nginx takes another.
$s->expect_log(qr/connect\(\) to unix:\S+ failed/);
my $stack = $s->stack;
my $RUN = $stack->run_dir;
my $LIST = "$RUN/upstream.conf";

sub listed
{
	return join ' ', slurp($LIST) =~ m{/worker-(\d+)\.sock}g;
}

sub numbers { return join ' ', $stack->worker_numbers }

# The sample lines of a metric in /metrics of worker 1.
sub samples ($name)
{
	return join ' ', sort grep { /^ai_chat_\Q$name\E[ {]/ } split /\n/,
	    $s->get('/metrics', headers => { 'X-API-KEY' => undef })->{content};
}

sub fails ($title, $why, @args)
{
	my $got = $s->ctl(@args);

	is $got->{status}, 1, $title or diag "$got->{out}$got->{err}";
	like $got->{err}, $why, '... with the reason';
	return $got;
}

# Chats, while a command runs. Returns the statuses other than 200.
sub chats_during (@args)
{
	my $load = $s->start_load(callers => 2, users => [ 50 .. 59 ],
	    message => '[[delay=20]]');
	wait_for(sub { $load->count(200) >= 5 }, 20, 'the first chats');
	my $got = $s->ctl(@args);
	my $n = $load->count(200);
	wait_for(sub { $load->count(200) >= $n + 5 }, 20, 'the last chats');
	return ($got, join ' ', grep { $_ != 200 }
	    map { $_->{status} } $load->stop);
}

# -- a stopped worker --------------------------------------------------------

# As "systemctl stop ai-chat-worker@2" does: the worker is stopped on purpose.
$stack->stop_worker(2);
{
	my $old = $s->worker_pid(1);
	my ($got, $failed) = chats_during('restart');
	isnt $s->worker_pid(1), $old,
	    'restart with one worker stopped: the other one is restarted'
	    or diag "$got->{out}$got->{err}";
	is $failed, '', '... and no chat fails';
	is listed(), '1 2', "... Nginx's list has both workers";
	is numbers(), '1', '... and the stopped worker is not started';
	is $got->{status}, 1, '... status 1, as for "status"';
	like $got->{err}, qr/^ai-chatctl: worker 2 .*stopped.*restart 2 starts it$/m,
	    '... and a warning';
	unlike $got->{out}, qr/worker 3.*running/,
	    '... and no other worker is left';
}
{
	my $old = $s->worker_pid(1);
	my $got = $s->ctl('restart', 2);
	is $got->{status}, 0, 'restart 2 starts worker 2'
	    or diag "$got->{out}$got->{err}";
	is numbers(), '1 2', '... which is then there';
	is $s->worker_pid(1), $old, '... and not worker 1';

	my %old = map { $_ => $s->worker_pid($_) } 1, 2;
	is $s->ctl('restart', 1)->{status}, 0, 'restart 1 succeeds';
	isnt $s->worker_pid(1), $old{1}, '... worker 1 is a new process';
	is $s->worker_pid(2), $old{2}, '... worker 2 is the same';
	is listed(), '1 2', "... Nginx's list is the same";
	fails('restart of a worker that does not exist',
	    qr/there is no worker 7$/m, 'restart', 7);
	is $s->ctl('restart', $_)->{status}, 2, "restart $_ is wrong usage"
	    for 0, 'x';
}

# -- removed workers ---------------------------------------------------------

{
	my $both = join ' ', map {
		qq(ai_chat_build_info{worker="$_",version="1.0.0"} 1) } 1, 2;
	is samples('build_info'), $both, 'build_info has a line for each worker';
	is $s->ctl('scale', 1)->{status}, 0, 'a worker is removed';
	unlike samples('build_info'), qr/worker="2"/,
	    '... and its build_info, too';
	like samples('chats_total'), qr/worker="2"/, '... its counters stay';

	# A worker that was killed is down, until it is removed.
	is $s->ctl('scale', 2)->{status}, 0, 'the worker is added again';
	is samples('build_info'), $both, '... and its build_info';
	$s->kill_worker(2);
	like samples('worker_up'), qr/worker="2"\} 0/, 'it is killed: it is down';
	is $s->ctl('scale', 1)->{status}, 0, '... and then it is removed'
	    or diag $s->ctl('status')->{out};
	unlike samples('worker_up') . samples('build_info'), qr/worker="2"/,
	    '... and is not exported as down any more';
	is $s->ctl('scale', 2)->{status}, 0, 'the worker is added again';
}

# -- a database that is down -------------------------------------------------

{
	my $env = "$RUN/no-database.env";
	spew($env, slurp("$RUN/worker.env")
	    . "DATABASE_URL='postgresql://u\@127.0.0.1:1/x'\n");
	my %o = (env => { AI_CHATCTL_ENV_FILE => $env });
	for my $args ([qw(prune --older-than 5)], [qw(forget 5 --yes)]) {
		my $start = time;
		my $got = fails("@$args without a database",
		    qr/^ai-chatctl: nothing was deleted: could not connect /,
		    @$args, \%o);
		is $got->{out}, '', '... and prints no result';
		cmp_ok time - $start, '<', 15, '... after seconds';
	}
	like $s->ctl(qw(prune --older-than 5 --json), \%o)->{json}{error},
	    qr/^nothing was deleted: /, '... as JSON, too';
}

# -- Nginx is down -----------------------------------------------------------

{
	my %pids = map { $_ => $s->worker_pid($_) } 1, 2;
	my $list = slurp($LIST);
	my $same = sub ($title) {
		is_deeply { map { $_ => $s->worker_pid($_) }
		    $stack->worker_numbers }, \%pids,
		    "$title: the workers are the same";
		is slurp($LIST), $list, "... and so is Nginx's list";
	};

	$stack->nginx->stop('KILL');
	for my $n (1, 3) {
		my $got = fails("scale $n with Nginx stopped",
		    qr/\Aai-chatctl: Nginx is not running, so nothing was changed/,
		    'scale', $n);
		unlike $got->{err}, qr/undo|undone/, '... nothing had to be undone';
		$same->("scale $n");
	}
	is $s->ctl('scale', 2)->{status}, 0,
	    'scale that changes nothing does not need Nginx';
	fails('reload with Nginx stopped', qr/Nginx is not running/, 'reload');
	my $got = $s->ctl('restart');
	like $got->{err}, qr/^ai-chatctl: Nginx is not running$/m,
	    'restart with Nginx stopped warns';
	isnt $s->worker_pid($_), $pids{$_}, "... and restarts worker $_" for 1, 2;
	is slurp($LIST), $list, "... and leaves Nginx's list";
	$stack->start_nginx;
	is $s->send(telegram_id => 1)->{status}, 200,
	    'after its start, Nginx uses the workers';
}

# Nginx exits while it is reloaded.
{
	my $list = slurp($LIST);
	my $verbs = $s->control->{verbs};
	local $verbs->{'reload-nginx'} = sub {
		$stack->nginx->stop('KILL');
		return '';
	};
	fails('Nginx exits during a reload',
	    qr/Nginx has exited during the reload; see its error log$/m,
	    'reload');
	$stack->start_nginx;
	my $got = fails('Nginx exits when the list was changed',
	    qr/\Aai-chatctl: Nginx has exited during the reload/, 'scale', 3);
	is numbers(), '1 2', '... the new worker is stopped';
	is slurp($LIST), $list, '... and the list is the old one';
	is scalar(() = $got->{err} =~ /has exited/g), 1,
	    '... the cause is printed once';
	$stack->start_nginx;
}

done_testing;
