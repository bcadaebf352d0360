package AIChat::FaultProxy;

# A proxy between any two parts that injects faults of networks and of crashed
# processes into their connections.
#
#	my $p = AIChat::FaultProxy->start(name => 'model', listen => 0,
#	    to => $port);
#	$p->fault(latency_ms => 50, jitter_ms => 20);
#	$p->fault(down => { truncate => 100 }, chance => 0.3);
#	$p->clear;
#
# The proxy is a process of its own, which ends with the process that started
# it. Every call is acknowledged: when it returns, the faults apply to open
# connections and to new ones.
#
# listen and to are a path (a unix socket) or a port of 127.0.0.1; 0 picks a
# free one. A connection is accepted before the one to the server is opened, so
# a client that is refused sees a connection that is closed at once.

use v5.36;
use AIChat::Proc qw(base_env);
use Errno qw(EAGAIN EINPROGRESS EINTR);
use Fcntl qw(F_SETFD);
use IO::Handle;
use IO::Select;
use JSON::PP ();
use List::Util qw(min);
use Socket;
use Time::HiRes qw(time);

my $JSON = JSON::PP->new->ascii->canonical;

# Faults of the bytes in one direction: "up" is towards the server.
my %DIRECTION = map { $_ => 1 } (
	'latency_ms',	# each piece is delayed by this
	'jitter_ms',	# give or take this
	'first_ms',	# ... and the first piece of a connection by this, too
	'drip_ms',	# drip_bytes at a time (default 1), then this pause
	'drip_bytes',
	'stall',	# nothing is passed on; all connections stay open
	# After so many more bytes, 0 for the next one:
	'cut',		# both sides are closed
	'reset',	# both sides are reset; over TCP with an RST
	'truncate',	# the receiver sees an orderly end, the rest is lost
);

# Faults of a connection as a whole.
my %WHOLE = map { $_ => 1 } (
	'refuse',	# the proxy does not listen
	'hangup',	# new connections are accepted and closed
	# [ $request, $response ]: after the client has sent the bytes $request,
	# nothing is passed back to it. When the server has sent $response, both
	# sides are closed.
	'lose_reply',
	'chance',	# probability that a connection has the faults, 0 to 1
	'old',		# only connections that are open now have the faults
	'times',	# cut, reset, truncate and lose_reply happen so often
);

# -- for the test ------------------------------------------------------------

