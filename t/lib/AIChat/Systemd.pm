package AIChat::Systemd;

# A systemd that manages the units of this tree, beside the systemd of this
# machine: a user manager in namespaces of its own, which end with the test. It
# needs root, and a kernel that permits a hierarchy of control groups of its
# own.

use v5.36;
use AIChat::Proc qw(wait_for run slurp spew base_env);
use AIChat::Stack;
use File::Path qw(make_path);

my $TOP = AIChat::Stack::top();

# Directives that a user manager cannot apply, or that hide the files of a test
# in /tmp. All other directives of the units are unchanged.
my $CANNOT = <<'END';
# These belong to the system's manager: users, and secrets of other services.
User=
Group=
LoadCredential=
SetCredential=
EnvironmentFile=
EnvironmentFile=%ENV%
# The database and the programs of a test are in /tmp and in a home directory,
# and belong to several users.
PrivateTmp=no
ProtectHome=no
CapabilityBoundingSet=~
# To a file that the test can read.
StandardOutput=append:%LOG%
StandardError=append:%LOG%
END

# $1: the directory for everything. Outside, /run is visible as $1/run.
my $INIT = <<'SH';
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount --bind "$1/run" /run
export XDG_RUNTIME_DIR=/run SYSTEMD_UNIT_PATH="$1/units"
# Not as process 1, which a user manager refuses to be.
systemd --user --unit=basic.target --log-target=console
exit 1
SH

# The reason why it cannot run here; nothing when it can.
sub missing
{
	return 'only root can have a systemd of its own' if $> != 0;
	for my $cmd ([ 'systemctl', '--version' ], [ 'systemd', '--version' ],
	    [ 'unshare', '-C', '-p', '-m', '-f', '--mount-proc', 'sh', '-c',
		'mount -t tmpfs tmpfs /sys/fs/cgroup && '
		. 'mkdir /sys/fs/cgroup/systemd && mount -t cgroup '
		. '-o none,name=systemd cgroup /sys/fs/cgroup/systemd' ]) {
		return "$cmd->[0] is not there, or not permitted"
		    if !eval { run($cmd); 1 };
	}
	return;
}

#   dir       where it lives
#   build     the programs
#   settings  the workers'
sub start ($class, %o)
{
	my $self = bless { %o, log => "$o{dir}/units.log" }, $class;
	my $units = "$self->{dir}/units";

	make_path($units, "$self->{dir}/run/systemd/system");
	chmod 0755, "$self->{dir}/run";
	spew("$units/$_.target", "[Unit]\nDescription=$_\n"
	    . "DefaultDependencies=no\n")
	    for qw(basic shutdown network-online default multi-user);
	$self->settings(%{ $o{settings} });
	$self->take($_) for map { s{.*/}{}r }
	    glob "$TOP/systemd/*.{service,target}";
	$self->{proc} = AIChat::Proc->start(name => 'systemd',
	    cmd => [ 'unshare', '-C', '-p', '-m', '-f', '--kill-child',
		'--mount-proc', 'sh', '-c', $INIT, 'sh', $self->{dir} ],
	    env => { base_env(), HOME => $self->{dir} },
	    log => "$self->{dir}/systemd.log");
	my $why = '';
	eval {
		wait_for(sub {
			AIChat::Stack::must_live($self->{proc});
			return 1 if eval {
				$self->ctl('is-active', 'basic.target') };
			$why = $@;
			return;
		}, 20, 'systemd');
	} or die "$@$why";
	return $self;
}

# Installs a unit of this tree unchanged, with a drop-in for what a user manager
# cannot do.
sub take ($self, $unit)
{
	my $text = slurp("$TOP/systemd/$unit");
	my %value = (ENV => "$self->{dir}/ai-chat.env", LOG => $self->{log});

	spew("$self->{dir}/units/$unit", $text);
	return if $unit !~ /\.service$/;
	my $cannot = $CANNOT =~ s/%([A-Z]+)%/$value{$1}/gr;
	my ($cmd) = $text =~ /^ExecStart=(.*)/m;
	$cmd =~ s{/usr/bin/(ai-chat-\w+)}{$self->{build}/$1};
	$cmd .= " --dir $TOP/sql" if $cmd =~ /migrate/;
	$cannot .= "# The programs of the test.\nExecStart=\nExecStart=$cmd\n";
	$self->drop_in($unit, 'cannot', "[Service]\n$cannot");
}

sub drop_in ($self, $unit, $name, $text)
{
	make_path("$self->{dir}/units/$unit.d");
	spew("$self->{dir}/units/$unit.d/$name.conf", $text);
}

# A program that was built with AddressSanitizer searches for leaks by ptrace(2)
# when it exits, which the units' filter of system calls refuses: the search
# would never end.
sub settings ($self, %settings)
{
	$settings{ASAN_OPTIONS} = join ':', $ENV{ASAN_OPTIONS} // (),
	    'detect_leaks=0';
	spew("$self->{dir}/ai-chat.env", join '',
	    map { "$_=\"$settings{$_}\"\n" } sort keys %settings);
}

# From inside, because a pid of another namespace means nothing to this systemd.
sub command ($self, @args)
{
	my $pid = $self->{proc}->pid;
	my ($inside) = split ' ', slurp("/proc/$pid/task/$pid/children");

	return ([ 'nsenter', '-t', $inside // die("systemd has no process\n"),
	    '-m', '-p', '-C', '--', 'systemctl', '--user', '--no-pager', @args ],
	    env => { base_env(), XDG_RUNTIME_DIR => '/run' });
}

# Dies with the output when it fails.
sub ctl ($self, @args)
{
	return run($self->command(@args));
}

sub show ($self, $unit, $property)
{
	my ($value) = $self->ctl('show', '--value', "--property=$property",
	    $unit) =~ /^(.*)$/m;
	return $value;
}

# The pid in the namespace of the test; systemd reports that of its own
# namespace.
sub pid ($self, $unit)
{
	my $inner = $self->show($unit, 'MainPID') or return 0;
	for my $file (glob '/proc/[0-9]*/status') {
		my $text = eval { slurp($file) } // next;
		my ($pids) = $text =~ /^NSpid:\s+(.*)/m or next;
		my @pids = split ' ', $pids;
		return $pids[0] if @pids > 1 && $pids[-1] == $inner
		    && $text =~ /^Name:\s+ai-chat-worker$/m;
	}
	return 0;
}

sub log ($self) { return -e $self->{log} ? slurp($self->{log}) : '' }
sub socket ($self, $n) { return "$self->{dir}/run/ai-chat/$n.sock" }

sub stop ($self)
{
	(delete $self->{proc})->stop('KILL') if $self->{proc};
}

1;
