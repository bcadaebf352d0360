package AIChat::FirstFailure;

# Ends a test file at its first failure. ./dev mutants loads this module into
# the tests, because one failure suffices to kill a mutant.

use v5.36;
use Test::Builder;

my $ok = \&Test::Builder::ok;

no warnings 'redefine';
*Test::Builder::ok = sub (@args) {
	# The line in the test, not in this module.
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $ok->(@args) || exit 1;
};

1;
