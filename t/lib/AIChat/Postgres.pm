package AIChat::Postgres;

# A private PostgreSQL cluster that listens on a unix socket, and on TCP only
# where a test requests it.
#
# The role of the service owns its database and is no superuser, as in
# production. The socket is in a directory that only its user may enter, so no
# password is needed. PostgreSQL refuses to run as root; then it runs as the
# user postgres.

use v5.36;
use AIChat::Proc qw(wait_for run slurp tail temp_dir base_env);
use File::Path qw(make_path);

my $ROLE = 'ai_chat';

# dir    directory of the cluster, for data/ and log/
# run    a directory with a short path, for the socket
# sync   0 for clusters that may be lost: fast, and not safe against a crash
# conf   further settings
# net    the network namespace that it is in, as a file
sub new ($class, %o)
{
	my $self = bless {
		dir => $o{dir}, socket => "$o{run}/pg", sync => $o{sync} // 1,
		conf => $o{conf} // {}, net => $o{net}, log => "$o{dir}/log/postgres.log",
		user => $> == 0 ? 'postgres' : undef,
	}, $class;
	make_path("$o{dir}/log", $self->{socket});
	return $self;
}

# A cluster that another process started: it can be used, not stopped.
sub attach ($class, $dir)
{
	return bless { socket => "$dir/pg", shared => 1,
	    log => "$dir/log/postgres.log" }, $class;
}

sub is_shared ($self) { return $self->{shared} }
sub log_path ($self) { return $self->{log} }
sub proc ($self) { return $self->{proc} }

# The server's own programs. In the path Debian has scripts of the same names,
# such as psql, that choose a version first, which takes four times as long.
sub bin ($name)
{
	state %found;
	return $found{$name} //= find_bin($name);
}

sub find_bin ($name)
{
	my ($newest) = sort { $b->[0] <=> $a->[0] }
	    map { m{/(\d+)/bin/} ? [ $1, $_ ] : () }
	    glob "/usr/lib/postgresql/*/bin/$name";
	return $newest ? $newest->[1] : $name;
}

sub start ($self)
{
	die "this cluster belongs to somebody else\n" if $self->{shared};
	$self->make_data;
	$self->wait_for_predecessor;
	chmod 0700, $self->{socket};
	$self->give($self->{socket});

	my %conf = (
		listen_addresses => '',
		unix_socket_directories => $self->{socket},
		max_connections => 300,
		log_line_prefix => '%m [%p] %d ',
		timezone => 'UTC',
		$self->{sync} ? () : (fsync => 'off', full_page_writes => 'off'),
		%{ $self->{conf} },
	);
	$self->{proc} = AIChat::Proc->start(
		name => 'PostgreSQL', user => $self->{user},
		net => $self->{net},
		cmd => [ bin('postgres'), '-D', $self->{data},
		    map { ('-c', "$_=$conf{$_}") } sort keys %conf ],
		env => { base_env() }, log => $self->{log},
		# SIGINT ends the sessions; SIGQUIT would not even flush.
		death => $self->{sync} ? 'INT' : 'QUIT',
	);
	wait_for(sub {
		die "PostgreSQL did not start:\n" . tail($self->{log})
		    if !$self->{proc}->alive;
		return eval { $self->admin('select 1'); 1 };
	}, 30, 'PostgreSQL');
	$self->make_role;
}

# mode: smart, fast or immediate, as pg_ctl has it.
sub stop ($self, $mode = 'fast')
{
	my %signal = (smart => 'TERM', fast => 'INT', immediate => 'QUIT');

	return 1 if !$self->{proc};
	return (delete $self->{proc})->stop($signal{$mode}, 30);
}

