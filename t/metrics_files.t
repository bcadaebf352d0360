# The files of AI_CHAT_METRICS_DIR on a full volume, and truncated by another
# process: a worker does not depend on them.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Test;
use POSIX ();
use Test::More ();
use Time::HiRes ();

my @unshare = ('/usr/bin/unshare', $> == 0 ? '-m' : '-rm');
my $can_mount = system(@unshare, 'sh', '-c',
    'mount -t tmpfs -o size=8k none /tmp 2>/dev/null') == 0;

my $s = AIChat::Test->new(workers => 2);
$s->expect_log(qr/event=metrics\b/, qr/connect\(\) to unix:\S+ failed/);
my $dir = $s->stack->run_dir . '/metrics';

sub scrape { return $s->get('/metrics', headers => { 'X-API-KEY' => undef }) }

# -- truncated ---------------------------------------------------------------

# The file of another worker, again and again while it is read.
$s->kill_worker(2, 'TERM');
ok -s "$dir/2.metrics", 'a worker that has exited leaves its file';
my $size = -s "$dir/2.metrics";
my $bytes = slurp("$dir/2.metrics");
my $test = $$;
my $pid = fork // die "could not fork: $!\n";
if (!$pid) {
	while (getppid == $test) {
		open my $f, '+<', "$dir/2.metrics" or POSIX::_exit(1);
		syswrite $f, $bytes;
		# Sometimes in the middle of a scrape.
		Time::HiRes::sleep(rand 0.0005);
		truncate $f, 0;
	}
	POSIX::_exit(0);
}
my @got = map { scrape()->{status} } 1 .. 300;
kill 'KILL', $pid;
waitpid $pid, 0;
is $?, 9, 'the process that truncates the file runs until it is killed';
AIChat::Proc::spew("$dir/2.metrics", $bytes);
is((grep { $_ != 200 } @got), 0,
    'a file that is truncated while /metrics is read: 300 scrapes are answered');

# The worker's own file, while the worker counts.
truncate "$dir/1.metrics", 0 or die "$dir/1.metrics: $!\n";
is $s->send(telegram_id => 1)->{status}, 200,
    "a worker's own file is truncated: it answers";
my $text = scrape()->{content};
like $text, qr/^ai_chat_chats_total\{worker="1",outcome="answered"\} 1$/m,
    '... and continues to count';
wait_for(sub { $s->worker_log(1) =~ /event=metrics .*was truncated/ }, 5,
    'the line in the log');
$s->restart_worker(1);
is -s "$dir/1.metrics", $size,
    '... and after its next start the file is complete';

# -- full --------------------------------------------------------------------

SKIP: {
	Test::More::skip('cannot mount here', 3) if !$can_mount;
	$s->stack->{wrap} = [ @unshare, 'sh', '-c', "mount -t tmpfs -o size=8k"
	    . " none $dir && head -c 64k /dev/zero >$dir/full 2>/dev/null;"
	    . ' exec "$@"', 'sh' ];
	ok eval { $s->start_worker(2); 1 },
	    'on a full volume a worker starts' or diag $@;
	like $s->worker_log(2), qr/event=metrics .*No space left on device/,
	    '... and the log has the reason why its metrics are missing';
	$s->kill_worker(1, 'TERM');
	is $s->send(telegram_id => 2)->{status}, 200, '... and answers';
}

done_testing;
