# The manual pages are valid, and agree with the programs.

use v5.36;
use AIChat::Proc qw(run slurp base_env);
use AIChat::Stack;
use AIChat::Test ();
use Test::More;

my $TOP = AIChat::Stack::top();
my %page = map { m{([^/]+)$} ? ($1 => $_) : () } glob "$TOP/man/*.[58]";

is join(' ', sort keys %page), 'ai-chat-migrate.8 ai-chat-worker.8'
    . ' ai-chat.env.5 ai-chatctl.8', 'there are these pages';

# The text of a page without markup, whatever its width is.
sub text ($page)
{
	return run([ 'groff', '-man', '-Tutf8', '-P-cbou', '-rLL=200n', '-ww',
	    $page{$page} ]);
}

my $have_groff = eval { run([ 'groff', '--version' ]); 1 };
SKIP: {
	skip 'groff is not installed', 1 if !$have_groff;
	for my $page (sort keys %page) {
		my $text = eval { text($page) } // $@;
		unlike $text, qr/\b(?:troff|groff|grotty)\b.*:/,
		    "$page: groff prints no warning";
		like $text, qr/^NAME\n.*^SEE ALSO\n/ms,
		    '... and formats it from NAME to SEE ALSO';
		my @others = $text =~ /\b(ai-chat[\w.-]*)\(([58])\)/g;
		while (my ($name, $section) = splice @others, 0, 2) {
			ok $page{"$name.$section"}, "... $name($section) exists"
			    if "$name.$section" ne $page;
		}
	}
}

# Every option in a program's own help is in its page.
for my $name (qw(ai-chatctl ai-chat-worker ai-chat-migrate)) {
	my ($status, $help) = AIChat::Test::program($name, {}, '--help');
	my $page = slurp($page{"$name.8"}) =~ s/\\-/-/gr =~ s/\\f.//gr;
	my %said = map { $_ => 1 } $help =~ /(?<!\S)(--[a-z-]+)/g,
	    $name eq 'ai-chatctl' ? $help =~ /^  ([a-z][a-z-]+) /mg : ();
	ok scalar keys %said, "$name --help lists options";
	is join(' ', grep { $page !~ /(?<![\w-])\Q$_\E(?![\w-])/ } sort keys %said),
	    '', '... and its page has them all';
}

# The credentials that the units load.
{
	my ($secrets) = slurp($page{'ai-chat.env.5'}) =~ /^\.SH SECRETS\n(.*?)^\.SH /ms;
	my ($names) = $secrets =~ /\.nf\n(.*?)\.fi/s;
	my %loaded = map { $_ => 1 } map {
		slurp($_) =~ m{^LoadCredential=(\w+):/etc/ai-chat/credentials/\1$}mg
	} glob "$TOP/systemd/*.service";
	ok keys %loaded > 10, 'the units load credentials';
	is join(' ', sort split ' ', $names), join(' ', sort keys %loaded),
	    '... which ai-chat.env(5) lists';
}

# The privileges of a role that does not own the tables.
{
	my ($grants) = slurp($page{'ai-chat-migrate.8'})
	    =~ /^\.SH PRIVILEGES\n.*?^\.nf\n(.*?)^\.fi/ms;
	my %granted = map { $_ => 1 } $grants =~ /\b(ai_chat_\w+)/g;
	my @tables = map { slurp($_) =~ /^CREATE TABLE (?:IF NOT EXISTS )?(\w+)/mg }
	    glob "$TOP/sql/*.sql";
	ok @tables > 5, 'migrations create tables';
	is join(' ', grep { !$granted{$_} } @tables), '',
	    '... and ai-chat-migrate(8) grants privileges on each';
}

# The settings: each with its default and its range, as in lib/conf.c, and no
# others, in the page and in the sample file.
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
	is scalar keys %want, scalar(() = $table =~ /\bAT\(/g),
	    'every row of the table of settings is read';
	is_deeply \%page, \%want, '... and the page has each';
}

done_testing;
