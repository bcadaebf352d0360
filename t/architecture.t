# The files, functions, identifiers and tests that docs/architecture.md and
# docs/glossary.md name exist.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();
my @sources = map { s{^\Q$TOP\E/}{}r } sort glob("$TOP/{app/*,lib}/*.[ch]");
my %text = map { ($_ => slurp("$TOP/$_")) } @sources;
my $all = join "\n", values %text;

# A function exists when its name begins a line (a definition) or follows a
# type (a declaration in a header).
sub has_function ($text, $name)
{
	return $text =~ /^(?:[a-z][\w \t]*[ *])?\*?\Q$name\E\(/m;
}

# The text of a test, with strings that a dot joins in one piece.
sub titles_of ($path)
{
	my $text = slurp("$TOP/$path");
	utf8::decode($text);
	return $text =~ s/(['"])\s*\.\s*\1//gr;
}

# Returns the names in a document that do not exist, and how many names of each
# kind there are.
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
		push @wrong, "`$code`" if $code =~ /^(?:(?:struct|enum) \w+|\w+\.lock)\z/
		    && $all !~ /\b\Q$code\E\b/;
	}
	return (\@wrong, \%n);
}

# The check itself: it reports names that do not exist, and no others.
{
	my ($wrong) = wrong('`lib/none.c` `lib/db.c:none()` `none_at_all()` `AIC_NONE_X`'
	    . ' `lib/db.c:reserve_chat()` `struct none` `none.lock` `t/style.t` "no such title"');
	is scalar @$wrong, 8, 'names that do not exist are reported'
	    or diag join "\n", @$wrong;
	($wrong) = wrong('`lib/db.c:lead_trip()` `aic_db_run()` `AIC_DB_CALLS` `struct aic_db`'
	    . ' `gate.lock`'
	    . ' `t/style.t` "the sources are' . "\n" . 'there" `lib/db.h`');
	is join("\n", @$wrong), '', '... and names that exist are not';
}

for ([ 'docs/architecture.md', 40, 80, 30 ], [ 'docs/glossary.md', 20, 0, 0 ]) {
	my ($path, $paths, $functions, $titles) = @$_;
	utf8::decode(my $doc = slurp("$TOP/$path"));
	my ($wrong, $n) = wrong($doc);

	is join("\n", @$wrong), '', "$path: all names in it exist";
	cmp_ok $n->{path}, '>=', $paths, '... files';
	cmp_ok $n->{function}, '>=', $functions, '... functions';
	cmp_ok $n->{title}, '>=', $titles, '... tests';
	is join(' ', grep { length > 80 && !/^\|/ } split /\n/, $doc), '',
	    '... in lines of 80 columns';
}

# Each mutex of the sources is in the list of locks, with its file.
{
	my $doc = slurp("$TOP/docs/architecture.md");
	my (@wrong, $locks);

	while ($doc =~ /^- `(?:(\w+)\.)?(\w*locks?)`(?:\s+of\s+`struct (\w+)`)?,\s+`([^`]+)`/mg) {
		my $row = $&;
		my ($object, $lock, $struct, $path) = ($1, $2, $3, $4);
		my $text = $text{$path} // '';
		my ($owner) = defined $struct ? $text =~ /^(struct $struct \{\n.*?)^\}/ms : $text;
		$locks++;
		push @wrong, $row if ($owner // '') !~ /^\tpthread_mutex_t $lock\b/m
		    || (defined $object && $owner !~ /\b$object\b/);
	}
	is join("\n", @wrong), '', 'each lock in the document is in the file that it names';
	is $locks, scalar(() = $all =~ /^\t?(?:static )?pthread_mutex_t \w/mg),
	    '... and the document has each lock of the sources';
}

# The invariants are numbered without a gap.
{
	my @numbers = slurp("$TOP/docs/architecture.md") =~ /^\*\*I(\d+)\. /mg;
	cmp_ok scalar @numbers, '>', 10, 'the document has invariants';
	is join(' ', @numbers), join(' ', 1 .. @numbers), '... in order';
	my @proofs = slurp("$TOP/docs/architecture.md") =~ /^Proof: `t\//mg;
	is scalar @proofs, scalar @numbers, '... each with a proof';
}

done_testing;
