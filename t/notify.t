# The messages of a worker to the service manager: ready, stopping, and a ping
# of the watchdog as long as no request hangs.

use v5.36;
use utf8;
use AIChat::DeadDNS;
use AIChat::Proc qw(slurp);
use AIChat::Test;
use IO::Select;
use IO::Socket::UNIX;
use Socket qw(SOCK_DGRAM);
use Time::HiRes qw(time);

my $s = AIChat::Test->new(workers => 0, env => {
	AI_CHAT_DEADLINE_MS => 1400,
	AI_CHAT_DB_TIMEOUT_MS => 100,
	AI_CHAT_THREADS => 2,
});
my $dir = $s->dir;

# The socket of the service manager.
sub listen_at ($path)
{
	return IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path)
	    // die "could not listen: $!\n";
}

# The next message; undef when none arrives in time.
sub hear ($sock, $seconds = 5)
{
	IO::Select->new($sock)->can_read($seconds) or return;
	$sock->recv(my $text, 4096);
	return $text;
}

# Starts a worker without waiting until it answers.
sub launch ($socket, %env)
{
	my $settings = $s->stack->settings;
	%$settings = (%$settings, NOTIFY_SOCKET => $socket, %env);
	delete @$settings{ grep { !defined $settings->{$_} } keys %$settings };
	return $s->stack->launch_worker(1);
}

# -- ready, ping, stopping
# ------------------------------------------------------

my $manager = listen_at("$dir/notify");
{
	my $worker = launch("$dir/notify", WATCHDOG_USEC => 600_000);
	is hear($manager), 'READY=1', 'a worker reports that it is ready';
	ok $s->stack->worker_answers(1), '... and answers';
	my $start = time;
	is hear($manager), 'WATCHDOG=1', 'then it pings the watchdog'
	    for 1 .. 4;
	my $took = time - $start;
	ok $took > 0.3 && $took < 2, '... three times in each interval'
	    or diag $took;

	# A busy worker pings, too.
	$s->stack->start_nginx;
	my @socks = $s->start_chats({ telegram_id => 1,
	    message => '[[delay=700]]' });
	wait_for(sub { $s->model_counts->{pending} == 1 }, 5, 'a chat');
	kill $_, $worker->pid for qw(HUP USR1 TERM);
	my @said;
	wait_for(sub {
		my $text = hear($manager, 0) // '';
		push @said, $text if $text ne '';
		return !$worker->alive;
	}, 5, 'the worker to end');
	is((grep { $_ eq 'STOPPING=1' } @said), 1,
	    'on SIGTERM it reports that it stops');
	my ($at) = grep { $said[$_] eq 'STOPPING=1' } 0 .. $#said;
	cmp_ok scalar(grep { $_ eq 'WATCHDOG=1' } @said[$at .. $#said]), '>=',
	    1, '... and pings as long as a chat is in flight';
	is $worker->status, 0, '... and exits with 0';
	my ($got) = finish_chats(@socks);
	is $got->{status}, 200, '... and the chat is answered';
}

# -- sockets and settings
# ---------------------------------------------------------

{
	my $abstract = listen_at("\0$dir/abstract");
	my $worker = launch("\@$dir/abstract", WATCHDOG_USEC => undef);
	is hear($abstract), 'READY=1', 'an abstract socket';
	is hear($abstract, 0.5), undef, '... and no pings without a watchdog';
	$worker->signal('TERM');
	is hear($abstract), 'STOPPING=1', '... and STOPPING at the end';
	wait_for(sub { !$worker->alive }, 5, 'the end');

	$worker = launch("\@$dir/abstract", WATCHDOG_USEC => 100_000,
	    WATCHDOG_PID => 1);
	is hear($abstract), 'READY=1', 'with the watchdog of another process';
	is hear($abstract, 0.5), undef, '... there are no pings';
	$worker->stop;
}

{
	my $worker = launch("$dir/notify", WATCHDOG_PID => undef,
	    OPENAI_BASE_URL => 'ftp://x');
	wait_for(sub { !$worker->alive }, 5, 'the end');
	is hear($manager, 0), undef,
	    'with invalid settings it never reports that it is ready';
	$s->expect_log(qr/OPENAI_BASE_URL must start/);
	my $port = $s->stack->model_port;
	for my $where ("$dir/nobody-there", 'nonsense', '@', "/$dir" x 20) {
		launch($where, OPENAI_BASE_URL => "http://127.0.0.1:$port/v1");
		$s->stack->wait_for_worker(1);
		is $s->send(telegram_id => 2)->{status}, 200,
		    'a worker serves without reaching the service manager';
		$s->stack->stop_worker(1);
	}
	like $s->worker_log(1), qr/event=notify text="could not notify/,
	    '... and logs that';
}

# -- a request that hangs ----------------------------------------------------

# libpq looks up the names of databases, and waits for the name server without
# regard to any deadline.
SKIP: {
	skip 'unshare is not permitted here', 3
	    if !AIChat::DeadDNS::is_permitted();
	$s->stack->{wrap} = [ AIChat::DeadDNS::wrap("$dir/resolv.conf",
	    'timeout:15 attempts:2') ];
	launch("$dir/notify", WATCHDOG_USEC => 600_000,
	    DATABASE_URL => 'postgresql://db.example/x');
	$s->stack->wait_for_worker(1);
	my ($sock) = $s->start_chats({ telegram_id => 3 });
	my ($start, $last) = (time, 0);
	while (my $text = hear($manager, 1)) {
		$last = time - $start if $text eq 'WATCHDOG=1';
		last if $last > 15;
	}
	cmp_ok $last, '<', 1.4 + 5 + 0.5,
	    'a request that hangs beyond its deadline: no more pings';
	cmp_ok $last, '>', 1.4 + 5 - 0.5, '... and pings until then';
	like $s->worker_log(1), qr/event=watchdog .*a request is stuck/,
	    '... and the log has the reason';
	$s->expect_log(qr/a request is stuck/, qr/prematurely closed/);
	$s->kill_worker(1);
}

done_testing;
