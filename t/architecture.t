# docs/architecture.md and docs/glossary.md name files, functions, identifiers and tests that
# there are.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();
my @sources = map { s{^\Q$TOP\E/}{}r } sort glob("$TOP/{app/*,lib}/*.[ch]");
my %text = map { ($_ => slurp("$TOP/$_")) } @sources;
my $all = join "\n", values %text;

# A function is defined where its name begins a line, or declared in a header; a static one
# may only be defined.
sub has_function ($text, $name)
{
	return $text =~ /^(?:[a-z][\w \t]*[ *])?\*?\Q$name\E\(/m;
}

# A test's text, with what is joined by a dot in one piece.
sub titles_of ($path)
{
	my $text = slurp("$TOP/$path");
	utf8::decode($text);
	return $text =~ s/(['"])\s*\.\s*\1//gr;
}

# What a document says that is not so.
sub wrong ($doc)
{
	my ($file, %n, @wrong) = ('', path => 0, function => 0, title => 0);

	$doc =~ s/^```.*?^```$//msg;
	while ($doc =~ /`([^`]+)`|"([^"]+)"/g) {
		my ($code, $title) = ($1, $2);
		if (defined $title) {
			$title =~ s/\s+/ /g;
			$n{title}++;
			push @wrong, qq($file: "$title") if $file eq ''
			    || index(titles_of($file), $title) < 0;
			next;
		}
		my ($path, $function) = $code =~
		    m{^((?:app|lib|t|sql|docs|man|nginx|systemd|monitoring)/[\w./@-]+)?
		    (?::?(\w+)\(\))?\z}x;
		$file = $path if defined $path && $path =~ m{^t/} && -f "$TOP/$path";
		if (defined $path) {
			$n{path}++;
			push @wrong, $path if !-e "$TOP/$path";
		}
		if (defined $function) {
			$n{function}++;
			my $in = defined $path ? $text{$path} // '' : $all;
			push @wrong, "`$code`" if !has_function($in, $function);
		}
		push @wrong, "`$code`" if $code =~ /^[A-Z][A-Z0-9_]{3,}\z/
		    && $all !~ /\b(?:\w+_)?\Q$code\E\b/;
		push @wrong, "`$code`" if $code =~ /^(?:struct|enum) (\w+)\z/
		    && $all !~ /\b\Q$code\E\b/;
	}
	return (\@wrong, \%n);
}

# The check itself: what is not there is found, and what is there is not.
{
	my ($wrong) = wrong('`lib/none.c` `lib/db.c:none()` `none_at_all()` `AIC_NONE_X`'
	    . ' `lib/db.c:reserve_chat()` `struct none` `t/style.t` "no such title"');
	is scalar @$wrong, 7, 'what is not there is found'
	    or diag join "\n", @$wrong;
	($wrong) = wrong('`lib/db.c:lead_trip()` `aic_db_run()` `AIC_DB_CALLS` `struct aic_db`'
	    . ' `t/style.t` "the sources are' . "\n" . 'there" `lib/db.h`');
	is join("\n", @$wrong), '', '... and what is there is not';
}

for ([ 'docs/architecture.md', 40, 80, 30 ], [ 'docs/glossary.md', 20, 0, 0 ]) {
	my ($path, $paths, $functions, $titles) = @$_;
	utf8::decode(my $doc = slurp("$TOP/$path"));
	my ($wrong, $n) = wrong($doc);

	is join("\n", @$wrong), '', "$path: what it names is there";
	cmp_ok $n->{path}, '>=', $paths, '... files';
	cmp_ok $n->{function}, '>=', $functions, '... functions';
	cmp_ok $n->{title}, '>=', $titles, '... tests';
	is join(' ', grep { length > 80 && !/^\|/ } split /\n/, $doc), '',
	    '... in lines of 80 columns';
}

# The numbers of the invariants are those of the text, without a gap.
{
	my @numbers = slurp("$TOP/docs/architecture.md") =~ /^\*\*I(\d+)\. /mg;
	cmp_ok scalar @numbers, '>', 10, 'the invariants are there';
	is join(' ', @numbers), join(' ', 1 .. @numbers), '... in order';
	my @proofs = slurp("$TOP/docs/architecture.md") =~ /^Proof: `t\//mg;
	is scalar @proofs, scalar @numbers, '... each with a proof';
}

done_testing;
