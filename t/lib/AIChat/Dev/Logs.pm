package AIChat::Dev::Logs;

# The logs of what ./dev up started: one file a part, in log/ of AI_CHAT_VAR.

use v5.36;
use AIChat::Dev qw(var var_path usage);
use Getopt::Long qw(GetOptionsFromArray :config no_auto_abbrev
    require_order bundling_values);

# The logs of other commands, which are in the same directory.
my $OTHERS = qr{/(?:apt|build|fuzz-[^/]*)\.log\z};

# More than 20 lines of any log, and little enough to read at once.
my $TAIL_BYTES = 1024 * 1024;

sub paths ($dir)
{
	return grep { !/$OTHERS/ } glob "$dir/*.log";
}

# The parts that have a log.
sub names { return map { m{([^/]+)\.log\z} } paths(var_path() . '/log') }

# Prints the complete lines of a log from byte $from on, or its last $last lines where
# $from is undefined, each after the name of its part.  Returns the byte after the last
# complete line.
sub print_lines ($name, $path, $from, $last)
{
	open my $log, '<:raw', $path or return $from // 0;
	my $size = -s $log;
	my $start = $from // ($size > $TAIL_BYTES ? $size - $TAIL_BYTES : 0);
	seek $log, $start, 0;
	read $log, my $text, $size - $start;
	$text =~ s/[^\n]*\z//;
	my @lines = split /^/, $text;
	my $skip = defined $from ? 0 : @lines - $last;

	for (@lines[ ($skip > 0 ? $skip : 0) .. $#lines ]) {
		utf8::decode($_);
		print "$name | $_";
	}
	return $start + length $text;
}

# Prints what is appended to the logs, until Ctrl-C.  A log that is new is printed
# from its beginning, because a worker may have been started meanwhile.
sub follow ($wanted, $at)
{
	while (1) {
		for ($wanted->()) {
			my ($name, $path) = @$_;
			my ($inode, $size) = (stat $path)[1, 7] or next;
			my $seen = $at->{$name} //= { inode => $inode, end => 0 };
			@$seen{qw(inode end)} = ($inode, 0)
			    if $seen->{inode} != $inode || $size < $seen->{end};
			$seen->{end} = print_lines($name, $path, $seen->{end}, 0)
			    if $size > $seen->{end};
		}
		select undef, undef, undef, 0.2;
	}
}

sub run_logs (@args)
{
	my ($follow, $last, %at) = (0, 20);

	GetOptionsFromArray(\@args, 'f' => \$follow, 'n=i' => \$last)
	    && $last >= 0 or return usage();
	my $all = sub { map { [ m{([^/]+)\.log\z}, $_ ] } paths(var() . '/log') };
	my %there = map { ($_->[0] => 1) } $all->() or do {
		say 'There are no logs; ./dev up starts the service.';
		return 1;
	};
	for my $name (grep { !$there{$_} } @args) {
		die "there is no log of $name; there are: "
		    . join(' ', sort keys %there) . "\n";
	}
	my %asked = map { ($_ => 1) } @args;
	my $wanted = sub { grep { !@args || $asked{ $_->[0] } } $all->() };
	for ($wanted->()) {
		my ($name, $path) = @$_;
		$at{$name} = { inode => (stat $path)[1],
		    end => print_lines($name, $path, undef, $last) };
	}
	follow($wanted, \%at) if $follow;
	return 0;
}

sub commands
{
	return ({
		name => 'logs', args => '[-f] [-n LINES] [PART...]',
		line => 'print the logs, with -f as they grow',
		run => \&run_logs, words => \&names,
		help => <<'END',
Prints the last lines of the logs of what ./dev up has started, each line after
the name of its part: worker-1, nginx, model and so on. With PARTs, only their
logs. The logs stay after ./dev down, until the next ./dev up.

  -f        continue with what is appended, until Ctrl-C
  -n LINES  this many lines of each log (20)
END
	});
}

1;
