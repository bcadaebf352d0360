# The fault proxy makes exactly the faults that a test asks for, because all
# other tests of faults depend on it.

use v5.36;
use AIChat::FaultProxy;
use AIChat::Proc qw(wait_for temp_dir remove_dir);
use Errno qw(ECONNREFUSED ECONNRESET);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

my $dir = temp_dir('ai-chat-t');

# A listening socket for the proxy to connect to.
sub behind ($kind)
{
	state $n = 0;
	return IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 256)
	    if $kind eq 'tcp';
	return IO::Socket::UNIX->new(Local => "$dir/behind" . ++$n,
	    Listen => 256);
}

sub proxy_to ($listener)
{
	my $is_tcp = $listener->isa('IO::Socket::INET');
	return AIChat::FaultProxy->start(name => 'p', log => "$dir/p.log",
	    $is_tcp ? (listen => 0, to => $listener->sockport)
	    : (listen => "$dir/p.sock", to => $listener->hostpath));
}

sub connect_to ($where)
{
	return $where =~ m{/} ? IO::Socket::UNIX->new(Peer => $where)
	    : IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => $where);
}

# Both ends of a new connection through the proxy.
sub pair ($p, $listener)
{
	my $client = connect_to($p->where) or die "could not connect: $!\n";
	IO::Select->new($listener)->can_read(5) or die "nobody came\n";
	return ($client, scalar $listener->accept);
}

# Returns the next bytes, '' at the end, undef when none come in time, and
# 'error' with the number of an error, such as that of a reset.
sub hear ($sock, $seconds = 5)
{
	IO::Select->new($sock)->can_read($seconds) or return ($! = 0, undef)[1];
	my $n = sysread $sock, my $bytes, 65536;
	return defined $n ? $bytes : 'error ' . ($! + 0);
}

sub hear_all ($sock, $n)
{
	my $got = '';
	while (length $got < $n) {
		my $more = hear($sock) // last;
		last if $more eq '';
		$got .= $more;
	}
	return $got;
}

sub is_dead ($sock)
{
	my $got = hear($sock) // 'nothing';
	return $got eq '' || $got eq 'error ' . (ECONNRESET + 0);
}

for my $kind (qw(tcp unix)) {
	my $listener = behind($kind);
	my $p = proxy_to($listener);

	# -- no fault
	my ($client, $server) = pair($p, $listener);
	syswrite $client, 'hello';
	is hear($server), 'hello', "$kind: bytes to the server arrive";
	syswrite $server, 'good day';
	is hear($client), 'good day', '... and bytes to the client';
	is_deeply $p->counts, { connections => 1, open => 1, up => 5,
	    down => 8, ended => 0, hung_up => 0 }, '... and is counted';
	shutdown $client, 1;
	is hear($server), '', '... the end of one direction arrives';
	syswrite $server, 'still here';
	is hear($client), 'still here', '... and the other direction goes on';
	close $server;
	is hear($client), '', '... until it ends, too';
	wait_for(sub { $p->counts->{open} == 0 }, 5, 'the connection to go');

	my $big = join '', map { chr(33 + $_ % 90) } 1 .. 3_000_000;
	($client, $server) = pair($p, $listener);
	if (!fork) {
		syswrite $client, $big;
		POSIX::_exit(0);
	}
	ok hear_all($server, length $big) eq $big,
	    '... three megabytes arrive unchanged';
	wait;

	# -- latency
	$p->fault(latency_ms => 200, jitter_ms => 50);
	my $start = time;
	syswrite $client, 'slow';
	is hear($server), 'slow', 'latency: bytes to the server arrive';
	my $up = time - $start;
	syswrite $server, 'too';
	is hear($client), 'too', '... and bytes to the client';
	my $both = time - $start;
	ok $up > 0.145 && $up < 1 && $both > 0.29 && $both < 2,
	    '... both with the latency'
	    or diag "$up $both";
	$p->fault(down => { latency_ms => 300 });
	$start = time;
	syswrite $client, 'fast';
	is hear($server), 'fast', 'latency of one direction: the other';
	ok time - $start < 0.29, '... has none';
	$p->fault(latency_ms => 50, jitter_ms => 50);
	syswrite $client, $_ for 'a' .. 'z';
	is hear_all($server, 26), join('', 'a' .. 'z'),
	    'jitter does not change the order';
	$p->fault(up => { first_ms => 300 });
	my ($new, $behind) = pair($p, $listener);
	$start = time;
	syswrite $new, 'first';
	is hear($behind), 'first', 'first_ms: the first bytes arrive';
	my $took = time - $start;
	$start = time;
	syswrite $new, 'next';
	is hear($behind), 'next', '... and the next ones';
	ok $took > 0.29 && time - $start < 0.25,
	    '... of which only the first are late'
	    or diag $took;
	close $_ for $new, $behind;

	# -- drip
	$p->fault(up => { drip_ms => 20 });
	$start = time;
	syswrite $client, 'x' x 10;
	is hear($server), 'x', 'drip: one byte arrives';
	is hear_all($server, 9), 'x' x 9, '... and then the others';
	ok time - $start > 0.17, '... each after the delay';

	# -- stall
	$p->fault(stall => 1);
	syswrite $client, 'held';
	is hear($server, 0.2), undef, 'stall: nothing passes';
	my $late = connect_to($p->where);
	ok $late, '... and connecting succeeds';
	$p->clear;
	is hear($server), 'held',
	    '... and all bytes pass when the fault is cleared';

	# -- ends
	is $p->cut_all, 2, 'cut_all returns the number of connections';
	ok is_dead($_), '... and both are closed' for $client, $late;
	$listener->accept;

	$p->fault(down => { cut => 7 });
	($client, $server) = pair($p, $listener);
	syswrite $server, '0123456789';
	is hear($client), '0123456', 'cut: that many bytes pass';
	ok is_dead($_), '... and both sides are closed' for $client, $server;

	$p->fault(down => { truncate => 4 });
	($client, $server) = pair($p, $listener);
	syswrite $server, '0123456789';
	is hear_all($client, 99), '0123',
	    'truncate: that many bytes pass, and then an end';
	syswrite $client, 'more';
	is hear($server), 'more', '... and the other direction goes on';
	syswrite $server, '0123456789' x 1000;
	close $client;
	is hear($server), '', '... until the receiver closes';

	$p->fault(up => { cut => 3 }, times => 1);
	my @pairs = map { [ pair($p, $listener) ] } 1, 2;
	syswrite $_->[0], 'abcdef' for @pairs;
	is hear_all($pairs[0][1], 6), 'abc',
	    'times => 1: the first connection has the fault';
	is hear_all($pairs[1][1], 6), 'abcdef', '... and the second has none';

	$p->fault(lose_reply => [ 'COMMIT', 'DONE' ]);
	($client, $server) = pair($p, $listener);
	syswrite $client, 'BEGIN';
	is hear($server), 'BEGIN',
	    'lose_reply: a request before the lost one passes';
	syswrite $server, 'DONE';
	is hear($client), 'DONE', '... and its reply';
	syswrite $client, 'COM';
	is hear($server), 'COM', '... the request passes, too';
	syswrite $client, 'MIT';
	is hear($server), 'MIT', '... in two pieces';
	syswrite $server, 'xDO';
	is hear($client, 0.1), undef, '... its reply does not';
	ok $p->counts->{open} >= 1, '... and nothing is closed yet';
	syswrite $server, 'NEx';
	is hear($client), '', '... until the reply is complete';

	# -- refused connections
	$p->fault(refuse => 1);
	my $refused = connect_to($p->where);
	ok !$refused && $! == ECONNREFUSED, 'refuse: connecting is refused';
	$p->fault(hangup => 1);
	$client = connect_to($p->where);
	ok is_dead($client), 'hangup: the connection is accepted and closed';
	is $p->counts->{hung_up}, 1, '... and counted';
	$p->clear;
	($client, $server) = pair($p, $listener);
	ok $server, 'after clear the proxy accepts connections again';
	close $listener;
	my $orphan = connect_to($p->where);
	ok is_dead($orphan),
	    'no server behind the proxy: the connection is closed';

	ok !eval { $p->fault(latencyms => 1); 1 },
	    'an unknown fault is an error';
	ok $p->stop, 'the proxy ends on stop';
}