#   name     for messages
#   listen, to
#   log      file for errors of the proxy itself
sub start ($class, %o)
{
	socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, 0
	    or die "could not make a pair of sockets: $!\n";
	# This descriptor must survive exec; the others must not.
	fcntl $theirs, F_SETFD, 0;
	my $self = bless { control => $ours, name => $o{name} }, $class;
	$self->{proc} = AIChat::Proc->start(
		name => "the proxy $o{name}",
		cmd => [ $^X, '-I' . (__FILE__ =~ s{/AIChat/[^/]+$}{}r),
		    '-MAIChat::FaultProxy', '-e',
		    'AIChat::FaultProxy::main(@ARGV)', fileno $theirs,
		    $o{listen}, $o{to} ],
		env => { base_env() }, log => $o{log} // '/dev/null');
	close $theirs;
	$self->{where} = $self->hear->{where};
	return $self;
}

# The address to connect to: a path or a port.
sub where ($self) { return $self->{where} }
sub name ($self) { return $self->{name} }

# Replaces the faults. Names of %DIRECTION hold for both directions, unless they
# are inside up => {} or down => {}.
sub fault ($self, %f)
{
	my %both = map { exists $f{$_} ? ($_ => delete $f{$_}) : () }
	    keys %DIRECTION;
	my %set = map { $_ => { %both, %{ delete $f{$_} // {} } } } qw(up down);
	my @unknown = (grep({ !$WHOLE{$_} } keys %f),
	    grep { !$DIRECTION{$_} } map { keys %{ $set{$_} } } qw(up down));

	die "no such fault: @unknown\n" if @unknown;
	$self->ask(fault => { %set, whole => \%f });
	return $self;
}

sub clear ($self) { return $self->fault }

# Ends all connections, like "cut" or like "reset".
sub cut_all ($self, $how = 'cut')
{
	return $self->ask(cut_all => $how)->{cut};
}

#   connections  accepted so far
#   open         now
#   up, down     bytes passed on
#   ended        connections that a fault has ended
#   hung_up      connections closed at once, or without a server
sub counts ($self) { return $self->ask(counts => undef) }

sub stop ($self)
{
	close $self->{control};
	return $self->{proc}->stop('TERM', 5);
}

sub ask ($self, $what, $arg)
{
	local $SIG{PIPE} = 'IGNORE';
	syswrite $self->{control}, $JSON->encode([ $what, $arg ]) . "\n";
	return $self->hear;
}

sub hear ($self)
{
	my $control = $self->{control};
	my $line = '';

	while ($line !~ /\n/) {
		IO::Select->new($control)->can_read(20)
		    && sysread $control, $line, 65536, length $line
		    or die "the proxy $self->{name} does not answer\n";
	}
	my $said = $JSON->decode($line);
	die "the proxy $self->{name}: $said->{error}\n" if $said->{error};
	return $said;
}

# -- the process -------------------------------------------------------------

# One loop. The sets for select(2) are updated where they change, so a turn
# costs time for the events, not for all connections.

# The size of one read, and how much may be queued in a direction before reading
# from the sender stops.
use constant { PIECE => 65536, QUEUE_MAX => 1024 * 1024 };

my ($control, $listener, $listen, $to);
my %faults = (up => {}, down => {}, whole => {});
my %n = map { $_ => 0 } qw(connections open up down ended hung_up);
my ($reads, $writes) = ('', '');
my %reader;	# by descriptor: what to do when it is readable
my %writer;	# or writable
my %conns;
my %timed;	# directions whose next piece is not due yet

sub main ($fd, @where)
{
	$SIG{PIPE} = 'IGNORE';
	($listen, $to) = @where;
	$control = IO::Handle->new_from_fd($fd, 'r+') or die "fd $fd: $!\n";
	start_listening();
	read_from($control, \&obey);
	answer({ where => $listen });
	turn() while $control;
}

sub turn
{
	my $now = time;
	my $next = min(map { $_->{queue}[0][0] } values %timed);
	my $wait = !defined $next ? undef : $next > $now ? $next - $now : 0;
	my ($r, $w) = ($reads, $writes);

	my $n = select $r, $w, undef, $wait;
	if ($n > 0) {
		for ([ $r, \%reader ], [ $w, \%writer ]) {
			my ($bits, $todo) = @$_;
			my @ready;
			$bits = unpack 'b*', $bits;
			push @ready, pos($bits) - 1 while $bits =~ /1/g;
			for my $fd (@ready) {
				# An earlier one of this turn may have closed
				# it.
				my $do = $todo->{$fd} or next;
				$do->();
			}
		}
	}
	$now = time;
	pump($_) for grep { $_->{queue}[0][0] <= $now } values %timed;
}

sub read_from ($fh, $do)
{
	my $fd = fileno $fh;

	vec($reads, $fd, 1) = $do ? 1 : 0;
	$do ? $reader{$fd} = $do : delete $reader{$fd};
}

sub write_to ($fh, $do)
{
	my $fd = fileno $fh;

	vec($writes, $fd, 1) = $do ? 1 : 0;
	$do ? $writer{$fd} = $do : delete $writer{$fd};
}

# -- steering

sub answer ($what) { syswrite $control, $JSON->encode($what) . "\n" }

my $heard = '';
sub obey
{
	if (!sysread $control, $heard, PIECE, length $heard) {
		undef $control;
		return;
	}
	while ($heard =~ s/^(.*)\n//) {
		my ($what, $arg) = @{ $JSON->decode($1) };
		answer(eval { carry_out($what, $arg) } // { error => "$@" });
	}
}

sub carry_out ($what, $arg)
{
	return { %n } if $what eq 'counts';
	if ($what eq 'cut_all') {
		my @all = values %conns;
		end_conn($_, $arg) for @all;
		$n{ended} += @all;
		return { cut => scalar @all };
	}
	%faults = %$arg;
	start_listening() if !$listener && !$faults{whole}{refuse};
	stop_listening() if $listener && $faults{whole}{refuse};
	for my $c (values %conns) {
		strike($c, 1);
		pump($_) for grep { !$_->{done} } @$c{qw(up down)};
	}
	return {};
}

# Chooses the faults of a connection.
sub strike ($c, $is_old = 0)
{
	my $hit = rand() < ($faults{whole}{chance} // 1)
	    && ($is_old || !$faults{whole}{old});

	for my $d (@$c{qw(up down)}) {
		$d->{faults} = $hit ? $faults{ $d->{name} } : {};
		$d->{passed} = 0;
		$d->{seen} = '';
	}
	$c->{lose} = $hit ? $faults{whole}{lose_reply} : undef;
	$c->{losing} = 0;
}

# Whether the limit of `times' allows one more.
sub is_left
{
	my $whole = $faults{whole};

	return 1 if !defined $whole->{times};
	return $whole->{times}-- > 0;
}

# -- connections

sub address ($where)
{
	return $where =~ m{/} ? (AF_UNIX, pack_sockaddr_un($where))
	    : (AF_INET, pack_sockaddr_in($where, INADDR_LOOPBACK));
}

sub start_listening
{
	my ($family, $address) = address($listen);

	unlink $listen if $family == AF_UNIX;
	socket $listener, $family, SOCK_STREAM, 0 or die "socket: $!\n";
	setsockopt $listener, SOL_SOCKET, SO_REUSEADDR, 1;
	bind $listener, $address or die "could not bind $listen: $!\n";
	chmod 0666, $listen if $family == AF_UNIX;
	listen $listener, 4096 or die "could not listen on $listen: $!\n";
	$listener->blocking(0);
	$listen = (unpack_sockaddr_in(getsockname $listener))[0] if !$listen;
	read_from($listener, \&take_conn);
}

sub stop_listening
{
	read_from($listener, undef);
	close $listener;
	undef $listener;
}

sub plain_socket ($fh)
{
	$fh->blocking(0);
	# Fails on a unix socket, where it is not needed.
	setsockopt $fh, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1;
}

sub take_conn
{
	while (accept my $client, $listener) {
		$n{connections}++;
		my ($family, $address) = address($to);
		socket my $server, $family, SOCK_STREAM, 0 or die "socket: $!\n";
		plain_socket($_) for $client, $server;
		if ($faults{whole}{hangup}
		    || !(connect($server, $address) || $! == EINPROGRESS)) {
			$n{hung_up}++;
			next;
		}
		my $c = { client => $client, server => $server };
		$c->{up} = { name => 'up', conn => $c, from => $client,
		    to => $server, queue => [], size => 0 };
		$c->{down} = { name => 'down', conn => $c, from => $server,
		    to => $client, queue => [], size => 0 };
		$conns{$c} = $c;
		$n{open}++;
		strike($c);
		pump($_) for @$c{qw(up down)};
	}
}

sub end_conn ($c, $how)
{
	delete $conns{$c} or return;
	$n{open}--;
	delete @timed{ @$c{qw(up down)} };
	for my $fh (@$c{qw(client server)}) {
		read_from($fh, undef);
		write_to($fh, undef);
		setsockopt $fh, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0
		    if $how eq 'reset';
		close $fh;
	}
	$_->{done} = 1, $_->{conn} = undef for @$c{qw(up down)};
}

# -- bytes

sub can_read ($d)
{
	my $got = sysread $d->{from}, my $bytes, PIECE;

	if (!defined $got) {
		return if $! == EAGAIN || $! == EINTR;
		# The other side is ended in the same way.
		end_conn($d->{conn}, 'reset');
	} elsif ($got == 0) {
		$d->{eof} = 1;
		add_piece($d, undef);
	} elsif (!$d->{lost} && look_for_reply($d, $bytes)) {
		add_piece($d, $bytes);
	}
}

# Whether the faults let these bytes pass.
sub look_for_reply ($d, $bytes)
{
	my $c = $d->{conn};
	my $lose = $c->{lose} or return 1;
	my $is_up = $d->{name} eq 'up';

	return 1 if !$is_up && !$c->{losing};
	my $pattern = $lose->[ $is_up ? 0 : 1 ];
	$d->{seen} .= $bytes;
	my $found = index($d->{seen}, $pattern) >= 0;
	# The text may arrive in two pieces.
	my $keep = length($pattern) - 1;
	$d->{seen} = $keep ? substr $d->{seen}, -min($keep, length $d->{seen})
	    : '';
	if ($is_up) {
		$c->{losing} ||= $found && is_left();
		return 1;
	}
	$n{ended}++, end_conn($c, 'cut') if $found;
	return 0;
}

sub add_piece ($d, $bytes)
{
	my ($f, $queue) = @$d{qw(faults queue)};
	my $due = 0;

	my $first = $d->{begun}++ ? 0 : $f->{first_ms} // 0;
	if ($f->{latency_ms} || $f->{jitter_ms} || $first) {
		my $jitter = ($f->{jitter_ms} // 0) * (2 * rand() - 1);
		my $ms = ($f->{latency_ms} // 0) + $jitter + $first;
		$due = time + ($ms > 0 ? $ms : 0) / 1000;
	}
	# Not before any earlier piece.
	$due = $queue->[-1][0] if @$queue && $queue->[-1][0] > $due;
	push @$queue, [ $due, $bytes ];
	$d->{size} += length($bytes // '');
	pump($d);
}

# Passes on the pieces that are due, and watches for the rest.
sub pump ($d)
{
	my $blocked;

	while (!$d->{done} && !$d->{faults}{stall} && @{ $d->{queue} }
	    && $d->{queue}[0][0] <= time) {
		$blocked = !pass_piece($d);
		last if $blocked;
	}
	return if !$d->{conn};
	my $open = !$d->{done} && !$d->{faults}{stall};
	my $later = $open && @{ $d->{queue} } && !$blocked;
	$later ? $timed{$d} = $d : delete $timed{$d};
	write_to($d->{to}, $blocked ? sub { pump($d) } : undef);
	read_from($d->{from}, $open && !$d->{eof} && $d->{size} < QUEUE_MAX
	    ? sub { can_read($d) } : undef);
}

# Writes the next piece, or as much of it as it may; false when the receiver
# accepts nothing now.
sub pass_piece ($d)
{
	my ($f, $piece) = ($d->{faults}, $d->{queue}[0]);

	if (!defined $piece->[1]) {
		end_direction($d);
		return 1;
	}
	my $most = length $piece->[1];
	my ($how) = grep { defined $f->{$_} } qw(cut reset truncate);
	if ($how) {
		my $left = $f->{$how} - $d->{passed};
		return 1 if $left <= 0 && end_early($d, $how);
		$most = min($most, $left) if $left > 0;
	}
	$most = min($most, $f->{drip_bytes} // 1) if $f->{drip_ms};
	my $sent = syswrite $d->{to}, $piece->[1], $most;
	if (!defined $sent) {
		return 0 if $! == EAGAIN || $! == EINTR;
		end_direction($d);
		return 1;
	}
	$n{ $d->{name} } += $sent;
	$d->{passed} += $sent;
	$d->{size} -= $sent;
	substr $piece->[1], 0, $sent, '';
	shift @{ $d->{queue} } if $piece->[1] eq '';
	$d->{queue}[0][0] = time + $f->{drip_ms} / 1000
	    if $f->{drip_ms} && @{ $d->{queue} };
	# At once, because another byte may never arrive.
	end_early($d, $how) if $how && $d->{passed} >= $f->{$how};
	return 1;
}

# False when the fault has happened often enough.
sub end_early ($d, $how)
{
	if (!is_left()) {
		$d->{faults} = { %{ $d->{faults} } };
		delete $d->{faults}{$how};
		return 0;
	}
	$n{ended}++;
	if ($how ne 'truncate') {
		end_conn($d->{conn}, $how);
		return 1;
	}
	$d->{lost} = 1;
	delete $timed{$d};
	$d->{queue} = [];
	$d->{size} = 0;
	shutdown $d->{to}, 1;
	# Later bytes are read and dropped, so that the sender does not block.
	$d->{faults} = {};
	return 1;
}

sub end_direction ($d)
{
	my $c = $d->{conn};

	$d->{done} = 1;
	$d->{queue} = [];
	delete $timed{$d};
	shutdown $d->{to}, 1;
	end_conn($c, 'close') if $c->{up}{done} && $c->{down}{done};
}

1;
