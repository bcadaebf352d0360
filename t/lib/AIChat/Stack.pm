package AIChat::Stack;

# Starts and stops the real parts: PostgreSQL, the stand-in model, workers
# through spawn-fcgi, and Nginx. ./dev and every test use this module.

use v5.36;
use AIChat::FastCGI;
use AIChat::FaultProxy;
use AIChat::Proc qw(wait_for run slurp spew tail temp_dir remove_dir free_port
    base_env);
use AIChat::TLS;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use IO::Socket::INET;
use IO::Socket::UNIX;

my $TOP = abs_path(dirname(__FILE__) . '/../../..');

sub top { return $TOP }

# The directory of the programs: as given, or one of the usual places.
sub find_build
{
	my @places = ($ENV{AIC_BUILD} // (), "$TOP/build",
	    ($ENV{AI_CHAT_VAR} // "$TOP/var") . '/build', $TOP);

	for my $dir (@places) {
		return abs_path($dir) if -x "$dir/ai-chat-worker";
	}
	die "found no ai-chat-worker in @places: build first\n";
}

#   dir        state: data/, log/
#   run        sockets and pids, a short path; made when not given
#   port       where Nginx listens
#   metrics_port    where Nginx gives /metrics without a key; default a free one
#   settings   the workers' settings, as in the environment
#   build      the programs
#   pg         an AIChat::Postgres, when it is ours
#   read_timeout_s  of Nginx, for tests that wait for it
#   wrap       what runs a worker, as a command to put before it
#   backlog    how many may wait at a worker's socket
#   listen     what Nginx's "listen" has besides, such as " ssl"
#   nofile     open files and connections of one process of Nginx; default
#              16384
#   address    where Nginx listens; default 127.0.0.1
#   net        the network namespace of all but PostgreSQL, as a file
#   hosts      [ "address:port" ] of hosts with workers; Nginx is their front
#   dying      an AIChat::Dying, which ends after the workers
#   proxy      { database, model, model_plain, server, workers, redis }: where a
#              fault proxy stands
#   tls        the kind of the TLS ends before the models, see AIChat::TLS; 0 for
#              none
#   certs      their certificates
sub new ($class, %o)
{
	my $self = bless { workers => {}, settings => {}, %o }, $class;
	$self->{build} //= find_build();
	$self->{metrics_port} //= free_port();
	$self->{run} //= temp_dir('ai-chat');
	$self->{log} = "$self->{dir}/log";
	make_path($self->{log});
	return $self;
}

sub run_dir ($self) { return $self->{run} }
sub port ($self) { return $self->{port} }
sub metrics_port ($self) { return $self->{metrics_port} }
sub pg ($self) { return $self->{pg} }
sub settings ($self) { return $self->{settings} }
sub address ($self) { return $self->{address} // '127.0.0.1' }
sub url ($self) { return 'http://' . $self->address . ":$self->{port}" }

sub deadline_s ($self)
{
	my $ms = $self->{settings}{AI_CHAT_DEADLINE_MS} || 55000;
	$ms = 55000 if $ms !~ /^\d+$/;
	return int(($ms + 999) / 1000);
}

# The whole environment of a worker; no other variable of the test gets into it.
sub worker_env ($self)
{
	return {
		base_env(),
		# As in the unit file.
		GLIBC_TUNABLES => 'glibc.malloc.tcache_count=0',
		AI_CHAT_PORT => $self->{port},
		AI_CHAT_PROMPT_FILE => "$TOP/app/worker/prompt.txt",
		AI_CHAT_METRICS_DIR => "$self->{run}/metrics",
		%{ $self->{settings} },
	};
}

# -- fault proxies -----------------------------------------------------------

# The address of a part: its own, or that of the proxy before it.
sub door ($self, $kind, $name, $listen, $to)
{
	return $to if !$self->{proxy}{$kind};
	$self->{proxies}{$name} //= AIChat::FaultProxy->start(name => $name,
	    listen => $listen, to => $to, log => "$self->{log}/proxy.log");
	return $self->{proxies}{$name}->where;
}

# "database", "model", "second", "server", "redis" or "worker 1"; "model_plain"
# and "second_plain" stand between a TLS end and its model, where "model" and
# "second" see only ciphertext.
sub proxy ($self, $name) { return $self->{proxies}{$name} }

# -- database ----------------------------------------------------------------

# The same database, through the proxy where there is one: beside PostgreSQL's
# own socket the proxy has one of the same name.
sub database_door ($self, $url)
{
	my $dir = "$self->{run}/db";
	my ($real) = $url =~ /host=([^&]+)/;

	return $url if !$self->{proxy}{database};
	make_path($dir);
	$self->door('database', 'database', "$dir/.s.PGSQL.5432",
	    "$real/.s.PGSQL.5432");
	return $url =~ s/host=[^&]+/host=$dir/r;
}

sub migrate ($self, @args)
{
	return run([ "$self->{build}/ai-chat-migrate", '--dir', "$TOP/sql",
	    @args ], env => $self->worker_env, log => "$self->{log}/migrate.log");
}

# -- the stand-in model ------------------------------------------------------

# After a restart it has the same port.
sub start_model ($self, @args)
{
	$self->launch('model', 'the stand-in model', [ 'ai-chat-model', @args ]);
	$self->use_model($self->{model_port});
}

# A second stand-in, for the fallback model.
sub start_second_model ($self, @args)
{
	$self->launch('second', 'the second stand-in model',
	    [ 'ai-chat-model', @args ]);
	$self->use_model($self->{second_port}, 'second', 'OPENAI_FALLBACK');
}

# Points the settings at a model on a port of this host, or at the proxy before
# it.
sub use_model ($self, $port, $which = 'model', $setting = 'OPENAI')
{
	my $s = $self->{settings};

	if ($self->{tls}) {
		$port = $self->tls_end($which, $port);
		$s->{"${setting}_CA_FILE"} //=
		    AIChat::TLS::ca_file($self->{certs});
	}
	$s->{"${setting}_BASE_URL"} = ($self->{tls} ? 'https' : 'http')
	    . '://127.0.0.1:' . $self->door('model', $which, 0, $port) . '/v1';
	$s->{"${setting}_API_KEY"} //= "$which-stand-in";
}

# Starts the TLS end before a model, unless it runs; returns its port. The end
# stays when the model is stopped and started again.
sub tls_end ($self, $which, $port)
{
	my $end = $self->{tls_ends}{$which} //= AIChat::TLS->start(
	    kind => $self->{tls}, certs => $self->{certs},
	    to => $self->door('model_plain', "${which}_plain", 0, $port),
	    dir => "$self->{run}/tls-$which", net => $self->{net},
	    log => "$self->{log}/tls-$which.log");

	return $end->port;
}

# Starts one of our stand-ins. Its port is from free_port and not chosen by the
# kernel, because an outgoing connection could take the latter while the
# stand-in is stopped. The stand-in writes its port into a file when it listens.
sub launch ($self, $which, $name, $cmd, %env)
{
	my ($program, @args) = @$cmd;
	my $file = "$self->{run}/$which.port";
	my $port = $self->{"${which}_port"} //= free_port();

	unlink $file;
	my $proc = $self->{$which} = AIChat::Proc->start(
	    name => $name,
	    cmd => [ "$self->{build}/$program", '--port', $port,
		'--port-file', $file, @args ],
	    env => { base_env(), $self->sanitizer_env, %env },
	    net => $self->{net}, log => "$self->{log}/$which.log");

	wait_for(sub { must_live($proc); -s $file }, 20, $proc->{name});
}

# Starts the stand-in seller-data API in the same way.
sub start_server ($self)
{
	my $s = $self->{settings};

	$s->{SERVER_API_KEY} //= 'server-stand-in';
	$self->launch('server', 'the stand-in Server', [ 'ai-chat-seller' ],
	    SERVER_API_KEY => $s->{SERVER_API_KEY});
	$s->{SERVER_HOST} = 'http://127.0.0.1:' . $self->door('server',
	    'server', 0, $self->{server_port});
}

sub must_live ($proc)
{
	die "$proc->{name} " . $proc->how_it_ended . ":\n"
	    . tail($proc->log_path) if !$proc->alive;
}

sub model ($self) { return $self->{model} }
sub model_port ($self) { return $self->{model_port} }
sub second_port ($self) { return $self->{second_port} }
sub server ($self) { return $self->{server} }
sub server_port ($self) { return $self->{server_port} }

sub sanitizer_env ($self)
{
	return map { ($_ => $self->{settings}{$_}) }
	    grep { /^(A|L|T|UB)SAN_OPTIONS$/ } keys %{ $self->{settings} };
}

# -- Redis -------------------------------------------------------------------

# A Redis of our own that stores nothing on disk, with further settings. Points
# the workers at it; after a restart it has the same address.
sub start_redis ($self, @args)
{
	my $proc = $self->{redis} = AIChat::Proc->start(
	    name => 'Redis',
	    cmd => [ 'redis-server', '--port', 0, '--unixsocket',
		$self->redis_socket, '--dir', $self->{run}, '--save', '',
		'--appendonly', 'no', @args ],
	    env => { base_env() }, log => "$self->{log}/redis.log");

	wait_for(sub {
		must_live($proc);
		return IO::Socket::UNIX->new(Peer => $self->redis_socket);
	}, 20, 'Redis');
	$self->{settings}{REDIS_URL} //= 'unix://' . $self->door('redis', 'redis',
	    "$self->{run}/redis-door.sock", $self->redis_socket);
}

