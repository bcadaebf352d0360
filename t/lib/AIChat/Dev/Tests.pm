package AIChat::Dev::Tests;

# The commands of ./dev that test and measure.

use v5.36;
use utf8;
use AIChat::Dev qw(top var usage mistake fail error_text install_packages
    install_test_packages build build_tree @PACKAGES);
use AIChat::Mutants;
use AIChat::Proc qw(slurp tail);
use File::Path qw(make_path);
use Getopt::Long qw(GetOptionsFromArray :config no_auto_abbrev
    require_order bundling_values);

my @FUZZ_PACKAGES = qw(clang libclang-rt-14-dev);

# -- the tests ---------------------------------------------------------------

# Takes --sanitize out of the arguments; returns the list of sanitizers, or nothing.
sub take_sanitize ($args)
{
	return if !@$args || $args->[0] !~ /^--sanitize(?:=([a-z,]+))?$/;
	shift @$args;
	return $1 // 'address,undefined';
}

sub prove (@args)
{
	system { $^X } $^X, top() . '/t/prove', @args;
	return $? >> 8 || ($? ? 1 : 0);
}

sub run_check (@args)
{
	my $sanitize = take_sanitize(\@args);

	install_test_packages();
	local $ENV{AIC_BUILD} = build($sanitize, 'all', 'test-programs');
	return prove(@args);
}

# The names of all tests: "send" is t/send.t, "unit/json" and "fuzz/json" are programs
# that Makefile.am lists.
sub test_names
{
	my $top = top();
	my @programs = slurp("$top/Makefile.am")
	    =~ m{^(?:check_PROGRAMS \+=|\t)\s*t/((?:unit|fuzz)/\w+)\.t\b}mg;

	return sort @programs, map { m{([^/]+)\.t\z} } glob "$top/t/*.t";
}

# The test that a name or a path means: of several with this name the one in t/, or else
# the unit test.
sub find_test ($given)
{
	my %is_test = map { ($_ => 1) } test_names();
	my $name = $given =~ s{^(?:.*/)?t/}{}r =~ s/\.[tc]\z//r;

	for my $found ($name, "unit/$name", "fuzz/$name") {
		return $found if $is_test{$found};
	}
	my @similar = grep { /\Q$name\E/ } sort keys %is_test;
	die "there is no test $given"
	    . (@similar ? "; these are similar: @similar" : '')
	    . "; ./dev test --list lists all\n";
}

sub run_test (@args)
{
	my $sanitize = take_sanitize(\@args);
	my ($verbose, $list);

	GetOptionsFromArray(\@args, 'v' => \$verbose, 'list' => \$list)
	    && !!@args != !!$list or return usage();
	if ($list) {
		say for test_names();
		return 0;
	}
	my @tests = map { find_test($_) } @args;
	my @programs = grep { m{/} } @tests;
	# A unit test needs neither the other packages nor the other programs.
	if (@programs == @tests) {
		install_packages(@PACKAGES);
	} else {
		install_test_packages();
	}
	my $dir = build($sanitize, @programs == @tests
	    ? ('ai-chat-worker', map { "t/$_.t" } @programs) : 'test-programs');
	local $ENV{AIC_BUILD} = $dir;
	return prove($verbose ? '-v' : (),
	    map { (m{/} ? $dir : top()) . "/t/$_.t" } @tests);
}

sub run_soak ($minutes = 5, @args)
{
	return usage() if @args || $minutes !~ /^\d{1,4}(?:\.\d+)?$/;
	return mistake('soak needs 0.2 minutes at least') if $minutes < 0.2;
	local $ENV{AIC_SOAK_SECONDS} = 60 * $minutes;
	return run_check('-v', top() . '/t/soak.t');
}

sub run_whole ($chats = 10_000, @args)
{
	return usage() if @args || $chats !~ /^[1-9]\d{0,6}$/;
	local $ENV{AIC_WHOLE_CHATS} = $chats;
	return run_check('-v', top() . '/t/answers_whole.t');
}

# -- planted faults ----------------------------------------------------------

