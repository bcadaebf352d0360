package AIChat::FirstFailure;

# Ends a test file at its first failure.  ./dev mutants loads it into the tests, because
# one failure is all that it wants to know.

use v5.36;
use Test::Builder;

my $ok = \&Test::Builder::ok;

no warnings 'redefine';
*Test::Builder::ok = sub (@args) {
	# The caller's line is where the test is, and not here.
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return $ok->(@args) || exit 1;
};

1;
