package AIChat::Proc;

# Child processes and temporary directories that never outlive the test.
#
# A child leads a process group of its own, has a clean environment, and gets a
# signal from the kernel when the process that started it ends, however that
# happens. A temporary directory is removed by a keeper process when the test
# could not.

use v5.36;
use Exporter 'import';
use File::Path qw(remove_tree);
use File::Temp qw(mkdtemp);
use IO::Handle;
use IO::Socket::UNIX;
use POSIX qw(WNOHANG);
use Socket qw(SOCK_DGRAM);
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(wait_for run slurp spew tail temp_dir remove_dir keep_dir
    free_port port_is_free base_env unix_connections);

# The soft limit of open files is 1,024 on most machines, too few for a worker
# with a thousand chats in flight.
my $RAISE_NOFILE = <<'SH';
[ "$PPID" = "$1" ] || exit 1
shift
n=$(ulimit -Hn)
[ "$n" = unlimited ] || [ "$n" -gt 65536 ] && n=65536
ulimit -Sn "$n"
exec "$@"
SH

# -- waiting -----------------------------------------------------------------

# Called while the test waits for something else.
our $MEANWHILE;

# Calls $done until it returns something true, and returns that; dies when this
# takes longer than $seconds.
sub wait_for ($done, $seconds, $what)
{
	my $end = time + $seconds;

	while (1) {
		my $late = time >= $end;
		my $got = $done->();
		return $got if $got;
		die "waited ${seconds} s for $what\n" if $late;
		$MEANWHILE->() if $MEANWHILE;
		sleep 0.02;
	}
}

# -- files -------------------------------------------------------------------

sub slurp ($path)
{
	open my $fh, '<:raw', $path or die "could not read $path: $!\n";
	local $/;
	return scalar(<$fh>) // '';
}

# The last lines of a log; '' when there is no such file.
sub tail ($path, $lines = 15)
{
	my @all = split /^/, eval { slurp($path) } // '';
	splice @all, 0, -$lines if @all > $lines;
	return join '', @all;
}

# The file appears complete or not at all.
sub spew ($path, $text, $mode = 0644)
{
	my $new = "$path.new";
	unlink $new;
	sysopen my $fh, $new, POSIX::O_WRONLY | POSIX::O_CREAT | POSIX::O_EXCL,
	    $mode or die "could not write $new: $!\n";
	print $fh $text;
	close $fh or die "could not write $new: $!\n";
	rename $new, $path or die "could not write $path: $!\n";
}

# -- temporary directories ---------------------------------------------------

my ($keeper_pid, $keeper, $owner);

# A new directory under /tmp: its path is short, because that of a unix socket
# may have 107 bytes.  It is removed when this process ends without keep_dir,
# even by kill -9.
sub temp_dir ($name, $base = '/tmp')
{
	my $dir = mkdtemp("$base/$name-XXXXXX");
	chmod 0711, $dir;
	tell_keeper("+$dir");
	return $dir;
}

sub keep_dir ($dir)
{
	tell_keeper("-$dir");
}

sub remove_dir ($dir)
{
	remove_tree($dir, { error => \my $ignored });
	tell_keeper("-$dir") unless -e $dir;
}

sub tell_keeper ($line)
{
	start_keeper() if !$keeper || $owner != $$;
	print $keeper "$line\n";
}

# The keeper is a child that reads the names of directories from a pipe. The end
# of the pipe means that all processes of the test have ended.
sub start_keeper
{
	pipe my $r, my $w or die "could not make a pipe: $!\n";
	$w->autoflush;
	$keeper_pid = fork // die "could not fork: $!\n";
	if (!$keeper_pid) {
		close $w;
		POSIX::setsid();
		$SIG{$_} = 'IGNORE' for qw(INT TERM HUP PIPE);
		POSIX::dup2(POSIX::open('/dev/null', POSIX::O_RDWR), $_)
		    for 0 .. 2;
		guard($r);
		POSIX::_exit(0);
	}
	($keeper, $owner) = ($w, $$);
}

sub guard ($r)
{
	my %dirs;

	while (my $line = <$r>) {
		chomp $line;
		my $op = substr $line, 0, 1, '';
		if ($op eq '+') {
			$dirs{$line} = 1;
		} else {
			delete $dirs{$line};
		}
	}
	# Servers that are shutting down may still write into them.
	for my $dir (keys %dirs) {
		eval {
			wait_for(sub {
				remove_tree($dir, { error => \my $ignored });
				return !-e $dir;
			}, 20, $dir);
		};
	}
}

END {
	if ($keeper && $owner == $$) {
		local ($?, $!);
		close $keeper;
		waitpid $keeper_pid, 0;
	}
}

# -- ports -------------------------------------------------------------------

sub port_is_free ($port, $addr = '127.0.0.1')
{
	require IO::Socket::INET;
	return !!IO::Socket::INET->new(LocalAddr => $addr, LocalPort => $port,
	    Listen => 1, ReuseAddr => 1);
}