sub run_mutants (@args)
{
	my $list;

	GetOptionsFromArray(\@args, list => \$list) or return usage();
	my @mutants = AIChat::Mutants::named([ AIChat::Mutants::load(top()) ],
	    @args);
	if ($list) {
		say "$_->{mutant}: $_->{breaks}" for @mutants;
		return 0;
	}
	install_test_packages();
	my $interrupted = "interrupted\n";
	$SIG{$_} = sub { die $interrupted } for qw(INT TERM HUP);
	my $run = AIChat::Mutants->new(top => top(), skip => var(),
	    dir => var() . '/mutants', build => sub (@what) {
		eval { build_tree(@what[0, 1], undef, @what[2 .. $#what]); 1 }
		    and return 1;
		die $@ if $@ eq $interrupted;
		print error_text($@), "\n";
		return 0;
	    });
	return $run->run(@mutants) ? 1 : 0;
}

# -- fuzzing -----------------------------------------------------------------

# Inputs that reach new code stay in fuzz/TARGET of the state, and an input that broke a
# target in fuzz/found.
sub run_fuzz (@args)
{
	my ($seconds, $only) = ($args[0] // 60, $args[1]);
	my @targets = map { m{([^/]+)$} } glob top() . '/t/fuzz/corpus/*';

	return usage() if @args > 2 || $seconds !~ /^[1-9]\d{0,5}$/;
	@targets = grep { $_ eq $only } @targets if defined $only;
	fail("there is no target $only") if !@targets;
	install_packages(@PACKAGES, @FUZZ_PACKAGES);
	my $dir = build('fuzzer-no-link,address,undefined', 'fuzz-programs');
	my @broken = grep { !fuzz($dir, $_, $seconds) } @targets;
	say @broken ? "Broken: @broken" : 'Nothing was found';
	return @broken ? 1 : 0;
}

# Runs one target; returns whether nothing was found.
sub fuzz ($dir, $target, $seconds)
{
	my $new = var() . "/fuzz/$target";
	my $log = var() . "/log/fuzz-$target.log";
	my $found = var() . "/fuzz/found/$target-";

	make_path($new, var() . '/fuzz/found');
	my $start = int time;
	say "$target: $seconds s";
	my $ok = system("exec '$dir/t/fuzz/$target.fuzz' -timeout=10"
	    . " -max_len=32768 -use_value_profile=1 -print_final_stats=1"
	    . " -max_total_time=$seconds -artifact_prefix='$found'"
	    . " '$new' '" . top() . "/t/fuzz/corpus/$target' >'$log' 2>&1")
	    == 0;
	print map { "  $_" } grep { /number_of_executed_units/ }
	    split /^/, tail($log);
	return 1 if $ok;
	print tail($log, 40);
	say 'The input is ', join ' ',
	    grep { (stat)[9] >= $start } glob "$found*";
	return 0;
}

# -- the benchmark -----------------------------------------------------------

sub run_bench (@args)
{
	my $bench = top() . '/t/tools/bench';

	# Wrong arguments are refused before anything is installed or built.
	{
		local $ENV{AIC_BENCH_ARGUMENTS} = 'check';
		system { $bench } $bench, @args;
		return 2 if $?;
	}
	install_packages(@PACKAGES, qw(libnginx-mod-http-echo openssl
	    redis-server wrk));
	$ENV{AIC_BUILD} = build(undef, 'all');
	$ENV{AI_CHAT_VAR} = var();
	exec { $bench } $bench, @args
	    or die "could not run t/tools/bench: $!\n";
}

# The tables and options of the benchmark are listed in one place, its own help.
sub bench_help
{
	open my $bench, '-|:encoding(UTF-8)', top() . '/t/tools/bench', '--help'
	    or die "could not run t/tools/bench: $!\n";
	local $/;
	return scalar <$bench>;
}

sub bench_tables { return bench_help() =~ /^  ([a-z][a-z-]+)  /mg }

sub commands
{
	return ({
		name => 'test', args => '[--sanitize[=LIST]] [-v] NAME...',
		line => 'build, and run some tests by their names',
		run => \&run_test, words => \&test_names,
		help => <<'END',
Builds, and runs these tests. A NAME is that of the file: "send" is t/send.t,
"unit/json" is t/unit/json.c, "fuzz/input" runs the seeds of t/fuzz/input.c. A
path does as well.

  --sanitize[=LIST]  build with sanitizers (address,undefined)
  -v                 print the title of each assertion
  --list             only print the names of all tests
END
	}, {
		name => 'check',
		args => '[--sanitize[=LIST]] [--with LIST] [ARGUMENT...]',
		line => 'build, and run all tests',
		run => \&run_check,
		help => <<'END',
Installs the packages that are missing, builds, and runs all tests. Arguments go
to prove.

  --sanitize[=LIST]  build with sanitizers (address,undefined); this option has
                     to be the first
  --with LIST        run the tests of t/with.list with a Redis ("redis"), with a
                     stub of the seller-data API ("server"), and while these
                     are stopped and started again ("dying"). LIST is redis,
                     server, "redis,server" or "redis,server,dying"; "all" is
                     one setting after another
  -j1                run one test file after another
END
	}, {
		name => 'soak', args => '[MINUTES]',
		line => 'run under random faults, and compare the records',
		run => \&run_soak,
		help => <<'END',
For MINUTES (5), callers repeat failed requests while workers, PostgreSQL, the
model and the connections between them fail at random. Then the stored, the
counted and the returned chats are compared.
END
	}, {
		name => 'whole', args => '[CHATS]',
		line => 'check that no answer is truncated during reloads',
		run => \&run_whole,
		help => <<'END',
Sends CHATS (10000) questions whose answers have 1 to 300 KB, while Nginx is
reloaded and the workers are restarted and scaled, and checks that each answer
is complete.
END
	}, {
		name => 'mutants', args => '[--list] [NAME...]',
		line => 'plant faults, and check that tests fail',
		run => \&run_mutants, words => sub {
			map { $_->{mutant} } AIChat::Mutants::load(top()) },
		help => <<'END',
Plants the faults of t/mutants/*.list, all or those named, one at a time in a
copy of the sources, builds the copy, and runs the tests that have to fail.
First it runs these tests without a fault. Then it prints a line for each fault:

  killed by TEST: TITLE     this test failed
  SURVIVED                  all tests passed: a promise is untested
  PATTERN NOT FOUND         the sources have changed: change the list too
  PATTERN FOUND N TIMES     the text has to be in the file exactly once
  DOES NOT BUILD            the compiler refused the change: nothing was tested

The exit status is 0 when all faults were killed, else 1. --list prints their
names and the promises that they break, and runs nothing. t/README.md describes
the format of the list.
END
	}, {
		name => 'fuzz', args => '[SECONDS [TARGET]]',
		line => 'search for input that breaks a parser',
		run => \&run_fuzz,
		help => <<'END',
Builds with clang's fuzzer and runs each target of t/fuzz/, or only TARGET, for
SECONDS (60). An input that broke a target stays in fuzz/found of the state.
END
	}, {
		name => 'bench', args => '[OPTION...] [TABLE...]',
		line => 'run the benchmark',
		run => \&run_bench, help => \&bench_help,
		words => \&bench_tables,
	});
}

1;
