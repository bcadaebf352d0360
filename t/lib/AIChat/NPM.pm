package AIChat::NPM;

# Programs of npm that the tests use, in the versions of a package-lock.json.
#
#	my $npm = AIChat::NPM->install('npm');	# t/npm
#	run([ $npm->node, $npm->file('typescript/bin/tsc'), ... ]);
#
# The packages are installed once in the build directory; npm checks each by its
# digest.  A test without a network is skipped: see skip_reason().

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew);
use AIChat::Stack;
use Fcntl qw(:flock);
use File::Copy qw(copy);
use File::Path qw(make_path);

# The oldest Node.js with which all packages work; an older one is replaced by
# that of the optional packages.
sub is_new_enough
{
	return (eval { run([ qw(node --version) ], env => { %ENV }) } // '')
	    =~ /^v(\d+)\.(\d+)/ && ($1 > 20 || $1 == 20 && $2 >= 19);
}

# Installs the packages of t/NAME, unless they are installed; or dies.
sub install ($class, $name)
{
	my $locked = AIChat::Stack::top() . "/t/$name";
	my $dir = AIChat::Stack::find_build() . "/$name";
	my $new_enough = is_new_enough();

	make_path($dir);
	open my $lock, '>>', "$dir/lock" or die "$dir/lock: $!\n";
	flock $lock, LOCK_EX;
	my $want = slurp("$locked/package-lock.json") . $new_enough;
	if ((eval { slurp("$dir/installed") } // '') ne $want) {
		copy("$locked/$_", "$dir/$_") or die "$dir/$_: $!\n"
		    for qw(package.json package-lock.json);
		# The whole environment, because it may name the registry.
		run([ qw(npm ci --ignore-scripts --no-audit --no-fund --prefix),
		    $dir, $new_enough ? '--omit=optional' : () ],
		    env => { %ENV }, log => "$dir/npm.log");
		spew("$dir/installed", $want);
	}
	return bless { name => $name, dir => $dir, node => $new_enough ? 'node'
	    : glob "$dir/node_modules/node-linux-*/bin/node" }, $class;
}

# Why a test has to be skipped after install() has died with $why: a developer
# without a network still gets the results of the other tests. Dies with $why
# where a package is not the one of package-lock.json.
sub skip_reason ($why)
{
	die $why if $why =~ /EINTEGRITY/;
	return 'could not install the packages of npm: '
	    . $why =~ s/\s*\n\s*/; /gr;
}

sub dir ($self) { return $self->{dir} }
sub node ($self) { return $self->{node} }
# A script of t/NAME, at a place from which it finds its modules.
sub script ($self, $file)
{
	my $path = "$self->{dir}/$$-$file";

	copy(AIChat::Stack::top() . "/t/$self->{name}/$file", $path)
	    or die "$path: $!\n";
	push @{ $self->{scripts} }, $path;
	return $path;
}

sub DESTROY ($self) { unlink @{ $self->{scripts} // [] } }

sub file ($self, $path) { return "$self->{dir}/node_modules/$path" }

1;
