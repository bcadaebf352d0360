package AIChat::Machine;

# A separate Debian system: systemd as process 1, in namespaces, over a root
# directory that is only read. Everything that it writes is in memory and
# disappears with it. Its network has only the loopback interface.

use v5.36;
use AIChat::Proc qw(wait_for run slurp base_env);
use File::Path qw(make_path);

# $1: the root directory, $2: a directory of ours, $3: the directory to show as
# /run/deb.
my $BOOT = <<'SH';
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"
mkdir "$2/m" "$2/u" "$2/w"
R=$2/m
mount -t overlay -o "lowerdir=$1,upperdir=$2/u,workdir=$2/w" overlay "$R"
# Kernel settings that are not in a namespace must not be changed.
mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,bind,ro "$R/proc/sys"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for n in null zero full random urandom tty; do
	: >"$R/dev/$n"
	mount --bind "/dev/$n" "$R/dev/$n"
done
mkdir "$R/dev/shm" "$R/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s fd/0 "$R/dev/stdin"
ln -s fd/1 "$R/dev/stdout"
ln -s fd/2 "$R/dev/stderr"
mount -t tmpfs tmpfs "$R/sys/fs/cgroup"
mkdir "$R/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd cgroup "$R/sys/fs/cgroup/systemd"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mkdir "$R/run/deb"
mount --bind "$3" "$R/run/deb"
# The process that mounts credentials is not the one that reads them.
mount --make-rshared "$R"
cd "$R"
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    chroot . /lib/systemd/systemd --system --unit=multi-user.target \
    --show-status=no
SH

sub start ($class, %o)
{
	my $self = bless { %o }, $class;

	make_path("$self->{dir}/machine");
	$self->{proc} = AIChat::Proc->start(name => 'machine',
	    cmd => [ qw(unshare -C -p -m -u -i -n -f --kill-child --mount-proc
		sh -c), $BOOT, 'sh', $self->{root}, "$self->{dir}/machine",
		$self->{share} ],
	    env => { base_env() }, log => "$self->{dir}/machine.log");
	wait_for(sub {
		die "it did not start:\n" . slurp("$self->{dir}/machine.log")
		    if !$self->{proc}->alive;
		return eval { $self->cmd(qw(systemctl is-active
		    multi-user.target)) };
	}, 60, 'the machine');
	return $self;
}

# Runs a command in it; dies with the output when it fails.
sub cmd ($self, @cmd)
{
	my $pid = $self->{proc}->pid;
	my ($init) = split ' ', slurp("/proc/$pid/task/$pid/children");

	return run([ 'nsenter', '-t', $init
	    // die("the machine has no process\n"), qw(-m -p -C -u -i -n -r -w
	    -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
	    DEBIAN_FRONTEND=noninteractive), @cmd ]);
}

sub sh ($self, $script) { return $self->cmd('sh', '-c', $script) }

sub stop ($self)
{
	(delete $self->{proc})->stop('KILL') if $self->{proc};
}

1;
