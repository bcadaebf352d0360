# The tests that the table of faults in t/README.md names exist, and the index of
# tests there has each test.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();

# The text of a test, with strings that a dot joins in one piece.
sub titles_of ($path)
{
	my $text = slurp("$TOP/$path");
	utf8::decode($text);
	return $text =~ s/(['"])\s*\.\s*\1//gr;
}

utf8::decode(my $table = slurp("$TOP/t/README.md"));
my @rows = map { [ split /\s*\|\s*/ ] } $table =~ /^\| ((?:\d+|\+) .*) \|$/mg;
cmp_ok scalar @rows, '>=', 29, 'the table has its rows';
is((grep { @$_ != 4 } @rows), 0, '... of four columns each');

for my $row (@rows) {
	my ($number, $what, undef, $where) = @$row;
	my ($file, $n, @missing) = ('', 0);
	while ($where =~ /`(t\/[^`]+)`|"([^"]+)"/g) {
		if (defined $1) {
			$file = $1;
			push @missing, $file if !-f "$TOP/$file";
		} else {
			$n++;
			push @missing, qq($file: "$2")
			    if !-f "$TOP/$file"
			    || index(titles_of($file), $2) < 0;
		}
	}
	is join(', ', @missing), '', "$number, $what: its tests exist";
	ok $n, '... and at least one is named';
}

# The index has a line for each test: its file and what it is about.
{
	my ($index) = $table =~ /^## Index$(.*?)^## /ms;
	my @indexed = map { "t/$_" } $index =~ /^- `(\w+\.t)`: \S/mg;
	my @tests = map { s{^\Q$TOP\E/}{}r } glob("$TOP/t/*.t");
	is join("\n", sort @indexed), join("\n", sort @tests),
	    'the index has each test once';
	is join("\n", grep { /^[- ]/ && !/^- `\w+\.t`: \S/ } split /\n/, $index),
	    '', '... in one line each';
}
is join("\n", grep { length > 80 && !/^\|/ } split /\n/, $table), '',
    'lines that are not of a table have at most 80 columns';

done_testing;