# Returns a port for a server that is started later, and keeps other test files
# from taking the same one: an abstract unix socket named after the port
# reserves it until this process ends. The range is below the one from which the
# kernel takes the ports of outgoing connections.
sub free_port
{
	state %reserved;

	for (1 .. 200) {
		my $port = 20000 + int rand 12000;
		next if $reserved{$port} || !port_is_free($port);
		$reserved{$port} = IO::Socket::UNIX->new(Type => SOCK_DGRAM,
		    Local => "\0ai-chat-test-port-$port") or next;
		return $port;
	}
	die "found no free port\n";
}

# The number of connections to a listening unix socket: those in its queue,
# which the kernel lists as connecting, 02, and those that were accepted,
# connected, 03.
sub unix_connections ($path)
{
	my %n;

	for (split /^/, slurp('/proc/net/unix')) {
		my ($state, undef, $where) = (split)[5 .. 7];
		$n{$state}++ if defined $where && $where eq $path;
	}
	return ($n{'02'} // 0, $n{'03'} // 0);
}

# -- processes ---------------------------------------------------------------

# The environment of every child, besides the variables that are given by name.
sub base_env
{
	return (
		PATH => '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:'
		    . '/sbin:/bin',
		LANG => 'C.UTF-8',
		HOME => $ENV{HOME} // '/',
	);
}

# The command prefix that changes the user; empty when it is not needed.
sub as_user ($user)
{
	return () if !defined $user;
	return ("--reuid=$user", "--regid=$user", '--init-groups');
}

# Starts a child.
#   name   for messages
#   cmd    the command
#   env    its whole environment
#   log    file to which its output is appended
#   death  the signal that it gets when the test ends; default KILL
#   user   the user it runs as
#   net    the network namespace to be in, as a file
sub start ($class, %o)
{
	my $self = bless { name => $o{name}, log => $o{log}, since => time },
	    $class;
	my $parent = $$;

	$self->{pid} = fork // die "could not fork: $!\n";
	return $self if $self->{pid};

	eval {
		setpgrp;
		open STDIN, '<', '/dev/null' or die "/dev/null: $!\n";
		open STDOUT, '>>', $o{log} or die "$o{log}: $!\n";
		open STDERR, '>&', \*STDOUT or die "$o{log}: $!\n";
		%ENV = %{ $o{env} };
		$SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE CHLD USR1 USR2);
		# After the change of user, which would clear this setting:
		# setpriv uses that order.
		exec defined $o{net} ? ('nsenter', "--net=$o{net}", '--') : (),
		    'setpriv', '--pdeathsig', $o{death} // 'KILL',
		    as_user($o{user}), '--', '/bin/sh', '-c', $RAISE_NOFILE,
		    'sh', $parent, @{ $o{cmd} };
		die "could not run setpriv: $!\n";
	};
	print STDERR "$o{name}: $@";
	POSIX::_exit(127);
}

sub pid ($self) { return $self->{pid} }
sub log_path ($self) { return $self->{log} }
sub since ($self) { return $self->{since} }

sub alive ($self)
{
	return 0 if defined $self->{status};
	my $got = waitpid $self->{pid}, WNOHANG;
	return 1 if $got == 0;
	$self->{status} = $got == $self->{pid} ? $? : -1;
	return 0;
}

# The wait status of a child that has ended.
sub status ($self) { return $self->{status} }

sub how_it_ended ($self)
{
	my $s = $self->{status};
	return 'is running' if !defined $s;
	return 'was ended by signal ' . ($s & 127) if $s & 127;
	return 'exited with status ' . ($s >> 8);
}

sub signal ($self, $sig)
{
	kill $sig, $self->{pid} if $self->alive;
}

# Sends SIGTERM and waits; kills the process, and the rest of its group, when
# that takes too long. Returns whether it ended by itself.
sub stop ($self, $sig = 'TERM', $seconds = 10)
{
	$self->signal($sig);
	my $ok = eval {
		wait_for(sub { !$self->alive }, $seconds, $self->{name});
	};
	kill 'KILL', -$self->{pid} if !$self->{gone}++;
	wait_for(sub { !$self->alive }, 10, "$self->{name} to be killed");
	return $ok;
}

# Runs a command to its end; returns its output, and dies when it fails.
#   env, user   as above
#   log         the output is also appended there
sub run ($cmd, %o)
{
	my $pid = open my $out, '-|';
	die "could not fork: $!\n" if !defined $pid;
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDERR, '>&', \*STDOUT;
		%ENV = %{ $o{env} // { base_env() } };
		my @as = as_user($o{user});
		exec @as ? ('setpriv', @as, '--') : (), @$cmd
		    or print "could not run $cmd->[0]: $!\n";
		POSIX::_exit(127);
	}
	my $text = do { local $/; <$out> } // '';
	my $ok = close $out;
	if ($o{log}) {
		open my $log, '>>', $o{log} or die "$o{log}: $!\n";
		print $log $text;
	}
	die "$cmd->[0] failed:\n$text" if !$ok;
	return $text;
}

1;
