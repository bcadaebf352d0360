package AIChat::Clone;

# A copy of the sources as a git repository of its own, for tests of what a developer
# does with them.

use v5.36;
use AIChat::Proc qw(run base_env);
use AIChat::Stack;

my @SOURCES = qw(.clang-format .clang-tidy .clangd .editorconfig .gitignore
    CONTRIBUTING.md LICENSE Makefile.am README.md README.ru.md app configure.ac debian
    dev docs lib man monitoring nginx sql systemd t);
# What autoreconf makes, which takes ten seconds.
my @GENERATED = qw(aclocal.m4 build-aux config.h.in configure Makefile.in);

# Makes a copy in $dir/tree, with everything committed, and returns an object for it.
sub new ($class, $dir)
{
	my $top = AIChat::Stack::top();
	my $self = bless { top => "$dir/tree" }, $class;

	mkdir $self->{top} or die "$self->{top}: $!\n";
	run([ 'cp', '-pR', (grep { -e } map { "$top/$_" } @SOURCES, @GENERATED),
	    $self->{top} ]);
	# "make distcheck" makes its sources read-only.
	run([ 'chmod', '-R', 'u+w', $self->{top} ]);
	# .gitignore is not in the archive of a release.
	open my $exclude, '>', "$dir/exclude" or die "$dir/exclude: $!\n";
	say $exclude "/$_" for 'var/', 'autom4te.cache/', @GENERATED;
	close $exclude;
	$self->git(@$_) for [qw(init -q -b main)],
	    [ qw(config core.excludesFile), "$dir/exclude" ],
	    [qw(config user.name Test)],
	    [qw(config user.email test@example.org)],
	    [qw(add -A)], [qw(commit -q -m import)];
	return $self;
}

# Those of the programs that are not installed.
sub missing (@programs)
{
	return grep { my $name = $_; !grep { -x "$_/$name" } qw(/usr/bin /bin) }
	    @programs;
}

sub top ($self) { return $self->{top} }

sub git ($self, @args)
{
	return run([ 'git', '-C', $self->{top}, @args ]);
}

# Runs a command of a shell in the copy; returns its status and its output.  The build
# is not optimized, because the time of the compiler is most of the test's.
sub shell ($self, $command, %env)
{
	local %ENV = (base_env(), CFLAGS => '-g -O0', %env);
	open my $out, '-|', 'sh', '-c', 'cd "$1" && exec 2>&1 </dev/null && eval "$2"',
	    'sh', $self->{top}, $command or die "could not run sh: $!\n";
	my $text = do { local $/; <$out> } // '';
	close $out;
	utf8::decode($text);
	return ($? >> 8 || $? & 127, $text);
}

1;