sub redis ($self) { return $self->{redis} }
sub redis_socket ($self) { return "$self->{run}/redis.sock" }

# The reply of Redis to a command, as redis-cli prints it; not through a proxy.
sub redis_cli ($self, @args)
{
	return run([ 'redis-cli', '-e', '-s', $self->redis_socket, @args ]);
}

# -- workers -----------------------------------------------------------------

sub socket_of ($self, $n) { return "$self->{run}/worker-$n.sock" }
sub door_of ($self, $n)
{
	return $self->door('workers', "worker $n", "$self->{run}/door-$n.sock",
	    $self->socket_of($n));
}

sub worker_log_path ($self, $n) { return "$self->{log}/worker-$n.log" }
sub worker ($self, $n) { return $self->{workers}{$n} }

sub worker_numbers ($self)
{
	return sort { $a <=> $b } keys %{ $self->{workers} };
}

# Like the systemd unit; does not wait.
sub launch_worker ($self, $n)
{
	return $self->{workers}{$n} = AIChat::Proc->start(
	    name => "worker $n",
	    cmd => [ 'spawn-fcgi', '-n', '-s', $self->socket_of($n), '-M',
		'0660', '-b', $self->{backlog} // 4096, '--', @{ $self->{wrap} // [] },
		"$self->{build}/ai-chat-worker" ],
	    env => { AI_CHAT_INSTANCE => $n, %{ $self->worker_env } },
	    net => $self->{net},
	    log => $self->worker_log_path($n));
}

