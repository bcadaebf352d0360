package AIChat::Mutants;

# Plants faults in a copy of the tree, one at a time, and runs the tests that
# have to fail. ./dev mutants is the command; t/README.md describes
# t/mutants/*.list, where the faults are.

use v5.36;
use AIChat::Proc qw(slurp spew wait_for);
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Find qw(find);
use File::Path qw(make_path remove_tree);
use Time::HiRes qw(time);

# For the tests of one mutant. The slowest test takes a minute on a busy
# machine.
my $TEST_SECONDS = 300;

my @KEYS = qw(mutant file breaks tests);

# -- the list ----------------------------------------------------------------

# Returns all mutants of a tree.  Each has:
#   mutant     its name
#   file       the file to change
#   breaks     the promise, a sentence
#   tests      [ names ]; at least one of them has to fail
#   from, to   the text to look for, and the text that replaces it
sub load ($top)
{
	return map { parse($_, slurp($_)) } sort glob "$top/t/mutants/*.list";
}

sub parse ($path, $text)
{
	my @mutants;

	for my $stanza (split /\n(?:[ \t]*\n)+/, $text) {
		my @lines = grep { !/^#/ && /\S/ } split /\n/, $stanza or next;
		push @mutants, parse_stanza($path, @lines);
	}
	return @mutants;
}

sub parse_stanza ($path, @lines)
{
	my %m = (from => '', to => '');

	for (@lines) {
		if (/^([ +-])(.*)/) {
			$m{from} .= "$2\n" if $1 ne '+';
			$m{to} .= "$2\n" if $1 ne '-';
		} elsif (/^(\w+): *(.*\S)/ && !exists $m{$1}) {
			$m{$1} = $2;
		} else {
			die "$path: what is \"$_\"?\n";
		}
	}
	my @missing = grep { !exists $m{$_} } @KEYS;
	die "$path: " . ($m{mutant} // $lines[0]) . " has no @missing\n"
	    if @missing;
	die "$path: $m{mutant} changes nothing\n"
	    if $m{from} !~ /\S/ || join(' ', split ' ', $m{from})
	    eq join(' ', split ' ', $m{to});
	s/^\s+|\s+$//g for @m{qw(from to)};
	$m{tests} = [ split ' ', $m{tests} ];
	return \%m;
}

# Returns the mutants with these names, or all where no name is given.
sub named ($mutants, @names)
{
	my %by_name = map { ($_->{mutant} => $_) } @$mutants;

	return @$mutants if !@names;
	return map { $by_name{$_} // die "there is no mutant $_\n" } @names;
}

# -- one fault ---------------------------------------------------------------

# How often the text to change is in $text.
sub count ($m, $text)
{
	my $pattern = pattern_of($m);

	return scalar(() = $text =~ /$pattern/g);
}

sub pattern_of ($m)
{
	return join '(?:\s|\\\\\n)+', map { quotemeta } split ' ', $m->{from};
}

# Returns $text with the fault in it.
sub plant ($m, $text)
{
	my $pattern = pattern_of($m);

	$text =~ s/$pattern/$m->{to}/;
	return $text;
}

# Returns why the mutant cannot be planted in the tree, '' when it can.
sub why_not ($m, $top)
{
	my $text = eval { slurp("$top/$m->{file}") } // return "no $m->{file}";
	my $n = count($m, $text);

	return $n == 1 ? '' : $n == 0 ? 'PATTERN NOT FOUND'
	    : "PATTERN FOUND $n TIMES";
}

# Returns the source of a test, or nothing.
sub source_of ($test, $top)
{
	return (grep { -f "$top/$_" } $test =~ m{/} ? "t/$test.c" : "t/$test.t")[0];
}

# -- the copy ----------------------------------------------------------------

# What autoreconf and builds generate.  The copy has files of its own.
my @MADE = qw(.git autom4te.cache build var build-aux aclocal.m4 config.h.in configure
    Makefile.in);

# Makes $to a copy of $from, without generated files and without $skip. Files
# with the same content keep their times, so that make rebuilds only what has
# changed.
sub copy_tree ($from, $to, $skip)
{
	my %from = map { ($_ => 1) } files_of($from, $skip);

	make_path($to);
	copy_file("$from/$_", "$to/$_") for sort keys %from;
	unlink map { "$to/$_" } grep { !$from{$_} } files_of($to, $skip);
}

sub files_of ($top, $skip)
{
	my %not = map { ($_ => 1) } $skip, map { "$top/$_" } @MADE;
	my @files;

	find({ no_chdir => 1, preprocess => sub {
		return grep { !$not{"$File::Find::dir/$_"} } @_;
	}, wanted => sub {
		push @files, substr $_, 1 + length $top if -l || -f;
	} }, $top);
	return @files;
}

sub copy_file ($from, $to)
{
	return copy_link($from, $to) if -l $from;
	my $text = slurp($from);
	my $is_new = !-e $to;

	return if !$is_new && slurp($to) eq $text;
	make_path(dirname($to));
	my ($mode, $mtime) = (stat $from)[2, 9];
	spew($to, $text);
	chmod $mode & 0777, $to;
	utime $mtime, $mtime, $to if $is_new;
}

sub copy_link ($from, $to)
{
	my $target = readlink $from;

	return if (readlink($to) // '') eq $target;
	make_path(dirname($to));
	unlink $to;
	symlink $target, $to or die "could not make the link $to: $!\n";
}

# -- the run -----------------------------------------------------------------

#   top      the tree that is copied
#   skip     a directory in it that is not copied
#   dir      where the copy, its build and the logs are
#   build    $build->($tree, $dir, @targets) builds these targets of a tree in a
#            directory, and returns whether it could
#   say      prints a line; default: to standard output
sub new ($class, %o)
{
	my $self = bless { say => sub ($line) { say $line }, %o }, $class;

	$self->{tree} = "$self->{dir}/tree";
	$self->{built} = "$self->{dir}/build";
	$self->{logs} = "$self->{dir}/log";
	make_path($self->{logs});
	open $self->{lock}, '>>', "$self->{dir}/lock"
	    or die "$self->{dir}/lock: $!\n";
	flock $self->{lock}, LOCK_EX | LOCK_NB
	    or die "another ./dev mutants is running in $self->{dir}\n";
	return $self;
}

# Plants these mutants, one after another.  Returns how many were not killed.
sub run ($self, @mutants)
{
	my %seen;
	my @tests = grep { !$seen{$_}++ } map { @{ $_->{tests} } } @mutants;
	my $width = (sort { $b <=> $a } map { length $_->{mutant} } @mutants)[0];
	my @wrong;

	copy_tree($self->{top}, $self->{tree}, $self->{skip});
	$self->{say}('Without a fault:');
	$self->make(@tests) or die "could not build it\n";
	my $start = time;
	my @failed = $self->failures('none', @tests);
	# With other tests at the same time a test may fail because the machine
	# is too busy.
	@failed = $self->failures('none', map { $_->[0] } @failed) if @failed;
	die 'these fail without a fault: ' . join(', ', map { $_->[0] } @failed)
	    . "; see $self->{logs}/none.log\n" if @failed;
	$self->{say}(sprintf '  %d test files pass (%d s)', scalar @tests,
	    time - $start);
	for my $m (@mutants) {
		$start = time;
		my ($ok, $what) = $self->try_one($m);
		push @wrong, $m->{mutant} if !$ok;
		$self->{say}(sprintf '%-*s  %s (%d s)', $width, $m->{mutant},
		    $what, time - $start);
	}
	$self->{say}(@wrong ? @wrong . ' of ' . @mutants . " were not killed: @wrong"
	    : 'All ' . @mutants . ' were killed');
	return scalar @wrong;
}

# Returns whether the mutant was killed, and the outcome as text.
sub try_one ($self, $m)
{
	my $path = "$self->{tree}/$m->{file}";
	my $why = why_not($m, $self->{tree});
	my ($built, @failed);

	return (0, $why) if $why ne '';
	my $sound = slurp($path);
	rewrite($path, plant($m, $sound));
	my $ok = eval {
		$built = $self->make(@{ $m->{tests} });
		@failed = $self->failures($m->{mutant}, @{ $m->{tests} })
		    if $built;
		1;
	};
	$why = $@;
	rewrite($path, $sound);
	die $why if !$ok;
	return (0, "DOES NOT BUILD, see $self->{logs}") if !$built;
	return @failed ? (1, 'killed by ' . join ': ', @{ $failed[0] })
	    : (0, 'SURVIVED');
}

# Keeps the mode.  The file gets a new time, which make needs.
sub rewrite ($path, $text)
{
	spew($path, $text, (stat $path)[2] & 0777);
}

# Builds what these tests need, and no more.  Returns whether that succeeded.
sub make ($self, @tests)
{
	my @programs = map { m{/} ? "t/$_.t" : $_ eq 'alloc' ? 't/alloc.so' : () }
	    @tests;
	my @where = @$self{qw(tree built)};

	# Not in one make: "all" runs a second make, and both would write
	# libaic.a.
	return (!(grep { !m{/} } @tests) || $self->{build}->(@where, 'all'))
	    && (!@programs || $self->{build}->(@where, @programs));
}

# Runs these tests.  Returns those that failed, as failures_in() does.
sub failures ($self, $name, @tests)
{
	my $log = "$self->{logs}/$name.log";

	unlink $log;
	my $proc = AIChat::Proc->start(name => "the tests for $name", log => $log,
	    death => 'TERM', env => { %ENV, AIC_BUILD => $self->{built},
		HARNESS_PERL_SWITCHES => '-MAIChat::FirstFailure' },
	    cmd => [ $^X, "$self->{tree}/t/prove", '-v', map { m{/}
		? "$self->{built}/t/$_.t" : "$self->{tree}/t/$_.t" } @tests ]);
	my $ended = eval {
		wait_for(sub { !$proc->alive }, $name eq 'none' ? 4 * $TEST_SECONDS
		    : $TEST_SECONDS, 'them');
	};
	my $why = $@;
	# The tests remove what they have started when they get this signal.
	kill 'TERM', -$proc->pid if !$ended;
	$proc->stop('TERM', 30);
	die $why if !$ended && $why !~ /^waited/;
	my $text = slurp($log);
	# A test that fails leaves what it has started there, which is much.
	remove_tree($1) while $text =~ m{everything is kept in (/tmp/ai-chat-\S+)$}mg;
	return [ "@tests", 'did not end' ] if !$ended;
	return if $proc->status == 0;
	my @failed = failures_in($text);
	die "t/prove failed, see $log\n" if !@failed;
	return @failed;
}

# The failures in the output of prove -v: [ test, title of its first failure ],
# ...
sub failures_in ($text)
{
	my ($test, %title) = ('');

	for (split /\n/, $text) {
		$test = $1 if m{^\S*?/t/(\S+)\.t \.+ *$};
		$title{$test} //= $1 if /^ *not ok \d+ - (.*)/;
	}
	return map { [ $_, $title{$_} // 'exited early' ] }
	    $text =~ m{^\S*?/t/(\S+)\.t\s+\(Wstat: }mg;
}

1;
