# What a process with access to a worker's socket could do. First, no other user
# has access. Then, it occupies a thread for seconds only, or crashes one
# worker, which is restarted.

use v5.36;
use utf8;
use AIChat::FastCGI;
use AIChat::Proc qw(slurp);
use AIChat::Test;
use IO::Select;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

# Twelve threads a worker: four for chats and eight more.
my $s = AIChat::Test->new(workers => 2, env => { AI_CHAT_THREADS => 4 });
my ($path, $second) = map { $s->stack->socket_of($_) } 1, 2;
$s->expect_log(qr/upstream prematurely closed/, qr/recv\(\) failed/,
    qr/connect\(\) to unix:\S+ failed/);

# -- who may connect ---------------------------------------------------------

# Connects as another user; returns the error.
sub try_as_nobody
{
	my $say = 'use IO::Socket::UNIX; print IO::Socket::UNIX->new(Peer =>'
	    . ' $ARGV[0]) ? "connected" : 0 + $!';
	my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
	my $got = AIChat::Proc::run([ 'setpriv', "--reuid=$uid",
	    "--regid=$gid", '--clear-groups', '--', $^X, '-e', $say, $path ]);
	return $got =~ /^\d+$/ ? do { local $! = $got; "$!" } : $got;
}

my $unit = slurp(AIChat::Stack::top() . '/systemd/ai-chat-worker@.service');
SKIP: {
	skip 'only root can change the user', 4 if $> != 0;
	my $run = $s->stack->run_dir;
	my ($mode) = $unit =~ /spawn-fcgi .* -M (\d+) /;
	my ($dir_mode) = $unit =~ /^RuntimeDirectoryMode=(\d+)/m;
	my $old = (stat $run)[2] & 07777;

	is sprintf('%04o', (stat $path)[2] & 07777), $mode,
	    'the socket has the mode that the unit gives it';
	is try_as_nobody(), 'Permission denied',
	    'another user cannot connect to the socket of a worker';
	chmod 0666, $path;
	is try_as_nobody(), 'connected', '... which only its mode prevents';
	chmod oct $dir_mode, $run;
	is try_as_nobody(), 'Permission denied',
	    '... and so does the directory';
	chmod $old, $run;
	chmod oct $mode, $path;
}

# -- peers that occupy a thread
# ---------------------------------------------------

my $begin = AIChat::FastCGI::record(1, pack 'nCx5', 1, 0);
my $keep = AIChat::FastCGI::record(1, pack 'nCx5', 1, 1);
my $params = AIChat::FastCGI::record(4, "\x0b\x03CONTENT_LENGTH100");
my %pins = (
	'silence' => '',
	'one byte' => "\x01",
	'half a record' => substr($begin, 0, 12),
	'a beginning' => $begin,
	'a request to keep the connection' => $keep . $params,
	'half of the parameters' => $begin . $params,
	'a parameter of 1.9 GB' => $begin
	    . AIChat::FastCGI::record(4, "\x01" . pack('N', 0xf1400000) . 'A'),
	'a body that does not come' => $begin . AIChat::FastCGI::record(4,
	    join '', map { AIChat::FastCGI::length_of($_->[0])
		. AIChat::FastCGI::length_of($_->[1]) . "$_->[0]$_->[1]" }
		[ CONTENT_LENGTH => 1000 ], [ REQUEST_METHOD => 'POST' ],
		[ DOCUMENT_URI => '/v1/chat/reset-limit' ],
		[ HTTP_X_API_KEY => $AIChat::Test::KEY ])
	    . AIChat::FastCGI::record(4, ''),
);

sub abuse ($bytes, $where = $path)
{
	my $sock = IO::Socket::UNIX->new(Peer => $where)
	    or die "could not connect: $!\n";
	syswrite $sock, $bytes if length $bytes;
	return $sock;
}

