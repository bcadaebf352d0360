package AIChat::Control;

# The service manager of a stack, as far as ai-chatctl needs one: t/tools/hook
# sends a request over a unix socket, and this module answers. A request is one
# line; the response is several lines, of which the last one is "ok" or "error".

use v5.36;
use AIChat::Proc qw(spew);
use IO::Socket::UNIX;

#   verbs  further ones, { name => sub (@args) }, each returning what to say
sub new ($class, $stack, %o)
{
	my $self = bless { stack => $stack, path => $stack->run_dir . '/control' },
	    $class;

	$self->{listener} = IO::Socket::UNIX->new(Local => $self->{path},
	    Listen => 8) or die "could not listen on $self->{path}: $!\n";
	chmod 0600, $self->{path};
	$self->{verbs} = {
		start => sub ($n) { $self->start($n) },
		stop => sub ($n) { $stack->stop_worker($n); '' },
		list => sub { $self->list },
		'test-nginx' => sub { $stack->test_nginx },
		'reload-nginx' => sub { $stack->nginx->signal('HUP'); '' },
		%{ $o{verbs} // {} },
	};
	return $self;
}

# One attempt only: the log of the service has the reason why it ended.
sub start ($self, $n)
{
	my $stack = $self->{stack};

	return '' if eval { $stack->start_workers($n); 1 };
	my $why = $@;
	$stack->stop_worker($n, 'KILL');
	die $why;
}

sub list ($self)
{
	my $stack = $self->{stack};

	return join '', (map {
		my $worker = $stack->worker($_);
		join(' ', $_, $worker->alive ? $worker->pid : 0,
		    $stack->{restarts}{$_} // 0) . "\n"
	} $stack->worker_numbers), 'nginx ' . ($stack->nginx
	    && $stack->nginx->alive ? $stack->nginx->pid : 0) . "\n";
}

# Answers requests for so many seconds. Returns the socket of a caller whose
# request takes effect later.
sub serve ($self, $seconds)
{
	vec(my $ready = '', fileno $self->{listener}, 1) = 1;
	return if select($ready, undef, undef, $seconds) <= 0;
	my $asker = $self->{listener}->accept or return;
	my ($what, @args) = split ' ', <$asker> // '';
	my $verb = $self->{verbs}{ $what // '' };
	my $text = eval {
		die "there is no $what\n" if !$verb;
		$verb->(@args);
	};

	return $asker if ref $text;
	print $asker defined $text ? "${text}ok\n" : "$@error\n";
	close $asker;
	return;
}

# Where ai-chatctl finds this service manager, and the workers' settings as a
# file that only we may read.
sub env ($self)
{
	my $stack = $self->{stack};
	my $run = $stack->run_dir;
	my $env = $stack->worker_env;

	spew("$run/worker.env", join('', map {
		"$_=\"" . $env->{$_} =~ s/(["\\`\$])/\\$1/gr . "\"\n"
	} sort keys %$env), 0600);
	return (
		AIC_CONTROL => $self->{path},
		AI_CHATCTL_HOOK => AIChat::Stack::top() . '/t/tools/hook',
		AI_CHATCTL_UPSTREAM => "$run/upstream.conf",
		AI_CHATCTL_SOCKET => "$run/worker-%i.sock",
		AI_CHATCTL_ENV_FILE => "$run/worker.env",
		AI_CHATCTL_LOCK => "$run/ctl.lock",
		AI_CHATCTL_SQL_DIR => AIChat::Stack::top() . '/sql',
		AI_CHATCTL_BIN_DIR => $stack->{build},
	);
}

# The client. Returns nothing when no service manager answers, else whether the
# request succeeded, and the text of the response.
sub ask ($path, @words)
{
	my $sock = IO::Socket::UNIX->new(Peer => $path) or return;
	my @lines;

	print $sock "@words\n";
	push @lines, $_ while <$sock>;
	my $end = @lines && $lines[-1] =~ /^(?:ok|error)$/ ? pop @lines : '';
	return ($end eq "ok\n" ? 1 : 0, join '', @lines);
}

1;
