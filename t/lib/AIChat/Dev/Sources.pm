package AIChat::Dev::Sources;

# The commands of ./dev that build, check and package the sources.

use v5.36;
use utf8;
use AIChat::Dev qw(top var usage install_packages build quietly processors
    @PACKAGES @DEB_PACKAGES);
use File::Path qw(make_path remove_tree);

# Builds from the archive that "make dist" makes, so that a file which it does not list
# is missed here.
sub run_deb (@args)
{
	return usage() if @args;
	install_packages(@PACKAGES, @DEB_PACKAGES);
	my $build = build(undef, 'all');
	my $dir = var() . '/deb';
	remove_tree($dir);
	make_path($dir);
	quietly($build, 'make', '-s', 'dist-gzip');
	my ($tar) = sort { -M $a <=> -M $b } glob "$build/ai-chat-*.tar.gz";
	quietly($dir, 'tar', '-xzf', $tar);
	my ($src) = glob "$dir/ai-chat-*/";
	local $ENV{DEB_BUILD_OPTIONS} = 'nocheck parallel=' . processors();
	quietly($src, 'dpkg-buildpackage', '-us', '-uc');
	remove_tree($src);
	my ($changes) = glob "$dir/*.changes";
	my $ok = system('lintian', '--fail-on', 'error',
	    $> == 0 ? '--allow-root' : (), $changes) == 0;
	say for glob "$dir/*.deb";
	return $ok ? 0 : 1;
}

sub commands
{
	return ({
		name => 'deb', args => '',
		line => 'build the Debian package',
		run => \&run_deb,
		help => <<'END',
Builds the Debian package in deb/ of the state, from the archive that "make
dist" makes, checks it with lintian, and prints its path.
END
	});
}

1;