# SIGKILL to the postmaster and all its processes at one moment: data in shared
# memory only, such as WAL that was not written yet, are lost. The postmaster is
# stopped first, so that it starts no more processes.
sub kill_all ($self)
{
	my $proc = delete $self->{proc};
	my $pid = $proc->pid;

	kill 'STOP', $pid;
	wait_for(sub { slurp("/proc/$pid/stat") =~ /\) [Tt] / }, 10,
	    'the postmaster to stop');
	my @all = ($pid, split ' ', slurp("/proc/$pid/task/$pid/children"));
	kill 'KILL', @all;
	$proc->stop('KILL');
	wait_for(sub {
		!grep { (eval { slurp("/proc/$_/cmdline") } // '') ne '' } @all;
	}, 10, 'all of PostgreSQL to be gone');
}

# A session whose client has just left may not have noticed it yet, and would
# log an error when it is terminated. So sessions get two seconds to end by
# themselves.
sub stop_after_sessions ($self)
{
	my $proc = $self->{proc} or return 1;

	$proc->signal('TERM');
	eval { wait_for(sub { !$proc->alive }, 2, 'the sessions to end') };
	return $self->stop;
}

# -- inside ------------------------------------------------------------------

# The data directory is made once. Where the user postgres cannot access it, for
# instance under /root, it is put into /var/tmp, with a link to it.
sub make_data ($self)
{
	my $link = "$self->{dir}/data";
	my $data = -l $link ? readlink $link : $link;

	if (!-e "$data/PG_VERSION") {
		unlink $link;
		$data = $self->place($link);
		run([ bin('initdb'), '-D', $data, '-U', 'postgres', '-E',
		    'UTF8', '--locale=C.UTF-8', '-A', 'trust',
		    '--no-instructions', $self->{sync} ? () : '--no-sync' ],
		    user => $self->{user}, log => "$self->{dir}/log/initdb.log");
	}
	$self->{data} = $data;
}

sub place ($self, $link)
{
	make_path($link);
	chmod 0700, $link;
	$self->give($link);
	return $link if !$self->{user}
	    || eval { run([ 'test', '-w', $link ], user => $self->{user}); 1 };

	rmdir $link or die "could not remove $link: $!\n";
	my $data = temp_dir('ai-chat-pg', '/var/tmp');
	AIChat::Proc::keep_dir($data) if $self->{sync};
	chmod 0700, $data;
	$self->give($data);
	symlink $data, $link or die "could not make $link: $!\n";
	return $data;
}

sub give ($self, $dir)
{
	return if !$self->{user};
	my ($uid, $gid) = (getpwnam $self->{user})[2, 3];
	die "there is no user $self->{user}\n" if !defined $uid;
	chown $uid, $gid, $dir or die "could not chown $dir: $!\n";
}

# When its last user was killed, this server may be shutting down at this
# moment.
sub wait_for_predecessor ($self)
{
	my $file = "$self->{data}/postmaster.pid";

	wait_for(sub {
		my ($pid) = (-e $file ? eval { slurp($file) } // '' : '')
		    =~ /^(\d+)/ or return 1;
		my $cmd = eval { slurp("/proc/$pid/cmdline") } // '';
		return index($cmd, $self->{data}) < 0;
	}, 30, "the PostgreSQL of an earlier run to end");
}

sub make_role ($self)
{
	return if $self->admin("select 1 from pg_roles where rolname = '$ROLE'");
	$self->admin("create role $ROLE login");
}

# -- use ---------------------------------------------------------------------

sub url ($self, $db, $user = $ROLE)
{
	return "postgresql:///$db?host=$self->{socket}&user=$user";
}

# As the superuser.
sub admin ($self, $sql, $db = 'postgres')
{
	return psql($self->url($db, 'postgres'), $sql);
}

sub make_database ($self, $db)
{
	return if $self->admin("select 1 from pg_database where datname = '$db'");
	$self->admin("create database $db owner $ROLE");
}

# Without force PostgreSQL waits up to five seconds for sessions to end, see
# stop_after_sessions.
sub drop_database ($self, $db)
{
	eval { $self->admin("drop database if exists $db"); 1 }
	    or $self->admin("drop database if exists $db with (force)");
}

# The settings of a connection string, of either form that libpq takes.
sub settings_of ($string)
{
	my $plain = sub ($s) { $s =~ s/%([0-9a-f]{2})/chr hex $1/gier };
	my %set;

	if ($string !~ m{^postgres(?:ql)?://(?:([^/?@]*)@)?([^/?]*)(?:/([^?]*))?(?:\?(.*))?\z}s) {
		while ($string =~ /\G\s*(\w+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?:\\.|[^\s\\])*))/gcs) {
			my ($name, $value) = ($1, $2 // $3);
			$set{$name} = $value =~ s/\\(.)/$1/gsr;
		}
		return %set;
	}
	my ($who, $where, $db, $query) = ($1, $2, $3, $4);
	my ($user, $password) = split /:/, $who // '', 2;
	my (@hosts, @ports);
	for (split /,/, $where) {
		my ($host, $port) = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?\z/;
		push @hosts, $plain->($host // $_) =~ s/^\[(.*)\]\z/$1/r;
		push @ports, $port // '';
	}
	%set = (user => $user, password => $password, dbname => $db);
	$_ = $plain->($_) for grep { defined } values %set;
	$set{host} = join ',', @hosts;
	$set{port} = join ',', @ports if grep { length } @ports;
	$set{$_->[0]} = $_->[1] for map { [ map { $plain->($_) } split /=/, $_, 2 ] }
	    split /&/, $query // '';
	delete @set{ grep { !length($set{$_} // '') } keys %set };
	return %set;
}

# The rows of a query as array references, a null as undef.
sub psql ($url, $sql)
{
	my $text = run([ bin('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1',
	    '-P', "null=\x1a", '-F', "\x1f", '-R', "\x1e", '-d', $url,
	    '-c', $sql ], env => { base_env(), PGCLIENTENCODING => 'UTF8',
	    PGCONNECT_TIMEOUT => 10 });
	utf8::decode($text);
	$text =~ s/\n\z//;
	return map { [ map { $_ eq "\x1a" ? undef : $_ } split /\x1f/, $_, -1 ] }
	    split /\x1e/, $text;
}

1;
