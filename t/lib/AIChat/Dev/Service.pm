package AIChat::Dev::Service;

# The commands of ./dev that run the service on this machine.
#
# ./dev up starts all parts and then supervises them: it starts a worker again that has
# ended, and answers the other commands on a unix socket (AIChat::Control).  A lock on
# a file of AI_CHAT_VAR makes it the only one; the kernel releases the lock of a
# supervisor that was killed.

use v5.36;
use utf8;
use AIChat::Control;
use AIChat::Dev qw(top var var_path port usage mistake error_text install_packages build
    @PACKAGES);
use AIChat::Dev::Logs;
use AIChat::Postgres;
use AIChat::Proc qw(wait_for slurp spew tail temp_dir port_is_free);
use AIChat::Stack;
use Fcntl qw(:flock);
use File::Temp ();
use Getopt::Long qw(GetOptionsFromArray :config no_auto_abbrev
    require_order bundling_values);
use HTTP::Tiny;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time);

my $QUESTION = 'Как увеличить продажи карточки товара?';

# -- settings ----------------------------------------------------------------

# The part of our environment that is for the workers: everything that could be a
# setting, so that a worker refuses a misspelt one.  An empty variable counts as unset.
sub settings
{
	my %s = map { ($_ => $ENV{$_}) } grep { length $ENV{$_} } grep {
		/^(?:AI_CHAT|OPENAI|SERVER|REDIS)_/
		|| /^(?:API_SECRET_KEY|API_ADMIN_KEY|DATABASE_URL)(?:_FILE)?$/
		|| /^(?:LOG_LEVEL|SSL_CERT_FILE|SSL_CERT_DIR)$/
		|| /^(?:A|L|T|UB)SAN_OPTIONS$/
		|| (/^PG[A-Z]+$/ && own_database())
	} keys %ENV;

	delete $s{AI_CHAT_VAR};
	return \%s;
}

