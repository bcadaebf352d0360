# README.md and README.ru.md are the same page in two languages, and no link in
# the documentation is broken.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use File::Basename qw(dirname);
use Test::More;

my $TOP = AIChat::Stack::top();
binmode $_, ':encoding(UTF-8)'
    for map { Test::More->builder->$_ } qw(output failure_output todo_output);

sub text_of ($path)
{
	my $text = slurp("$TOP/$path");
	utf8::decode($text);
	return $text;
}

# The fenced blocks of one language, without shell comments.
sub blocks ($text, $language)
{
	my @found = $text =~ /^```\Q$language\E\n(.*?)^```$/msg;
	s/[ ]+# .*$//mg for @found;
	return @found;
}

# The text of a page without code blocks and inline code.
sub prose ($text)
{
	$text =~ s/^```.*?^```$//msg;
	$text =~ s/^(?: {4}|\t).*$//mg;
	return $text;
}

sub links ($text)
{
	return prose($text) =~ /\]\(([^()\s]+)\)/g;
}

# The fragments of the headings of a page, as GitHub makes them.
sub fragments ($text)
{
	my (%seen, @found);

	$text =~ s/^```.*?^```$//msg;
	for my $title ($text =~ /^#{1,6} +(.*?) *$/mg) {
		my $name = lc $title =~ s/\[([^]]*)\]\([^)]*\)/$1/gr;
		$name =~ s/[^\w -]//g;
		$name =~ tr/ /-/;
		my $n = $seen{$name}++;
		push @found, $n ? "$name-$n" : $name;
	}
	return @found;
}

# The fault of a relative link of a page; '' where the file exists, and where a
# fragment is the heading of a section in it.
sub fault ($page, $link)
{
	return '' if $link =~ /^[a-z]+:/;
	my ($file, $fragment) = $link =~ /^([^#]*)(?:#(.*))?$/;
	my $path = $file eq '' ? $page
	    : dirname($page) eq '.' ? $file : dirname($page) . "/$file";
	return "$page: $link: no such file" if !-e "$TOP/$path";
	return '' if !defined $fragment;
	return "$page: $link: no such heading"
	    if !grep { $_ eq $fragment } fragments(text_of($path));
	return '';
}

# -- the check itself --------------------------------------------------------

is join(' ', blocks("```sh\na  # b\n```\n```text\nc\n```\n", 'sh')), "a\n",
    'a block of commands is found, without its comment';
is join(' ', links("[a](b.md) `x`\n```\n[c](d)\n```\n[e](f#g)\n")), 'b.md f#g',
    'links are found, except in code';
is join(' ', fragments("# A b\n## `c` [D](e), f!\n## A b\n## Как это\n")),
    'a-b c-d-f a-b-1 как-это', 'the fragments of headings are found';
is fault('docs/api.md', '../LICENSE'), '', 'a link to a file is valid';
is fault('docs/api.md', 'https://example.org/x'), '', '... and so is an address';
is fault('docs/api.md', '#formats'), '', '... and a heading of the same page';
like fault('docs/api.md', 'LICENSE'), qr/no such file/,
    '... but not a link to a missing file';
like fault('README.md', 'docs/api.md#forms'), qr/no such heading/,
    '... and not a link to a missing heading';

# -- two languages -----------------------------------------------------------

{
	my ($en, $ru) = map { text_of($_) } qw(README.md README.ru.md);
	cmp_ok scalar(() = blocks($en, 'sh')), '>=', 4, 'README.md has commands';
	for my $language (qw(sh json)) {
		is_deeply [ blocks($ru, $language) ],
		    [ blocks($en, $language) ],
		    "README.ru.md has the same blocks of $language";
	}
	is scalar(() = $ru =~ /^```\w/mg), scalar(() = $en =~ /^```\w/mg),
	    '... and as many blocks';
	is_deeply [ grep { $_ ne 'README.md' } links($ru) ],
	    [ grep { $_ ne 'README.ru.md' } links($en) ], '... the same links';
	is_deeply [ $ru =~ /^(#+) /mg ], [ $en =~ /^(#+) /mg ],
	    '... the same levels of headings';
	my @layout = $en =~ /`([^`\s]+\/)`/g;
	is_deeply [ $ru =~ /`([^`\s]+\/)`/g ], \@layout, '... the same layout';
	cmp_ok scalar @layout, '>', 8, 'the layout has paths';
	is join(' ', grep { !-d "$TOP/$_" } @layout), '', '... which exist';
	is_deeply [ grep { length > 80 && !/^\|/ }
	    split /\n/, prose($_->[1]) ], [],
	    "$_->[0]: no line is over 80 columns"
	    for [ 'README.md', $en ], [ 'README.ru.md', $ru ];
}

# -- links -------------------------------------------------------------------

{
	my @pages = map { s{^\Q$TOP\E/}{}r }
	    map { glob "$TOP/$_" } qw(README.md README.ru.md docs/*.md);
	my @links = map { my $page = $_; map { [ $page, $_ ] }
	    links(text_of($page)) } @pages;
	cmp_ok scalar @links, '>', 40, 'there are links';
	is join("\n", grep { $_ ne '' } map { fault(@$_) } @links), '',
	    'no relative link is broken';
	my %linked;
	for (@links) {
		my ($page, $link) = @$_;
		my $name = $link =~ s/#.*//r =~ s{.*/}{}r;
		$linked{$name} = 1 if $page !~ m{(?:^|/)\Q$name\E$};
	}
	my $packed = text_of('Makefile.am');
	my @docs = grep { m{^docs/} } @pages;
	is join(' ', grep { !$linked{ s{.*/}{}r } } @docs), '',
	    'another page links to each page of docs/';
	is join(' ', grep { $packed !~ /(?<!\S)\Q$_\E(?!\S)/ } @docs), '',
	    '... and Makefile.am packs it';
}

done_testing;