sub serves ($n)
{
	my ($status) = AIChat::FastCGI::request($s->stack->socket_of($n),
	    { DOCUMENT_URI => '/health', X_REQUEST_ID => 'x' });
	return ($status // 0) == 200;
}

sub is_closed ($sock)
{
	return IO::Select->new($sock)->can_read(0)
	    && !sysread $sock, my $answer, 65536;
}

# One of each kind at the first worker; at the second one more than it has
# threads.
{
	my $start = time;
	my @kinds = sort keys %pins;
	my @socks = map { abuse($pins{$_}) } @kinds;
	my @many = map { abuse($pins{'one byte'}, $second) } 1 .. 20;
	wait_for(sub { $s->taken(1) >= @socks && $s->taken(2) >= 12 }, 5,
	    'the worker to accept them');
	for (1 .. 10) {
		serves(1) or fail('a worker with eight silent peers answers');
	}
	cmp_ok time - $start, '<', 2,
	    'one of each kind of silent peer: the worker answers at once';
	for my $i (0 .. $#kinds) {
		ok wait_for(sub { is_closed($socks[$i]) }, 8,
		    "the end of $kinds[$i]"), "$kinds[$i]: closed in time";
	}
	ok serves(2), 'peers that held all threads of a worker: it answers '
	    . 'when their time is over';
	my @got = $s->send_many(map { { telegram_id => $_ } } 1 .. 8);
	is((grep { $_->{status} == 200 } @got), 8, '... and answers chats');
	cmp_ok time - $start, '<', 20, '... soon';
	ok $s->stack->worker($_)->alive,
	    "... worker $_ was not restarted" for 1, 2;
}

# A body of another length than announced: Nginx sends none, so it is an error
# or an attack.
for my $case ([ shorter => 1000, 499 ], [ longer => 5, 422 ]) {
	my ($how, $length, $expected) = @$case;
	my ($status) = AIChat::FastCGI::request($path, {
	    REQUEST_METHOD => 'POST', DOCUMENT_URI => '/v1/chat/send',
	    HTTP_X_API_KEY => $AIChat::Test::KEY, X_REQUEST_ID => 'x',
	    CONTENT_LENGTH => $length },
	    '{"telegram_id":77,"message":"x"}');
	is $status, $expected, "a body $how than it was announced is no chat";
	is_deeply $s->ledger(77), { count => 0, rows => 0, leases => 0 },
	    '... and costs nothing';
}

# -- crashes
# --------------------------------------------------------------------

# These are faults of libfcgi. Only Nginx may connect, and it sends no such
# records.
my %kills = (
	'a flood of FCGI_GET_VALUES' => join('', (pack('CCnnCC', 1, 9, 0,
	    16 * 50, 0, 0) . "\x0e\x00FCGI_MAX_CONNS" x 50) x 20),
	'a parameter of 4 GB' => $begin . AIChat::FastCGI::record(4,
	    pack('NN', 0xfffffffe, 0xfffffffe) . 'A' x 40),
);
# A sanitizer would report them as ours.
my $sanitized = qx(ldd '@{[ AIChat::Stack::find_build() ]}/ai-chat-worker')
    =~ /lib(?:asan|tsan)/;
for my $what ($sanitized ? () : sort keys %kills) {
	my $sock = abuse($kills{$what});
	shutdown $sock, 1;
	my $died = $s->may_die(1, 3);
	is $s->send(telegram_id => 3)->{status}, 200,
	    "$what " . ($died ? 'kills a worker: the other' : 'does no harm: it')
	    . ' goes on';
	next if !$died;
	is $s->stack->worker(1)->how_it_ended, 'was ended by signal 6',
	    '... by abort(), which the service manager sees';
	$s->start_worker(1);
	ok serves(1), '... and after a restart it serves';
}
like $unit, qr/^Restart=on-failure$/m, 'the unit restarts it';

# Random noise must not harm a worker.
{
	srand 451;
	my $pid = $s->worker_pid(1);
	for (1 .. 300) {
		my $bytes = join '', map { chr int rand 256 } 1 .. rand 200;
		# With valid versions and kinds more often than by chance.
		substr $bytes, 0, 2, pack 'CC', 1, 1 + int rand 8
		    if rand() < 0.7;
		my $sock = abuse($bytes);
		shutdown $sock, 1;
	}
	wait_for(sub { serves(1) }, 20, 'the worker to answer');
	is $s->worker_pid(1), $pid,
	    'after three hundred noisy connections the worker is the same';
	my @got = $s->send_many(map { { telegram_id => 10 + $_ } } 1 .. 4);
	is((grep { $_->{status} == 200 } @got), 4, '... and serves');
}

done_testing;
