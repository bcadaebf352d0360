package AIChat::Dev;

# What the commands of ./dev share: where its state is, how packages are installed,
# and how the tree is built.  The commands are in AIChat::Dev::Service, ::Tests and
# ::Sources; each of these has a function commands(), which returns a list of
#
#   name     the word after ./dev
#   args     its arguments, as the help shows them
#   line     what it does, for the list of all commands
#   help     the rest of its help, or a function that returns all of it
#   run      the function; it takes the arguments and returns the exit status
#   foreign  true where another program reads the arguments, so that only a --help
#            in the first place is for ./dev
#   words    a function that returns words which can follow the command, besides its
#            options, for their completion; may be left out

use v5.36;
use AIChat::Proc qw(slurp spew tail);
use AIChat::Stack;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Path qw(make_path);
use JSON::PP ();
use POSIX ();

our @EXPORT_OK = qw(top var var_path port fail error_text usage mistake help_of
    run_command install_packages install_test_packages build build_tree quietly
    processors c_files compile_flags @PACKAGES @DEB_PACKAGES @LINT_PACKAGES);

# npm installs the files of the static pages, and programs for the tests. Node.js
# often comes from elsewhere, and then its npm is not a Debian package.
my %NODE_PACKAGES = (node => 'nodejs', npm => 'npm');

our @PACKAGES = (qw(autoconf automake ca-certificates gcc libc6-dev
    libcmocka-dev libcurl4-openssl-dev libevent-dev libfcgi-dev libhiredis-dev
    libjson-c-dev libpq-dev libssl-dev make nginx perl pkg-config
    postgresql spawn-fcgi), map { $NODE_PACKAGES{$_} }
    grep { !is_on_path($_) } sort keys %NODE_PACKAGES);

# What only the tests need.
our @DEB_PACKAGES = qw(debhelper dpkg-dev fakeroot lintian);
# Of Debian 12: another release of clang-format lays out some lines differently, and
# other releases of the others find other faults.
our @LINT_PACKAGES = qw(clang-format clang-tidy cppcheck);
my @TEST_PACKAGES = (@DEB_PACKAGES, @LINT_PACKAGES, qw(chromium curl git
    groff-base iproute2 libfcgi-bin nghttp2-proxy openssl pgbouncer prometheus
    prometheus-alertmanager python3-aiohttp python3-jsonschema redis-server
    systemd valgrind));

# -- where things are --------------------------------------------------------

sub top { return AIChat::Stack::top() }

# The directory of the state.  It is made when a command first needs it, so that
# --help leaves no trace.
sub var
{
	state $dir = make_var(var_path());
	return $dir;
}