# -- an RST, which only TCP has
{
	my $listener = behind('tcp');
	my $p = proxy_to($listener);
	$p->fault(down => { reset => 5 });
	my ($client, $server) = pair($p, $listener);
	syswrite $server, '0123456789';
	is hear($client), '01234', 'reset: that many bytes pass';
	is hear($_), 'error ' . (ECONNRESET + 0), '... and then an RST'
	    for $client, $server;
	$p->clear;
	($client, $server) = pair($p, $listener);
	$p->cut_all('reset');
	is hear($client), 'error ' . (ECONNRESET + 0),
	    'cut_all(reset): an RST to all connections';

	# The proxy passes an RST of one side to the other side.
	($client, $server) = pair($p, $listener);
	setsockopt $server, Socket::SOL_SOCKET, Socket::SO_LINGER,
	    pack 'ii', 1, 0;
	close $server;
	is hear($client), 'error ' . (ECONNRESET + 0),
	    'an RST of the server reaches the client';

	$p->fault(chance => 0.5, up => { cut => 0 });
	my @pairs = map { [ pair($p, $listener) ] } 1 .. 60;
	syswrite $_->[0], 'x' for @pairs;
	my $passed = grep { (hear($_->[1]) // '') eq 'x' } @pairs;
	ok $passed > 10 && $passed < 50,
	    'chance: some connections have the fault, and some do not'
	    or diag $passed;
	$p->stop;
}

# -- many at once
{
	my $listener = behind('unix');
	my $p = proxy_to($listener);
	my @pairs = map { [ pair($p, $listener) ] } 1 .. 100;
	my %echo = map { ($_->[1] => 1) } @pairs;
	my $select = IO::Select->new(map { @$_ } @pairs);
	my ($trips, $start) = (0, time);

	syswrite $_->[0], 'x' x 2000 for @pairs;
	while ($trips < 5000) {
		my @ready = $select->can_read(10) or last;
		for my $sock (@ready) {
			sysread $sock, my $bytes, 65536 or next;
			$trips++ if !$echo{$sock};
			syswrite $sock, $bytes;
		}
	}
	cmp_ok $trips, '>=', 5000,
	    'a hundred connections, five thousand round trips';
	note sprintf '%.0f a second', $trips / (time - $start);
	my $pid = $p->{proc}->pid;
	undef $p->{control};
	wait_for(sub { !$p->{proc}->alive }, 5, 'the proxy to end');
	is $p->{proc}->status, 0,
	    'the proxy ends when the test closes its control connection';
}

is AIChat::Proc::slurp("$dir/p.log"), '', 'the log of the proxy is empty';
remove_dir($dir);
done_testing;
