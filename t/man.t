# The manual pages are pages, and say what is so.

use v5.36;
use AIChat::Proc qw(run slurp base_env);
use AIChat::Stack;
use AIChat::Test ();
use Test::More;

my $TOP = AIChat::Stack::top();
my %page = map { m{([^/]+)$} ? ($1 => $_) : () } glob "$TOP/man/*.[58]";

is join(' ', sort keys %page), 'ai-chat-migrate.8 ai-chat-worker.8'
    . ' ai-chat.env.5 ai-chatctl.8', 'the pages are there';

# As a reader sees it, without marks and with whatever width it has.
sub text ($page)
{
	return run([ 'groff', '-man', '-Tutf8', '-P-cbou', '-rLL=200n', '-ww',
	    $page{$page} ]);
}

my $have_groff = eval { run([ 'groff', '--version' ]); 1 };
SKIP: {
	skip 'there is no groff', 1 if !$have_groff;
	for my $page (sort keys %page) {
		my $text = eval { text($page) } // $@;
		unlike $text, qr/\b(?:troff|groff|grotty)\b.*:/, "$page: groff warns of nothing";
		like $text, qr/^NAME\n.*^SEE ALSO\n/ms, '... and makes a page of it';
		my @others = $text =~ /\b(ai-chat[\w.-]*)\(([58])\)/g;
		while (my ($name, $section) = splice @others, 0, 2) {
			ok $page{"$name.$section"}, "... $name($section) exists"
			    if "$name.$section" ne $page;
		}
	}
}

# What the programs' own help tells of is in their pages.
for my $name (qw(ai-chatctl ai-chat-worker ai-chat-migrate)) {
	my ($status, $help) = AIChat::Test::program($name, {}, '--help');
	my $page = slurp($page{"$name.8"}) =~ s/\\-/-/gr =~ s/\\f.//gr;
	my %said = map { $_ => 1 } $help =~ /(?<!\S)(--[a-z-]+)/g,
	    $name eq 'ai-chatctl' ? $help =~ /^  ([a-z][a-z-]+) /mg : ();
	ok scalar keys %said, "$name --help tells something";
	is join(' ', grep { $page !~ /(?<![\w-])\Q$_\E(?![\w-])/ } sort keys %said),
	    '', '... and its page of all that';
}

# The settings: each with its default and its range, as lib/conf.c has them, and no
# other; so has the file.
{
	my ($table) = slurp("$TOP/lib/conf.c")
	    =~ /^static const struct setting table\[\] = \{\n(.*?)^\};/ms;
	my $page = slurp($page{'ai-chat.env.5'});
	my %page = map { /^\.BR (\w+) " \((.*)\)"$/ ? ($1 => $2) : () }
	    split /\n/, $page;
	my %want;

	while ($table =~ /\{ \s "(\w+)", \s (\w+), \s ([\w |]+), \s+
	    (NULL|\w+|"[^"]*"), \s ([\d.]+), \s ([\d.]+),/gx) {
		my ($name, $kind, $flags, $preset, $min, $max) = ($1, $2, $3, $4,
		    $5, $6);
		$want{$name} = $flags =~ /MUST/ ? 'mandatory'
		    : $preset eq 'NULL' ? 'none'
		    : $preset !~ /^"/ ? 'the installed one'
		    : $preset =~ tr/"//dr
			. ($kind =~ /^(?:NUM|REAL)$/ ? "; $min to $max" : '');
	}
	is scalar keys %want, scalar(() = $table =~ /\bAT\(/g), 'the table of settings is found';
	is_deeply \%page, \%want, '... and the page has it';
}

done_testing;