sub var_path { return $ENV{AI_CHAT_VAR} // top() . '/var' }

sub make_var ($dir)
{
	eval { make_path("$dir/log"); 1 }
	    or fail("could not make $dir/log: set AI_CHAT_VAR to a directory"
		. ' that you may write to');
	return abs_path($dir);
}

sub port
{
	return length($ENV{AI_CHAT_PORT} // '') ? $ENV{AI_CHAT_PORT} : 9001;
}

sub processors { return qx(nproc) =~ s/\s//gr || 1 }

# -- commands and their help -------------------------------------------------

my $current;	# the command that runs

# Returns the exit status of a command.
sub run_command ($command, @args)
{
	$current = $command;
	if (wants_help($command, @args)) {
		print help_of($command);
		return 0;
	}
	return $command->{run}->(@args);
}

sub wants_help ($command, @args)
{
	return @args && $args[0] eq '--help' if $command->{foreign};
	return !!grep { /^(?:-h|--help)$/ } @args;
}

sub help_of ($command)
{
	return $command->{help}->() if ref $command->{help};
	return join(' ', 'usage: ./dev', $command->{name},
	    grep { length } $command->{args}) . "\n\n" . $command->{help};
}

# The status of a command whose arguments are wrong; prints how it is called.
sub usage
{
	print STDERR help_of($current);
	return 2;
}

# The same, after the reason.
sub mistake ($why)
{
	print STDERR "dev: $why\n\n";
	return usage();
}

sub fail ($why)
{
	print STDERR "dev: $why\n";
	exit 1;
}

# An error as text: what it quotes from a log is bytes.
sub error_text ($why)
{
	utf8::decode($why);
	return $why =~ s/\n\z//r;
}

# -- packages ----------------------------------------------------------------

sub install_packages (@wanted)
{
	my %have = map { /^(\S+) ii/ ? ($1 => 1) : () } split /\n/,
	    qx(dpkg-query -W -f '\${Package} \${db:Status-Abbrev}\\n' 2>&1);
	my @missing = grep { !$have{$_} } @wanted or return;
	my @sudo = $> == 0 ? () : ('sudo');

	say "Installing @missing";
	die "these packages are missing, and there is no sudo to install them:"
	    . " @missing\n" if @sudo && system('command -v sudo >/dev/null');
	my @apt = (@sudo, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get',
	    '-qq');
	my $log = var() . '/log/apt.log';
	for ([ 'update' ], [ '-y', '--no-install-recommends', 'install',
	    @missing ]) {
		system("@apt @$_ >>'$log' 2>&1") == 0
		    or die "apt-get failed:\n" . tail($log);
	}
}

sub install_test_packages
{
	install_packages(@PACKAGES, @TEST_PACKAGES);
}

sub is_on_path ($program)
{
	return !!grep { -x "$_/$program" } split /:/, $ENV{PATH} // '';
}

# -- the build ---------------------------------------------------------------

# Runs a command whose output goes into the log, and is shown when it fails.
sub quietly ($dir, @cmd)
{
	my $log = var() . '/log/build.log';
	my $pid = fork // die "could not fork: $!\n";

	if (!$pid) {
		open STDOUT, '>>', $log and open STDERR, '>&', \*STDOUT
		    and chdir $dir and exec @cmd;
		POSIX::_exit(127);
	}
	waitpid $pid, 0;
	die "@cmd failed; $log ends with:\n" . tail($log, 40) if $?;
}

# Builds these targets outside of the source tree; returns the directory.
sub build ($sanitize, @targets)
{
	my $dir = var() . '/build' . ($sanitize ? "-$sanitize" =~ tr/,/-/r : '');

	build_tree(top(), $dir, $sanitize, @targets);
	write_compile_commands($dir) if !$sanitize;
	return $dir;
}

# make decides which files are out of date.
sub build_tree ($top, $dir, $sanitize, @targets)
{
	my @clang = ($sanitize // '') =~ /fuzzer/ ? 'CC=clang' : ();

	unlink var() . '/log/build.log';
	quietly($top, 'autoreconf', '-fi') if !-e "$top/configure";
	if (!-e "$dir/Makefile") {
		say 'Building, which takes a minute the first time';
		make_path($dir);
		quietly($dir, "$top/configure", '--quiet',
		    $sanitize ? "--enable-sanitizers=$sanitize" : (), @clang);
	}
	quietly($dir, 'make', '-s', '-j' . processors(), @targets);
}

# -- how the sources are compiled --------------------------------------------

# All C sources and headers, relative to the top.
sub c_files
{
	my $top = top();

	return map { s{^\Q$top\E/}{}r }
	    glob "$top/{app/*,lib,t/{stub,tools,fuzz,unit}}/*.[ch]";
}

# The flags with which any of the sources compiles in a build directory.
sub compile_flags ($dir)
{
	open my $make, '-|', 'make', '-s', '-C', $dir, '--no-print-directory',
	    'print-compile-flags' or die "could not run make: $!\n";
	chomp(my @flags = <$make>);
	close $make or die "make print-compile-flags failed in $dir\n";
	return @flags;
}

# Writes the list of compiler commands that clangd and clang-tidy read.  An unchanged
# list is not written again, and a new one replaces the old one at once, because
# several ./dev may share a build.
sub write_compile_commands ($dir)
{
	my $path = "$dir/compile_commands.json";
	my @flags = compile_flags($dir);
	my $text = JSON::PP->new->canonical->pretty->encode([ map { {
		directory => $dir,
		file => top() . "/$_",
		arguments => [ 'gcc', @flags, '-c', top() . "/$_" ],
	} } grep { /\.c\z/ } c_files() ]);

	return if -e $path && slurp($path) eq $text;
	spew("$path.$$", $text);
	rename "$path.$$", $path or die "could not write $path: $!\n";
}

1;
