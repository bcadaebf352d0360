# The Russian texts for sellers: docs/texts.md has exactly those of the sources,
# and a bot can show each of them unchanged.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use Test::More;

my $tap = Test::More->builder;
binmode $_, ':encoding(UTF-8)' for $tap->output, $tap->failure_output;
my $TOP = AIChat::Stack::top();

sub text_of ($path)
{
	my $text = slurp("$TOP/$path");
	utf8::decode($text);
	return $text;
}

# The Russian texts in the strings of a source: adjacent strings are one text,
# which numbers, JSON and line breaks divide.
sub pieces_of ($text)
{
	$text =~ s{/\*.*?\*/}{}gs;
	# The examples of /openapi.json.
	$text =~ s/AIC_SHAPE_MEMBERS\(\w+\),.*?;//gs;
	my @joined;

	while ($text =~ /("(?:\\.|[^"\\])*"(?:[\s\\]*"(?:\\.|[^"\\])*")*)/g) {
		my $string = $1 =~ s/"[\s\\]*(?<!\\)"//gr;
		push @joined, $string =~ s/\A"|"\z//gr;
	}
	return grep { /\p{Cyrillic}/ } map { s/\A\s+|\s+\z//gr }
	    map { split /\\"|\\n|%(?:0?\d*|\.\d)(?:lld|d|s)/ } @joined;
}

my @pieces = map { pieces_of(text_of($_)) } qw(app/worker/reply.c lib/render.c
    nginx/ai-chat-maps.conf);
my ($doc, $words) = split /^## Words for the model\n/m, text_of('docs/texts.md');
my @rows = map { [ split /\s*\|\s*/ ] } $doc =~ /^\| (.*) \|$/mg;
my @texts = map { $_->[2] } grep { $_->[2] =~ /\p{Cyrillic}/ } @rows;

cmp_ok scalar @pieces, '>', 15, 'the sources have texts';
cmp_ok scalar @texts, '>', 10, 'the page has texts';

my @missing = grep { index($doc, $_) < 0 } @pieces;
is join("\n", @missing), '', 'each text of the sources is in the page';

my $known = join '|', map { quotemeta } sort { length $b <=> length $a } @pieces;
is join("\n", grep { s/$known//gr =~ /\p{Cyrillic}/ } @texts), '',
    'each text of the page is in the sources';
is join("\n", grep { length > 200 || /[<>&"]/ } @texts), '',
    'each text can be shown unchanged';
is join("\n", grep { (() = /[.!?](?= |\z)/g) > 2 } @texts), '',
    'each text has at most two sentences';
is join("\n", grep { !/\A\p{Lu}/ || /  |\.\.| [.,;)]|\bAI\b/ } @texts), '',
    'each text consists of sentences';

# -- names of fields for the model
# -------------------------------------------------

{
	my $source = text_of('lib/seller_fields.c');
	my %label = $source =~ /\[(\w+)\]\s*=\s*\{\s*"([^"]+)",/g;
	my %names;
	my ($table) = $source =~ /struct name names\[\] = \{(.*?)^\};/ms;
	while ($table =~ /\{ "(\w+)", (\w+) \}/g) {
		push @{ $names{$2} }, $1;
	}
	$names{THIS_WEEK} = [ '7days` in `sales_periods' ];
	$names{THIS_MONTH} = [ '30days` in `sales_periods' ];
	is join(' ', grep { !$names{$_} } sort keys %label), '',
	    'each word for the model has a name';
	my @want = sort map { "$label{$_} | "
	    . join ', ', map { "`$_`" } @{ $names{$_} } } keys %label;
	my @got = sort map { my @cells = split /\s*\|\s*/, $_, -1;
	    "$cells[0] | $cells[2]" }
	    grep { /`/ } $words =~ /^\| (.*?) ?\|$/mg;
	cmp_ok scalar @want, '>', 100, 'there are field names for the model';
	is join("\n", @got), join("\n", @want),
	    '... and the page has each of them';
	my @sorted = $table =~ /\{ "(\w+)"/g;
	is_deeply \@sorted, [ sort @sorted ], 'the names are sorted';
}

done_testing;
