package AIChat::Dev::Sources;

# The commands of ./dev that build, check and package the sources.

use v5.36;
use utf8;
use AIChat::Dev qw(top var usage install_packages build quietly processors
    c_files compile_flags @PACKAGES @DEB_PACKAGES
    @LINT_PACKAGES);
use AIChat::Proc qw(slurp tail);
use Cwd qw(abs_path);
use File::Path qw(make_path remove_tree);
use Getopt::Long qw(GetOptionsFromArray :config no_auto_abbrev
    require_order bundling_values);

# -- build -------------------------------------------------------------------

sub run_build (@args)
{
	my $sanitize;

	GetOptionsFromArray(\@args, 'sanitize' => sub {
		$sanitize = 'address,undefined' }) && !@args or return usage();
	install_packages(@PACKAGES);
	my $dir = build($sanitize, 'test-programs');
	print warnings_in(eval { slurp(var() . '/log/build.log') } // '');
	say "Built in $dir";
	return 0;
}

# The warnings of the compiler in the log of a build, with the lines that they quote.
sub warnings_in ($log)
{
	utf8::decode($log);
	return join '', grep { /^(?:\S+?:\d+:\d+: |\S+: In |In file included|\s*\d* \|)/ }
	    split /^/, $log;
}

# -- which files -------------------------------------------------------------

# The C files that are named, or all, or else those that differ from the last commit.
sub selected ($all, @named)
{
	my @files = c_files();

	return named_files(\@files, @named) if @named;
	return @files if $all || system('git -C ' . quotemeta(top())
	    . ' rev-parse HEAD >/dev/null 2>&1') != 0;
	my %changed = map { ($_ => 1) }
	    git('diff', '--name-only', '--relative', 'HEAD'),
	    git('ls-files', '--others', '--exclude-standard');
	return grep { $changed{$_} } @files;
}

sub named_files ($files, @named)
{
	my %is_ours = map { ($_ => 1) } @$files;

	return map {
		my $path = (abs_path($_) // '') =~ s{^\Q@{[ top() ]}\E/}{}r;
		die "$_ is not a C source or header of this tree\n"
		    if !$is_ours{$path};
		$path
	} @named;
}

# The lines that a git command prints.
sub git (@args)
{
	open my $git, '-|', 'git', '-C', top(), @args
	    or die "could not run git: $!\n";
	chomp(my @lines = <$git>);
	close $git or die "git $args[0] failed\n";
	return @lines;
}

# The .c files among these, and those that include one of the headers among these.
sub compiled_by (@files)
{
	my %is = map { ($_ => 1) } @files;

	return grep {
		my ($dir) = m{^(.*)/};
		$is{$_} || grep { $is{$_} || $is{"$dir/$_"} }
		    slurp(top() . "/$_") =~ /^#include "([^"]+)"/mg
	} grep { /\.c\z/ } c_files();
}

# -- format ------------------------------------------------------------------

sub run_format (@args)
{
	my $all;

	GetOptionsFromArray(\@args, 'all' => \$all) && !($all && @args)
	    or return usage();
	install_packages('clang-format');
	my @files = selected($all, @args) or return say_unchanged();
	for my $file (@files) {
		my $path = top() . "/$file";
		my $before = slurp($path);
		system('clang-format', '-i', $path) == 0
		    or die "clang-format failed\n";
		say "formatted $file" if slurp($path) ne $before;
	}
	return 0;
}

sub say_unchanged
{
	say 'No C file differs from the last commit; --all takes all.';
	return 0;
}

# -- lint --------------------------------------------------------------------

# Runs a command once for each file, several at the same time, or with all files as
# arguments.  Prints its output when it fails; returns whether it succeeded.
sub checked ($what, $each, $files, @cmd)
{
	my $log = var() . '/log/lint.log';

	return 1 if !@$files;
	open my $xargs, '|-', 'sh', '-c', 'log=$1; cd "$2" && shift 2 &&'
	    . ' exec "$@" >"$log" 2>&1', 'sh', $log, top(), 'xargs', '-0',
	    $each ? ('-n1', '-P' . processors()) : (), @cmd
	    or die "could not run xargs: $!\n";
	print $xargs "$_\0" for @$files;
	if (close $xargs) {
		say "$what: ok";
		return 1;
	}
	say "$what:";
	# clang counts warnings of headers that it does not show.
	print grep { !/^\d+ warnings? (?:generated|treated as error)/ }
	    split /^/, slurp($log);
	return 0;
}

sub run_lint (@args)
{
	my $all;

	GetOptionsFromArray(\@args, 'all' => \$all) && !($all && @args)
	    or return usage();
	install_packages(@PACKAGES, @LINT_PACKAGES);
	my @files = selected($all, @args) or return say_unchanged();
	# config.h is all that the compiler needs of a build.
	my $dir = build(undef, 'config.h');
	my @compiled = compiled_by(@files);
	my @shipped = grep { m{^(?:app|lib)/} } @compiled;
	my @failed = grep { !checked(@$_) } (
	    [ 'clang-format', 0, \@files, 'clang-format', '--dry-run', '-Werror' ],
	    [ 't/style.t', 0, ['t/style.t'], 'prove', '-It/lib' ],
	    # The flags are for the build directory.  Some warnings need -O2.
	    [ 'gcc', 1, [ map { top() . "/$_" } @compiled ],
		'env', '-C', $dir, 'gcc', compile_flags($dir),
		'-O2', '-Werror', '-o', '/dev/null', '-c' ],
	    [ 'cppcheck', 0, \@shipped, 'cppcheck', '--quiet',
		'--error-exitcode=1', '--std=c11', '-D_GNU_SOURCE',
		'-DPACKAGE_VERSION="0"',
		'--enable=warning,performance,portability',
		'--suppress=missingIncludeSystem', '--inline-suppr', '-I.' ],
	    # .clang-tidy has the list of its checks.
	    [ 'clang-tidy', 1, \@shipped, 'clang-tidy', '--quiet', '-p', $dir ],
	);
	say 'These checks failed: ', join ', ', map { $_->[0] } @failed if @failed;
	return @failed ? 1 : 0;
}

# -- the package -------------------------------------------------------------

# Builds from the archive that "make dist" makes, so that a file which it does not list
# is missed here.
sub run_deb (@args)
{
	my ($autopkgtest, $reproducible);

	GetOptionsFromArray(\@args, 'autopkgtest' => \$autopkgtest,
	    'reproducible' => \$reproducible) && !@args or return usage();
	die "only root can run autopkgtest\n" if $autopkgtest && $> != 0;
	install_packages(@PACKAGES, @DEB_PACKAGES,
	    $autopkgtest ? qw(autopkgtest mmdebstrap) : (),
	    $reproducible ? qw(diffoscope-minimal disorderfs faketime locales-all
		reprotest) : ());
	my $src = unpack_source();
	my $dir = var() . '/deb';
	local $ENV{DEB_BUILD_OPTIONS} = 'nocheck parallel=' . processors();
	my $ok = !$reproducible || is_reproducible($src);
	quietly($src, 'dpkg-buildpackage', '-us', '-uc');
	remove_tree($src);
	my ($changes) = glob "$dir/*.changes";
	# Everything that lintian prints is a fault; debian/ has the reasons for the
	# exceptions.
	$ok &&= system('lintian', '--pedantic', '--display-info',
	    '--fail-on', 'error,warning,info,pedantic',
	    $> == 0 ? '--allow-root' : (), $changes) == 0;
	say for glob "$dir/*.deb";
	$ok &&= passes_autopkgtest(glob "$dir/*.dsc $dir/*.deb") if $autopkgtest;
	return $ok ? 0 : 1;
}

# The directory of the unpacked sources, in an empty deb/.
sub unpack_source
{
	my $build = build(undef, 'all');
	my $dir = var() . '/deb';

	remove_tree($dir);
	make_path($dir);
	quietly($build, 'make', '-s', 'dist-gzip');
	my ($tar) = sort { -M $a <=> -M $b } glob "$build/ai-chat-*.tar.gz";
	quietly($dir, 'tar', '-xzf', $tar);
	return (glob "$dir/ai-chat-*/")[0] =~ s{/\z}{}r;
}

# Builds twice, with everything that may differ between two machines changed.  The
# variations that are left out need a second user, or another host name.
sub is_reproducible ($src)
{
	my $log = var() . '/log/reprotest.log';

	return 1 if system('reprotest --variations=+all,-user_group,-domain_host'
	    . " -c 'dpkg-buildpackage --no-sign -b' '$src' '../*.deb' -- null"
	    . " >'$log' 2>&1") == 0;
	say "The build is not reproducible; $log ends with:";
	print tail($log, 60);
	return 0;
}

# Runs debian/tests in a new Debian of the same release, in a directory.  The packages
# that they need are in it from the start, because it may have no network.
sub passes_autopkgtest (@files)
{
	my $root = var() . '/autopkgtest';
	my ($suite) = slurp('/etc/os-release') =~ /^VERSION_CODENAME=(\w+)/m;
	my @needed = map { s/[\s,]+/,/gr } map { s/@,?\s*//gr }
	    slurp(top() . '/debian/tests/control') =~ /^Depends: (.*)$/mg;
	my ($depends) = map { qx(dpkg-deb -f '$_' Depends) } grep { !/dbgsym/ }
	    grep { /\.deb\z/ } @files;
	my $include = join ',', @needed, qw(apt-utils ca-certificates dpkg-dev),
	    map { /^\s*([\w.+-]+)/ } split /,/, $depends;

	remove_tree($root);
	quietly(top(), 'mmdebstrap', '--variant=apt', "--include=$include",
	    $suite, $root);
	# The mounts and all processes end with the command.
	my $ok = system(qw(unshare -m -p -f --kill-child sh -ec), 'root=$1; shift;'
	    . ' mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev";'
	    . ' exec autopkgtest "$@"',
	    'sh', $root, '--no-built-binaries', @files, '--', 'chroot', $root) == 0;
	remove_tree($root);
	return $ok;
}

sub commands
{
	return ({
		name => 'build', args => '[--sanitize]',
		line => 'build all programs and tests',
		run => \&run_build,
		help => <<'END',
Builds all programs and tests in build/ of the state, and prints the warnings of
the compiler. Writes compile_commands.json there, from which clangd, and so an
editor, knows how each file is compiled.

  --sanitize  build with AddressSanitizer and UndefinedBehaviorSanitizer, in a
              directory of its own
END
	}, {
		name => 'format', args => '[--all | FILE...]',
		line => 'format C files',
		run => \&run_format,
		help => <<'END',
Formats C files with clang-format, and prints the names of those that changed.
Without arguments it formats the files that differ from the last commit.

  --all  format all files
END
	}, {
		name => 'lint', args => '[--all | FILE...]',
		line => 'check C files with the compiler and other tools',
		run => \&run_lint,
		help => <<'END',
Checks C files: their format, the rules of t/style.t, the warnings of gcc, and
in app/ and lib/ the checks of cppcheck and clang-tidy. Without arguments it
checks the files that differ from the last commit; for a header, the files that
include it too.

  --all  check all files, which takes minutes
END
	}, {
		name => 'deb', args => '[--autopkgtest] [--reproducible]',
		line => 'build the Debian package',
		run => \&run_deb,
		help => <<'END',
Builds the Debian package in deb/ of the state, from the archive that "make
dist" makes, checks it with lintian, and prints its path.

  --autopkgtest   run debian/tests in a new Debian of the same release, in a
                  directory
  --reproducible  build it two more times with reprotest, which changes the
                  time, the path, the language and more, and compare the
                  packages
END
	});
}

1;