sub given ($name)
{
	return length($ENV{$name} // '') || length($ENV{"${name}_FILE"} // '');
}

sub own_database { return given('DATABASE_URL') }
sub own_model { return given('OPENAI_API_KEY') }

# The caller's key; when none is given, one is made and kept.
sub api_key
{
	my $path = var() . '/api-key';

	if (given('API_SECRET_KEY')) {
		my $keys = $ENV{API_SECRET_KEY}
		    || slurp($ENV{API_SECRET_KEY_FILE});
		return (grep { length } map { s/^\s+|\s+$//gr } split /,/,
		    $keys)[0] // '';
	}
	if (!-e $path) {
		open my $random, '<:raw', '/dev/urandom' or die "urandom: $!\n";
		sysread $random, my $bytes, 24;
		spew($path, unpack('H*', $bytes) . "\n", 0600);
	}
	return slurp($path) =~ s/\n\z//r;
}

# The key as text for a command line: the one that was made here is printed, of a key
# that the user gave only the place is.
sub key_to_paste
{
	return api_key() if !given('API_SECRET_KEY');
	return '${API_SECRET_KEY%%,*}' if length($ENV{API_SECRET_KEY} // '');
	return "\$(cut -d, -f1 $ENV{API_SECRET_KEY_FILE})";
}

# -- the supervisor ----------------------------------------------------------

my $lock;
sub take_lock
{
	my $path = var() . '/lock';

	open $lock, '>>', $path or die "$path: $!\n";
	return flock $lock, LOCK_EX | LOCK_NB;
}

my ($stack, $leaving, $control);
my %with;	# the optional parts that were asked for

sub start_all ($workers)
{
	my $var = var();
	my $run = temp_dir('ai-chat');
	unlink "$var/run";
	symlink $run, "$var/run" or die "$var/run: $!\n";
	unlink AIChat::Dev::Logs::paths("$var/log");
	my $s = settings();

	$stack = AIChat::Stack->new(dir => $var, run => $run, port => port(),
	    metrics_port => port() + 1,
	    settings => $s, build => "$var/build");
	$s->{API_SECRET_KEY} = api_key() if !given('API_SECRET_KEY');
	if (!own_database()) {
		my $pg = $stack->{pg} = AIChat::Postgres->new(dir => $var,
		    run => $run);
		$pg->start;
		$pg->make_database('ai_chat');
		$s->{DATABASE_URL} = $pg->url('ai_chat');
		say 'PostgreSQL ', $pg->proc->pid;
	}
	$stack->migrate;
	if (!own_model()) {
		# With the figures there is something to look at.
		$stack->start_model($with{server} ? '--record' : ());
		say 'stub model ', $stack->model->pid;
	}
	if ($with{redis} && !given('REDIS_URL')) {
		$stack->start_redis;
		say 'Redis ', $stack->redis->pid;
	}
	if ($with{server} && !given('SERVER_HOST')) {
		$stack->start_server;
		say 'stub seller-data API ', $stack->server->pid;
	}
	$stack->start_workers(1 .. $workers);
	say "worker $_ ", $stack->worker($_)->pid for $stack->worker_numbers;
	$stack->start_nginx;
	say 'Nginx ', $stack->nginx->pid, ', ', $stack->url;
	spew("$run/database", $s->{DATABASE_URL}
	    // slurp($s->{DATABASE_URL_FILE}) =~ s/\n\z//r, 0600);
	# Before the command returns, so that the next one finds the socket.
	$control = AIChat::Control->new($stack, verbs => {
		down => sub { $leaving = 1; return \'when all is down' },
		parts => \&parts_text,
	});
	my %env = $control->env;
	spew("$run/ctl.env", join '', map { "$_=$env{$_}\n" } sort keys %env);
}

# Starts a worker that has ended again after 200 ms, as the systemd unit does.
sub restart_ended_workers
{
	state %due;

	return if $leaving;
	for my $n ($stack->worker_numbers) {
		my $worker = $stack->worker($n);
		next if $worker->alive;
		if (!$due{$n}) {
			say "worker $n ", $worker->how_it_ended;
			$due{$n} = time + 0.2;
		} elsif (time >= $due{$n}) {
			delete $due{$n};
			$stack->{restarts}{$n}++;
			$stack->launch_worker($n);
		}
	}
}

sub supervise
{
	$SIG{CHLD} = sub {};
	local $AIChat::Proc::MEANWHILE = \&restart_ended_workers;

	my $asker;
	while (!$leaving) {
		restart_ended_workers();
		$asker = $control->serve(0.1);
	}
	say 'Stopping';
	say "$_ had to be killed" for $stack->stop;
	unlink var() . '/run';
	print $asker "ok\n" if $asker;
}

# All parts but the workers, which ai-chatctl lists.  Dies with the same text when one
# of them has ended, so that the command fails.
sub parts_text
{
	my $failed;
	my $line = sub ($what, $proc) {
		return '' if !$proc;
		return sprintf "%s pid %d up %d s\n", $what, $proc->pid,
		    time - $proc->since if $proc->alive;
		$failed = 1;
		return "$what " . $proc->how_it_ended . "\n";
	};
	my $text = join '', $line->('nginx', $stack->nginx),
	    $line->('postgresql', $stack->pg && $stack->pg->proc),
	    $line->('model', $stack->model),
	    $line->('redis', $stack->redis),
	    $line->('server', $stack->server);
	die $text if $failed;
	return $text;
}

# Sends a command to the supervisor and prints the reply.  Returns nothing where no
# supervisor runs, else whether the command succeeded.
sub ask_supervisor (@words)
{
	my $run = readlink var() . '/run' or return;
	my ($ok, $text) = AIChat::Control::ask("$run/control", @words);

	return if !defined $ok;
	utf8::decode($text);
	print $text;
	return $ok;
}

# Runs ai-chatctl on the service of this directory; returns its exit status, or nothing
# where no supervisor runs.
sub ctl (@args)
{
	my $run = readlink var() . '/run' or return;
	my $file = "$run/ctl.env";

	return if !defined AIChat::Control::ask("$run/control", 'list');
	local %ENV = (%ENV, map { /^(\w+)=(.*)$/ ? ($1 => $2) : () }
	    split /\n/, slurp($file));
	utf8::encode($_) for @args;
	system { var() . '/build/ai-chatctl' } 'ai-chatctl', @args;
	return $? >> 8 || ($? ? 1 : 0);
}

# -- up ----------------------------------------------------------------------

sub run_up (@args)
{
	my ($detach, $workers, $ask) = (0, 2, undef);

	GetOptionsFromArray(\@args, 'd' => \$detach, 'workers=i' => \$workers,
	    'server' => \$with{server}, 'redis' => \$with{redis},
	    'ask=s' => \$ask) && !@args && $workers >= 1 or return usage();
	# Nginx listens on the next port as well.
	return mistake("AI_CHAT_PORT must be a port from 1 to 65534, not \"@{[ port() ]}\"")
	    if port() !~ /^[1-9]\d{0,4}\z/ || port() > 65534;
	if (!take_lock()) {
		my $ok = ask_supervisor('parts');
		ctl('status') if defined $ok;
		say 'Already running; ./dev down stops it.' if defined $ok;
		return 0 if defined $ok;
		# A supervisor that was killed may still be removing its files.
		eval { wait_for(\&take_lock, 20, '') }
		    or die 'another ./dev is using ' . var() . "\n";
	}
	must_have_ports();
	install_packages(@PACKAGES, $with{redis} ? 'redis-server' : ());
	build(undef, 'all');
	return $detach ? up_detached($workers, $ask) : up_here($workers, $ask);
}

sub must_have_ports
{
	my $port = port();

	die "could not listen on port $port: $!; choose another with "
	    . "AI_CHAT_PORT\n" if !port_is_free($port);
	die "could not listen on port @{[ $port + 1 ]}, for /metrics: $!; choose "
	    . "another AI_CHAT_PORT\n" if !port_is_free($port + 1);
}

sub up_here ($workers, $ask)
{
	start_and_ask($workers, $ask);
	say 'Ctrl-C stops it.';
	supervise();
	return 0;
}

# The child supervises.  The parent prints the child's output until the service is
# ready.
sub up_detached ($workers, $ask)
{
	pipe my $r, my $w or die "could not make a pipe: $!\n";
	my $pid = fork // die "could not fork: $!\n";

	if ($pid) {
		close $w;
		binmode $r, ':encoding(UTF-8)';
		while (my $line = <$r>) {
			return 0 if $line eq "\0\n";
			print $line;
		}
		return 1;
	}
	close $r;
	POSIX::setsid();
	open STDIN, '<', '/dev/null';
	redirect_output('>&', $w);
	start_and_ask($workers, $ask);
	say "\0";
	close $w;
	redirect_output('>>', var() . '/log/dev.log');
	supervise();
	return 0;
}

sub redirect_output ($mode, $where)
{
	open STDOUT, $mode, $where or die "could not write $where: $!\n";
	open STDERR, '>&', \*STDOUT;
	binmode $_, ':encoding(UTF-8)' for *STDOUT, *STDERR;
	STDOUT->autoflush;
}

# Starts everything, or nothing: after a failure it stops what it has started, and
# exits.
sub start_and_ask ($workers, $ask)
{
	$SIG{$_} = sub { $leaving = 1 } for qw(INT TERM HUP);
	$SIG{PIPE} = 'IGNORE';
	local $AIChat::Proc::MEANWHILE = sub {
		die "interrupted\n" if $leaving;
	};
	return if eval {
		start_all($workers);
		send_first_question($ask);
		1;
	};
	say 'Could not start: ', error_text($@);
	undef $AIChat::Proc::MEANWHILE;
	$stack->stop if $stack;
	unlink var() . '/run';
	exit 1;
}

# A real model costs money, so it is sent a question only with --ask.
sub send_first_question ($ask)
{
	if (!own_model()) {
		say '';
		say 'OPENAI_API_KEY is not set, so a stub model answers.';
		say 'It always gives the same answer, at no cost.';
		$ask //= $QUESTION;
	}
	if ($stack->server) {
		say '';
		say 'A stub of the seller-data API makes up figures of each seller.'
		    . ' The model gets them', $stack->model ? ':' : '.';
		say 'curl -s http://127.0.0.1:', $stack->model_port, '/last'
		    if $stack->model;
	} elsif ($with{server}) {
		say '';
		say 'SERVER_HOST is set, so the stub of the seller-data API is not'
		    . ' started.';
	}
	if (defined $ask) {
		say '';
		say "> $ask";
		say ask_model($ask);
	}
	say '';
	say 'Send a question:';
	say '';
	say "curl -s @{[ $stack->url ]}/v1/chat/send \\";
	say qq(  -H "X-API-KEY: @{[ key_to_paste() ]}" \\);
	say q(  -H 'Content-Type: application/json' \\);
	say qq(  -d '{"telegram_id": 1, "message": "$QUESTION"}');
	say '';
}

sub ask_model ($text)
{
	my $json = JSON::PP->new->utf8;
	my $got = HTTP::Tiny->new(timeout => 90)->post(
	    $stack->url . '/v1/chat/send', {
		headers => { 'X-API-KEY' => api_key(),
		    'Content-Type' => 'application/json' },
		content => $json->encode({ telegram_id => 1,
		    message => $text }),
	    });
	my $answer = eval { $json->decode($got->{content}) };

	return $answer->{response} if $got->{status} == 200;
	return $answer->{detail}{message} if $got->{status} == 429;
	utf8::decode($got->{content});
	die "the first question got $got->{status} $got->{content}\n";
}

# -- the other commands ------------------------------------------------------

sub report_not_running
{
	say 'Not running; ./dev up starts it.';
	return 1;
}

# The commands and options of ai-chatctl, once it is built.
sub ctl_words
{
	open my $help, '-|', 'sh', '-c', 'exec "$0" --help 2>/dev/null',
	    var_path() . '/build/ai-chatctl' or return;
	my $text = do { local $/; <$help> } // '';

	return ($text =~ /^  ([a-z][a-z-]*)/mg, $text =~ /(--[a-z-]+)/g);
}

sub run_ctl (@args) { return ctl(@args) // report_not_running() }

sub run_status (@args)
{
	return usage() if @args;
	my $ok = ask_supervisor('parts') // return report_not_running();
	my $status = ctl('status') // 1;
	return $ok ? $status : 1;
}

sub run_restart (@args)
{
	return usage() if @args > 1;
	return run_ctl('restart', @args);
}

sub run_scale (@args)
{
	return usage() if @args != 1;
	return run_ctl('scale', @args);
}

sub run_down (@args)
{
	return usage() if @args;
	if (!defined ask_supervisor('down')) {
		say 'Not running.' if take_lock();
	}
	wait_for(\&take_lock, 120, 'the other ./dev to end');
	return 0;
}

sub run_psql (@args)
{
	my $file = var() . '/run/database';
	my $url = length($ENV{DATABASE_URL} // '') ? $ENV{DATABASE_URL}
	    : length($ENV{DATABASE_URL_FILE} // '')
	    ? slurp($ENV{DATABASE_URL_FILE}) =~ s/\n\z//r
	    : -e $file ? slurp($file)
	    : return report_not_running();

	# Every user of the machine can read the arguments of a process, so the
	# password goes through a file that only this user can read.  A service file
	# takes everything that a connection string does.
	my %set = AIChat::Postgres::settings_of($url);
	my $dir = File::Temp->newdir;
	spew("$dir/service", join '', "[ai-chat]\n",
	    map { "$_=$set{$_}\n" } sort keys %set);
	local @ENV{qw(PGSERVICEFILE PGSERVICE)} = ("$dir/service", 'ai-chat');
	# Ctrl-C is for psql.
	local $SIG{INT} = 'IGNORE';
	utf8::encode($_) for @args;
	my $rc = system { 'psql' } 'psql', @args;
	die "could not run psql: $!\n" if $rc == -1;
	return $rc & 127 ? 128 + ($rc & 127) : $rc >> 8;
}

sub commands
{
	return ({
		name => 'up',
		args => '[-d] [--workers N] [--server] [--redis] [--ask TEXT]',
		line => 'install, build, start everything, send a first question',
		run => \&run_up,
		help => <<'END',
Installs the packages that are missing, builds the programs, and starts
PostgreSQL, the workers, Nginx and, without an OPENAI_API_KEY, a stub model.
Then it sends a first question. It runs until Ctrl-C.

  -d           return when everything is ready; ./dev down stops it
  --workers N  start N workers (2)
  --server     start a stub of the seller-data API too, unless SERVER_HOST is
               set
  --redis      start a Redis too, unless REDIS_URL is set
  --ask TEXT   send this question, also to a real model

The workers get their settings from the environment; docs/configuration.md lists
them. Nginx listens on AI_CHAT_PORT (9001), and on the next port for /metrics.
END
	}, {
		name => 'down', args => '',
		line => 'stop everything',
		run => \&run_down,
		help => <<'END',
Stops what ./dev up has started, and returns when all processes have ended. The
database and the logs are kept.
END
	}, {
		name => 'status', args => '',
		line => 'list the processes that run',
		run => \&run_status,
		help => <<'END',
Lists the processes that run, with their process ids, and the state of each
worker. The exit status is 1 when nothing runs, when a process has ended that
should run, or when a worker has a problem.
END
	}, {
		name => 'scale', args => 'N',
		line => 'change the number of workers',
		run => \&run_scale,
		help => <<'END',
Starts or stops workers until there are N. Requests in flight are answered
first.
END
	}, {
		name => 'restart', args => '[N]',
		line => 'restart one worker after another, or worker N',
		run => \&run_restart,
		help => <<'END',
Restarts the workers one after another, so that the others answer meanwhile, or
only worker N. To test a change: ./dev build, then ./dev restart.
END
	}, {
		name => 'psql', args => '[ARGUMENT...]',
		line => 'open the database with psql',
		run => \&run_psql, foreign => 1,
		help => <<'END',
Runs psql with these arguments on the database of ./dev up, or of DATABASE_URL.
"psql --help" lists them.
END
	}, {
		name => 'ctl', args => '[ARGUMENT...]',
		line => 'run ai-chatctl on the service',
		run => \&run_ctl, foreign => 1, words => \&ctl_words,
		help => <<'END',
Runs ai-chatctl with these arguments on the service that ./dev up has started.
docs/operation.md describes it, and "man man/ai-chatctl.8" lists the commands.
END
	});
}

1;
