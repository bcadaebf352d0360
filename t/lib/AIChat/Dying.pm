package AIChat::Dying;

# Redis and the stand-in seller-data API, added to a test that does not need
# them, and killed during the test. A process of its own starts them, kills,
# freezes and restarts them at random moments until it is stopped. They keep
# their addresses.

use v5.36;
use AIChat::Proc qw(wait_for);
use IO::Handle;
use POSIX ();
use Time::HiRes qw(sleep time);

# Long enough for a circuit breaker to close sometimes, and short enough that
# few chats are affected.
use constant { WELL_S => [ 0.05, 1 ], ILL_S => [ 0.05, 0.6 ],
    # A chat waits for a frozen seller-data API, and the deadlines of some tests
    # leave a few hundred milliseconds only. The limit of 800 ms is tested in
    # t/server.t.
    FROZEN_SERVER_S => [ 0.05, 0.2 ] };

#   stack  an AIChat::Stack; its settings point at both when this returns
#   parts  [ qw(redis server) ], or one of them
#   seed   of the random moments
sub start ($class, %o)
{
	my $self = bless {%o}, $class;
	my $parent = $$;

	pipe my $r, my $w or die "could not make a pipe: $!\n";
	$self->{pid} = fork // die "could not fork: $!\n";
	if (!$self->{pid}) {
		close $r;
		eval { $self->live($parent, $w); 1 } or print $w "died $@";
		POSIX::_exit(0);
	}
	close $w;
	my $settings = $o{stack}->settings;
	while (my $line = <$r>) {
		chomp $line;
		my ($name, $value) = split / /, $line, 2;
		die "what is to die: $value\n" if $name eq 'died';
		$settings->{$name} = $value;
	}
	return $self;
}

# All data of Redis are lost then.
sub stop ($self)
{
	my $pid = delete $self->{pid} or return;

	kill 'TERM', $pid;
	waitpid $pid, 0;
}

sub live ($self, $parent, $say)
{
	my ($stack, $ended) = ($self->{stack}, 0);

	local @SIG{qw(TERM INT HUP)} = (sub { $ended = 1 }) x 3;
	local $AIChat::Proc::MEANWHILE;
	srand $self->{seed};
	$self->begin($_) for @{ $self->{parts} };
	my $s = $stack->settings;
	print $say "$_ $s->{$_}\n" for grep { defined $s->{$_} }
	    qw(REDIS_URL SERVER_HOST SERVER_API_KEY);
	close $say;

	my %due = map { $_ => time + between(WELL_S) } @{ $self->{parts} };
	my %well = map { $_ => 1 } @{ $self->{parts} };
	# The process that started us may have been killed.
	while (!$ended && getppid == $parent) {
		for my $part (grep { $due{$_} <= time } sort keys %due) {
			$well{$part} = $well{$part} ? !$self->harm($part)
			    : $self->heal($part);
			$due{$part} = time + between($well{$part} ? WELL_S
			    : $part eq 'server' && $self->{frozen}{$part}
			    ? FROZEN_SERVER_S : ILL_S);
		}
		sleep 0.01;
	}
	# A frozen process does not end on SIGTERM.
	$_->stop('KILL') for grep { $_ } map { $stack->{$_} }
	    @{ $self->{parts} };
}

sub between ($range) { return $range->[0] + rand($range->[1] - $range->[0]) }

sub begin ($self, $part)
{
	my $stack = $self->{stack};

	return $part eq 'redis' ? $stack->start_redis : $stack->start_server;
}

sub harm ($self, $part)
{
	my $proc = $self->{stack}{$part};

	$self->{frozen}{$part} = rand() < 0.5;
	if ($self->{frozen}{$part}) {
		$proc->signal('STOP');
	} else {
		$proc->stop('KILL');
	}
	return 1;
}

# Tries again later when the port is still in use.
sub heal ($self, $part)
{
	if (delete $self->{frozen}{$part}) {
		$self->{stack}{$part}->signal('CONT');
		return 1;
	}
	return eval { $self->begin($part); 1 };
}

1;
