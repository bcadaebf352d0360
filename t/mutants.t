# ./dev mutants can plant each of its faults: the text that a fault changes
# occurs in the sources exactly once.

use v5.36;
use utf8;
use AIChat::Mutants;
use AIChat::Proc qw(run slurp);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();

sub mutant ($change, %with)
{
	my %m = (mutant => 'm', file => 'f', breaks => 'b', tests => 't', %with);

	return join '', map({ "$_: $m{$_}\n" } qw(mutant file breaks tests)), $change;
}

sub planted ($change, $text)
{
	my ($m) = AIChat::Mutants::parse('list', mutant($change));

	return AIChat::Mutants::count($m, $text) == 1
	    ? AIChat::Mutants::plant($m, $text)
	    : AIChat::Mutants::count($m, $text) . ' times';
}

sub refused ($text)
{
	return eval { AIChat::Mutants::parse('list', $text); 1 } ? 'taken' : $@;
}

# The format.
is planted("-a == b\n+a != b\n", "if (a == b)\n"), "if (a != b)\n",
    'a part of a line is changed';
is planted("-a();\n-b();\n+b();\n", "x();\n\ta();\n\tb();\n"), "x();\n\tb();\n",
    'lines are changed, however they are indented';
is planted("-a &&\n-b\n+a\n", "\ta && b;"), "\ta;",
    '... and wherever lines are broken';
is planted(qq(-"a"\n-"b"\n+"c"\n), qq(M "a"  \\\n "b" \\\n)), qq(M "c" \\\n),
    '... in a macro, too';
is planted(" a();\n-b();\n c();\n", "b();\na();\nb();\nc();\n"), "b();\na();\nc();\n",
    'context selects one of several places';
is planted(" a();\n+b();\n", "a();\n"), "a();\nb();\n", 'a line is added';
is planted("-a.b\n+c\n", 'a_b'), '0 times', 'a dot matches a dot alone';
is planted("-a\n+b\n", 'a a'), '2 times', 'each match is counted';
is scalar(AIChat::Mutants::parse('list', "# one\n\n" . mutant("-a\n") . "\n# two\n"
    . mutant("-b\n", mutant => 'n') . "\n\n")), 2,
    'a blank line separates two mutants';
like refused("mutant: m\nfile: f\n-a\n"), qr/no breaks tests/, 'a missing field is an error';
like refused(mutant("a\n")), qr/what is "a"/, 'an unknown line is an error';
like refused(mutant("-a b\n+a  b\n")), qr/changes nothing/, 'a mutant that changes nothing is an error';
is_deeply [ AIChat::Mutants::failures_in(<<'END') ],
/x/t/limits.t ....
ok 1 - one
not ok 2 - no more
not ok 3 - either
Failed 2/3 subtests
/x/t/unit/db.t ...
ok 1 - all
All 1 subtests passed
/x/t/send.t ......
ok 1 - sent

Test Summary Report
-------------------
/x/t/limits.t  (Wstat: 256 (exited 1) Tests: 3 Failed: 2)
/x/t/send.t    (Wstat: 65280 (exited 255) Tests: 1 Failed: 0)
END
    [ [ 'limits', 'no more' ], [ 'send', 'exited early' ] ],
    'the tests that failed are found in the output of prove';

# The list.
my @mutants = AIChat::Mutants::load($TOP);
cmp_ok scalar @mutants, '>=', 60, 'the list has at least sixty mutants';
my %times;
$times{ $_->{mutant} }++ for @mutants;
is join(' ', grep { $times{$_} > 1 } sort keys %times), '', '... each with a name of its own';
is join(', ', map { "$_->{mutant}: " . AIChat::Mutants::why_not($_, $TOP) }
    grep { AIChat::Mutants::why_not($_, $TOP) ne '' } @mutants), '',
    'the text that each one changes is in the sources, once';
is join(', ', map {
	my $m = $_;
	map { "$m->{mutant}: $_" } grep { !AIChat::Mutants::source_of($_, $TOP) }
	    @{ $m->{tests} };
} @mutants), '', 'the tests that have to fail exist';
is join(', ', map { $_->{mutant} } grep { $_->{breaks} !~ /^[A-Z].*\.$/ } @mutants), '',
    'the promise that each one breaks is a sentence';

# The parts of the command that build nothing.
my @listed = split /\n/, run([ "$TOP/dev", 'mutants', '--list' ], env => { %ENV });
is scalar @listed, scalar @mutants, './dev mutants --list lists them';
like run([ "$TOP/dev", 'mutants', '--help' ], env => { %ENV }), qr/SURVIVED/,
    '... and --help says what comes out';
eval { run([ "$TOP/dev", 'mutants', 'none-such' ], env => { %ENV }) };
like $@, qr/there is no mutant none-such/, 'a name that does not exist is an error';

done_testing;
