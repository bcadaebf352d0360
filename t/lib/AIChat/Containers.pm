package AIChat::Containers;

# Containers of podman in namespaces of their own: mounts, processes and a
# network that has only the loopback interface and the bridges of podman. All of
# it disappears with the object, and so do the images. Images are built before,
# with the network of this host, because they install packages.

use v5.36;
use AIChat::Proc qw(wait_for run slurp spew temp_dir remove_dir base_env);
use AIChat::Stack;
use File::Path qw(make_path);

my @PROGRAMS = qw(buildah podman podman-compose iptables);

# $1: the command. Podman 4 with crun does not support the mixed hierarchy of
# control groups, so only the first version is shown.
my $ENTER = <<'SH';
set -e
mount --make-rprivate /
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
exec "$@"
SH
my @NAMESPACES = qw(unshare -m -p -f --kill-child --mount-proc);

# Why containers cannot run here; nothing if they can.
sub missing
{
	return 'only root can start containers here' if $> != 0;
	for my $program (@PROGRAMS) {
		return "$program is not there" if !grep { -x "$_/$program" }
		    qw(/usr/bin /usr/sbin /bin /sbin);
	}
	return 'mmdebstrap is not there, nor AIC_CONTAINER_BASE'
	    if !$ENV{AIC_CONTAINER_BASE} && !-x '/usr/bin/mmdebstrap';
	return;
}

#   dir  for logs
sub new ($class, %o)
{
	# Not in /tmp, which may be in memory.
	my $self = bless { %o, store => temp_dir('ai-chat-store', '/var/tmp') },
	    $class;
	my $store = $self->{store};

	spew("$store/storage.conf", <<"END");
[storage]
driver = "overlay"
graphroot = "$store/graph"
runroot = "$store/run"
END
	# The default limits of podman can be higher than those of this process,
	# which may not raise them.
	# Without network_config_dir, networks would be files of /etc.
	spew("$store/containers.conf", <<"END");
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$store/networks"
END
	return $self;
}

sub env ($self)
{
	return { base_env(), %{ $self->{env} // {} },
		CONTAINERS_STORAGE_CONF => "$self->{store}/storage.conf",
		CONTAINERS_CONF => "$self->{store}/containers.conf" };
}

# Runs a command with the network of this host, before start().
sub prepare ($self, @cmd)
{
	return run([ @NAMESPACES, 'sh', '-c', $ENTER, 'sh', @cmd ],
	    env => $self->env, log => "$self->{dir}/build.log");
}

# Imports a small Debian 12 under this name.
sub import_base ($self, $name)
{
	my $tar = $ENV{AIC_CONTAINER_BASE} // "$self->{store}/base.tar";

	run([ qw(mmdebstrap --variant=apt --quiet),
	    '--aptopt=APT::Install-Recommends "false"',
	    (map { "--dpkgopt=$_" } 'path-exclude=/usr/share/man/*',
		'path-exclude=/usr/share/locale/*/LC_MESSAGES/*',
		'path-exclude=/usr/share/doc/*'),
	    '--customize-hook=rm -rf "$1"/var/lib/apt/lists/*',
	    'bookworm', $tar ], log => "$self->{dir}/build.log") if !-e $tar;
	return $self->prepare(qw(podman import -q), $tar, $name);
}

# The other options are those of buildah.
sub build ($self, $name, $context, @options)
{
	return $self->prepare(qw(buildah build --isolation chroot --layers
	    --network host --format docker -t), $name, @options, $context);
}

# Starts the namespaces.  The process that holds them waits until it is ended.
sub start ($self)
{
	$self->{proc} = AIChat::Proc->start(name => 'containers',
	    cmd => [ @NAMESPACES, '-n', 'sh', '-c', $ENTER, 'sh', 'sh', '-c',
		'ip link set lo up && exec sleep infinity' ],
	    env => $self->env, log => "$self->{dir}/containers.log");
	wait_for(sub { eval { $self->in(qw(ip -o addr show lo)) =~ /inet / } },
	    20, 'the namespaces');
	return $self;
}

# Runs a command in them; dies with the output when it fails.
sub in ($self, @cmd)
{
	return run([ $self->entry, @cmd ], env => $self->env,
	    log => "$self->{dir}/containers.log");
}

# The command that enters them.
sub entry ($self)
{
	my $pid = $self->{proc}->pid;
	my ($init) = split ' ', slurp("/proc/$pid/task/$pid/children");

	return ('nsenter', '-t', $init // die("no namespaces\n"),
	    qw(-m -p -n -r -w --));
}

# podman, without the lines that it prints because there is no systemd to run
# HEALTHCHECK. --ulimit host leaves the limits as they are.
sub podman ($self, $verb, @args)
{
	my @limits = $verb =~ /^(?:run|create)$/ ? qw(--ulimit host) : ();
	return $self->in('podman', $verb, @limits, @args)
	    =~ s/^time=.*healthcheck.*\n//mgr;
}

sub compose ($self, $dir, @args)
{
	return $self->in('sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', $dir,
	    'podman-compose', '--podman-run-args=--ulimit host', @args);
}

sub stop ($self)
{
	(delete $self->{proc})->stop('KILL') if $self->{proc};
	# Control groups of containers that were killed.
	system("find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' "
	    . '-exec rmdir {} + 2>/dev/null');
	remove_dir($self->{store});
}

1;
