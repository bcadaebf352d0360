package AIChat::Load;

# Callers that send one chat after another while a test disturbs the service,
# and the result of each chat.
#
#	my $load = $s->start_load(callers => 8, users => [ 1 .. 5 ]);
#	wait_for(sub { $load->count(200) > 20 }, 10, 'chats');
#	...
#	my @answers = $load->stop;

use v5.36;
use utf8;
use IO::Select;
use POSIX ();
use Time::HiRes qw(sleep time);

# All callers share one process.
#   callers  how many chats are in flight at any time
#   users    the users of the chats, in turn
#   message  with or without a mark of the stand-in model
#   sizes    [ bytes ]: of the answers, at random; the default is realistic.  An
#            empty list leaves the size to the message
#   pause    of a caller, between a response that is no 200 and its next chat
sub start ($class, $test, %o)
{
	state $n = 0;
	my $self = bless { file => $test->dir . '/load' . ++$n }, $class;

	open my $out, '>', $self->{file} or die "$self->{file}: $!\n";
	$out->autoflush;
	pipe my $r, my $w or die "could not make a pipe: $!\n";
	$self->{pid} = fork // die "could not fork: $!\n";
	if (!$self->{pid}) {
		srand;
		close $w;
		my $ok = eval { run($test, \%o, $r, $out); 1 };
		print $out "died $@" if !$ok;
		POSIX::_exit(0);
	}
	$self->{stop} = $w;
	return $self;
}

# The responses so far, in order of arrival, each
#   user, status (599: none), began, ended (as time returns it),
#   whole        complete, by its announced length
#   json         it is valid JSON
#   retry_after
sub answers ($self)
{
	my @fields = qw(user status began ended whole json retry_after);

	return map {
		my %answer;
		die "the load $_\n" if /^died/;
		@answer{@fields} = split / /, $_, -1;
		\%answer;
	} AIChat::Proc::slurp($self->{file}) =~ /(.*)\n/g;
}

# How many of a status.
sub count ($self, $status)
{
	return scalar grep { $_->{status} == $status } $self->answers;
}

# Waits for the chats in flight, and returns all responses.
sub stop ($self)
{
	close $self->{stop};
	waitpid $self->{pid}, 0;
	return $self->answers;
}

# Most answers are one or two screens, and some are long: only long answers
# reach all the buffers between a worker and its caller.
my @SIZES = ((1_000) x 4, (4_000) x 4, (11_000) x 4, 30_000, 90_000, 300_000);

# The message, with a mark for an answer of some size.
sub sized ($message, $sizes)
{
	return $message if !@$sizes || $message =~ /\[\[[^\]]*\b(?:text|body|raw|size)=/;
	my $text = 'Проверьте%20остатки.%20';
	utf8::encode(my $bytes = $text =~ s/%20/ /gr);
	my $repeat = 1 + int $sizes->[ rand @$sizes ] / length $bytes;
	my $keys = "text=$text repeat=$repeat";

	return $message =~ s/\]\]/ $keys]]/r if $message =~ /\[\[.*\]\]/;
	return "[[$keys]] $message";
}

sub run ($test, $o, $stop, $out)
{
	my $sizes = $o->{sizes} // \@SIZES;
	my $select = IO::Select->new($stop);
	my ($next, %calls) = (0);
	my $ask = sub {
		my $user = $o->{users}[ $next++ % @{ $o->{users} } ];
		my $sock = $test->connect;
		print $sock $test->chat_bytes(telegram_id => $user,
		    message => sized($o->{message} // 'Вопрос', $sizes));
		$sock->flush;
		$calls{$sock} = { sock => $sock, user => $user, began => time,
		    raw => '' };
		$select->add($sock);
	};
	my ($stopping, @due);

	$ask->() for 1 .. $o->{callers};
	while (%calls || @due) {
		my $wait = @due ? $due[0] - time : 90;
		for my $sock ($select->can_read($wait > 0 ? $wait : 0)) {
			if ($sock == $stop) {
				$select->remove($stop);
				$stopping = 1;
				next;
			}
			my $call = $calls{$sock};
			next if sysread $sock, $call->{raw}, 65536,
			    length $call->{raw};
			$select->remove($sock);
			close $sock;
			delete $calls{$sock};
			my $status = note($test, $call, $out);
			push @due, time
			    + ($status == 200 ? 0 : $o->{pause} // 0.02);
		}
		@due = sort { $a <=> $b } @due;
		@due = () if $stopping;
		shift @due, $ask->() while @due && $due[0] <= time;
	}
}

# Only the beginning and the end of longer JSON are checked: parsing it would
# take processor time from the callers.
use constant PARSED_MAX => 16 * 1024;

sub note ($test, $call, $out)
{
	my $long = length $call->{raw} > PARSED_MAX;
	my $got = AIChat::Test::parse_answer($long
	    ? $call->{raw} =~ s/\r\n\r\n\{.*\}\z/\r\n\r\n{}/sr : $call->{raw});

	printf $out "%d %d %.6f %.6f %d %d %s\n", $call->{user},
	    $got->{status}, $call->{began}, time,
	    AIChat::Test::is_whole($call->{raw}), ref $got->{json} ? 1 : 0,
	    $got->{headers}{'retry-after'} // '';
	return $got->{status};
}

1;
