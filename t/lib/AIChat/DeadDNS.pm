package AIChat::DeadDNS;

# A name server that never answers, for one process, in a network namespace of
# its own. Nothing else can be reached there, except unix sockets.

use v5.36;
use Fcntl qw(F_SETFD);
use Socket;

# Whether this machine permits it.
sub is_permitted
{
	return system('unshare -n -m true >/dev/null 2>&1') == 0;
}

# The command to put before that of the process.
#   conf     a file that becomes its resolv.conf
#   options  of the resolver, as resolv.conf(5) has them
sub wrap ($conf, $options = '')
{
	AIChat::Proc::spew($conf, "nameserver 127.0.0.1\noptions $options\n");
	return ('/usr/bin/unshare', '-n', '-m', '--', $^X,
	    '-I' . (__FILE__ =~ s{/AIChat/[^/]+$}{}r), '-MAIChat::DeadDNS',
	    '-e', 'AIChat::DeadDNS::main(@ARGV)', $conf);
}

# Within the namespaces, before the process itself.
sub main ($conf, @cmd)
{
	socket my $sock, AF_INET, SOCK_DGRAM, 0 or die "socket: $!\n";
	# SIOCSIFFLAGS: the loopback interface is up and running.
	my $up = pack 'Z16 s x22', 'lo', 0x41;
	ioctl $sock, 0x8914, $up or die "lo: $!\n";
	system('mount', '--bind', $conf, '/etc/resolv.conf') == 0
	    or die "could not mount $conf\n";
	bind $sock, pack_sockaddr_in(53, INADDR_LOOPBACK) or die "53: $!\n";
	# The process inherits this socket, does not use it, and never reads
	# from it.
	fcntl $sock, F_SETFD, 0;
	exec { $cmd[0] } @cmd or die "could not run $cmd[0]: $!\n";
}

1;