# Waits until the worker answers a request, not only until its socket exists.
sub worker_answers ($self, $n)
{
	my ($status) = AIChat::FastCGI::request($self->socket_of($n),
	    { DOCUMENT_URI => '/health', X_REQUEST_ID => 'ready' });
	return ($status // 0) == 200;
}

sub wait_for_worker ($self, $n)
{
	wait_for(sub {
		must_live($self->{workers}{$n});
		return -S $self->socket_of($n) && $self->worker_answers($n);
	}, 30, "worker $n to answer");
}

sub start_workers ($self, @n)
{
	$self->launch_worker($_) for @n;
	$self->wait_for_worker($_) for @n;
}

# Drains: returns when the last chat in flight is answered.
sub stop_worker ($self, $n, $sig = 'TERM', $seconds = undef)
{
	my $proc = delete $self->{workers}{$n} or return;
	my $drained = $proc->stop($sig, $seconds // $self->deadline_s + 10);
	unlink $self->socket_of($n);
	return ($drained, $proc);
}

# Scaling up starts workers first and then changes Nginx; scaling down, in
# reverse.
sub scale ($self, $count)
{
	my @now = $self->worker_numbers;
	my @new = grep { !$self->{workers}{$_} } 1 .. $count;
	my @surplus = grep { $_ > $count } @now;

	if (!eval { $self->start_workers(@new); 1 }) {
		my $why = $@;
		$self->stop_worker($_, 'KILL') for @new;
		die $why;
	}
	$self->write_upstream(1 .. $count);
	$self->reload_nginx;
	$self->stop_worker($_) for @surplus;
}

# -- Nginx -------------------------------------------------------------------

# Fills in the names of a template.
sub fill ($self, $template, %value)
{
	my $text = slurp("$TOP/nginx/$template");
	$text =~ s/\@([A-Z_]+)\@/$value{$1} \/\/ die "$template: \@$1\@?\n"/ge;
	return $text;
}

sub write_upstream ($self, @n)
{
	spew("$self->{run}/upstream.conf", join '', $self->{hosts}
	    ? map { $self->fill('ai-chat-hosts.conf.in', HOST => $_) }
		@{ $self->{hosts} }
	    : map { $self->fill('ai-chat-upstream.conf.in',
		SOCKET => $self->door_of($_)) } @n);
}

sub write_nginx_conf ($self)
{
	my $is_front = $self->{hosts};

	make_path("$self->{run}/conf.d", "$self->{run}/extras");
	spew("$self->{run}/conf.d/ai-chat.conf", $self->fill(
	    $is_front ? 'ai-chat-front.conf.in' : 'ai-chat.conf.in',
	    LISTEN => $self->address . ":$self->{port}"
		. ($self->{listen} // ''),
	    METRICS => "127.0.0.1:$self->{metrics_port}",
	    SHARED => "$TOP/nginx",
	    UPSTREAM => "$self->{run}/upstream.conf",
	    HOSTS => "$self->{run}/upstream.conf",
	    EXTRAS => "$self->{run}/extras/*.conf",
	    METRICS_EXTRAS => "$self->{run}/extras/metrics/*.conf",
	    READ_TIMEOUT => ($self->{read_timeout_s}
		// $self->deadline_s + ($is_front ? 15 : 10)) . 's'));
	spew("$self->{run}/nginx.conf", $self->fill('nginx.conf.in',
	    USER => $> == 0 ? 'user root;' : '',
	    RUN => $self->{run}, LOG => $self->{log},
	    NOFILE => $self->nofile, SHARED => "$TOP/nginx",
	    CONF_D => "$self->{run}/conf.d"));
}

sub nofile ($self)
{
	my $most = $self->{nofile} // 16384;
	my ($n) = run([ 'sh', '-c', 'ulimit -Hn' ]) =~ /^(\d+)/;
	return !$n || $n > $most ? $most : $n;
}

sub start_nginx ($self)
{
	$self->write_nginx_conf;
	$self->write_upstream($self->worker_numbers);
	$self->{nginx} = AIChat::Proc->start(name => 'Nginx',
	    cmd => [ 'nginx', '-c', "$self->{run}/nginx.conf", '-p',
		$self->{run} ],
	    env => { base_env() }, log => "$self->{log}/nginx.log",
	    net => $self->{net}, death => 'TERM');
	wait_for(sub {
		must_live($self->{nginx});
		return IO::Socket::INET->new(PeerAddr => $self->address,
		    PeerPort => $self->{port});
	}, 20, 'Nginx');
}

# The whole configuration, if it is valid.
sub test_nginx ($self)
{
	return run([ 'nginx', '-T', '-c', "$self->{run}/nginx.conf", '-p',
	    $self->{run} ]);
}

sub nginx ($self) { return $self->{nginx} }
sub nginx_log_path ($self) { return "$self->{log}/nginx.log" }

# Returns when the new list is in effect: no Nginx process uses the old one,
# except for requests in flight.
sub reload_nginx ($self)
{
	my $nginx = $self->{nginx} or return;
	my $pid = $nginx->pid;
	my @old = split ' ', slurp("/proc/$pid/task/$pid/children");

	$nginx->signal('HUP');
	wait_for(sub {
		!grep { is_at_work($_) } @old;
	}, 10, 'Nginx to take its new list of workers');
}

sub is_at_work ($pid)
{
	my $title = eval { slurp("/proc/$pid/cmdline") } // '';
	return $title ne '' && $title !~ /is shutting down/;
}

# -- all of it ---------------------------------------------------------------

# In the order that loses nothing: no new requests, then the requests in flight,
# then the parts that they use. Returns the parts that had to be killed.
sub stop ($self, $seconds = 10)
{
	my @killed;
	my $end = sub ($what, $sig, $seconds) {
		my $proc = delete $self->{$what} or return;
		push @killed, $proc->{name} if !$proc->stop($sig, $seconds);
	};

	$end->('nginx', 'QUIT', $seconds);
	$_->signal('TERM') for values %{ $self->{workers} };
	for my $n ($self->worker_numbers) {
		my ($drained) = $self->stop_worker($n, 'TERM', $seconds);
		push @killed, "worker $n" if !$drained;
	}
	(delete $self->{dying})->stop if $self->{dying};
	# A test may have stopped it.
	$self->{redis}->signal('CONT') if $self->{redis};
	delete($self->{tls_ends}{$_})->stop for keys %{ $self->{tls_ends} };
	$end->($_, 'TERM', $seconds) for qw(model second server redis);
	delete($self->{proxies}{$_})->stop for keys %{ $self->{proxies} };
	push @killed, 'PostgreSQL' if $self->{pg} && !$self->{pg}->is_shared
	    && !$self->{pg}->stop_after_sessions;
	remove_dir($self->{run});
	return @killed;
}

1;
