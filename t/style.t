# The rules for sources that a script can check.

use v5.36;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();

# The files that may contain SQL: stages with queries of their own, and the
# programs that migrate the schema or check it.
my %sql = map { $_ => 1 } map { ("lib/$_.c") } qw(context db durable history idempotency limit
    retain save usage audit);
$sql{$_} = 1 for qw(app/ctl/check_db.c app/migrate/main.c app/worker/worker.c
    app/worker/admin_service.c);
$sql{'lib/schema.h'} = 1;	# what two stages share
$sql{'lib/redis.c'} = 1;	# a SELECT of its own
$sql{'lib/cache_keys.c'} = 1;	# asks which database it is

my @banned = (
	[ qr/\b(?:strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof
	    |system|popen|alloca|scanf|sscanf|tmpnam|mktemp)\s*\(/x, {} ],
	[ qr/(?<![\w.>])exit\s*\(/, { 'app/worker/main.c' => 1, 'app/migrate/main.c' => 1 } ],
	[ qr/\b(?:_exit|_Exit|quick_exit|abort)\s*\(/, { 'app/worker/main.c' => 1 } ],
	[ qr/\b(?:secure_)?getenv\s*\(|\bputenv\s*\(|\bsetenv\s*\(/,
	    { 'lib/conf.c' => 1 } ],
	[ qr/\bfcgiapp\.h\b|\bFCGX_/, { 'app/worker/fcgi.c' => 1 } ],
	[ qr/\bfcgi_stdio\.h\b/, {} ],
	[ qr/\bhiredis\.h\b/, { 'lib/redis.c' => 1 } ],
	[ qr/\bFCGX_ShutdownPending\b/, {} ],
	[ qr/\btypedef\s+struct\b/, {} ],
);

# A source without its comments and, where they are not wanted, without its
# strings; lines keep their numbers.
sub code ($text, $strings)
{
	$text =~ s{
		( "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
		| ( /\*.*?\*/ | //[^\n]* )
	}{
		my ($string, $comment) = ($1, $2);
		$strings && defined $string ? $string
		    : defined $string && $string =~ /^"/ ? '""'
		    : defined $string ? "'x'"
		    : $comment =~ tr/\n//cdr || ' ';
	}gsex;
	return $text;
}

sub places ($text, $pattern)
{
	my @found;

	while ($text =~ /$pattern/g) {
		push @found, 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
	}
	return @found;
}

# The numbers of lines with more than 80 columns; a tab ends at a multiple of eight.
sub long_lines ($bytes)
{
	my (@found, $n);

	utf8::decode($bytes);
	for my $line (split /\n/, $bytes) {
		$n++;
		1 while $line =~ s/\t/' ' x (8 - $-[0] % 8)/e;
		push @found, $n if length $line > 80;
	}
	return @found;
}

my @files = map { s{^\Q$TOP\E/}{}r } sort glob("$TOP/{app/*,lib}/*.[ch]");
# A test of this check: a call is found; a comment, a string or another name is
# not.
{
	my $text = join "\n", 'x = atoi(y);', '/* atoi( */ s = "a\"toi(atoi(";',
	    'my_atoi(x);', '// atoi(x)', 'snprintf(a); system (b);';
	is join(' ', places(code($text, 0), $banned[0][0])), '1 5',
	    'a banned call is found with its line';
	is join(' ', places("_exit(1); a.exit(1); exit(1);\nexit (1);",
	    $banned[1][0])), '1 2', '... and similar text is not';
}

is join(' ', long_lines(join "\n", 'x' x 80, 'x' x 81, "\t" . 'x' x 72,
    " \t" . 'x' x 73, "\xd1\x8f" x 80)), '2 4', 'a line of 81 columns is found';

cmp_ok scalar @files, '>', 30, 'the sources are there';

my @found;
my %include;
for my $file (@files) {
	my $text = slurp("$TOP/$file");
	my $code = code($text, 0);
	my $strings = code($text, 1);

	for (@banned) {
		my ($pattern, $allowed) = @$_;
		next if $allowed->{$file};
		my $where = "$pattern" =~ /\\\.h/ ? $strings : $code;
		push @found, map { "$file:$_: banned here: "
		    . (split /\n/, $text)[$_ - 1] } places($where, $pattern);
	}
	if (!$sql{$file}) {
		push @found, map { "$file:$_: SQL outside its module" }
		    places($strings, qr/"[^"\n]*\b(?:SELECT|INSERT\s+INTO
		    |UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE
		    |ALTER\s+TABLE|BEGIN|COMMIT|ROLLBACK)\b/x);
	}
	push @found, map { "$file:$_: blanks at the end of a line" }
	    places($text, qr/[ \t]+$/m);
	push @found, map { "$file:$_: more than 80 columns" } long_lines($text);
	push @found, "$file: no newline at the end" if $text !~ /[^\n]\n\z/;
	if ($file =~ /\.c$/) {
		push @found, "$file: config.h is not first"
		    if ($strings =~ /^(#include[^\n]*)/m)[0] ne
		    '#include "config.h"';
	}
	$include{$file} = [ $strings =~ /^#include "([^"]+)"/mg ];
}
is join("\n", @found), '', 'no source breaks a rule';

# The graph of modules: a module is a .c and its .h, and includes of either are
# its edges.
my %edges;
for my $file (sort keys %include) {
	my $module = $file =~ s/\.[ch]$//r;
	push @{ $edges{$module} }, grep { $_ ne $module && $_ ne 'config' }
	    map { s/\.h$//r } @{ $include{$file} };
}

# The first cycle found, as a path; '' where there is none.
sub cycle (%edges)
{
	my (%done, $find);

	$find = sub ($module, @path) {
		return join ' -> ', @path, $module
		    if grep { $_ eq $module } @path;
		return '' if $done{$module}++;
		for my $to (@{ $edges{$module} // [] }) {
			my $found = $find->($to, @path, $module);
			return $found if $found ne '';
		}
		return '';
	};
	for my $module (sort keys %edges) {
		my $found = $find->($module);
		return $found if $found ne '';
	}
	return '';
}

is cycle(a => ['b'], b => ['c'], c => ['a']), 'a -> b -> c -> a',
    'a cycle of includes is found';
is cycle(a => [ 'b', 'c' ], b => ['c']), '',
    '... and two paths to one module are no cycle';
is cycle(%edges), '', 'the graph of includes has no cycle';

# lib/ includes nothing of app/, its stages include no other stage, and a
# program includes nothing of another program. Only the table of endpoints includes
# the pipeline.
{
	my %stage = map { ("lib/$_" => 1) } qw(input auth limit context prompt
	    openai save idempotency history);
	my @wrong;

	for my $module (sort keys %edges) {
		my ($folder) = $module =~ m{^(.*)/};
		for my $to (@{ $edges{$module} }) {
			push @wrong, "$module includes $to"
			    if $to !~ m{^(?:lib|\Q$folder\E)/}
			    || ($stage{$module} && $stage{$to})
			    || ($to eq 'app/worker/send'
				&& $module ne 'app/worker/api');
		}
	}
	is join("\n", @wrong), '', 'a module includes only modules below it';
}

# lib/ does not log: the log line about a failure is written where the failure
# ends.
is join(' ', grep { m{^lib/} && !m{^lib/log\.}
    && code(slurp("$TOP/$_"), 0) =~ /\baic_log_(?:event|begin)\s*\(
    |\bf?printf\s*\(|\bperror\s*\(|\bstderr\b/x } @files), '',
    'lib/ prints nothing';

like slurp("$TOP/configure.ac") . slurp("$TOP/Makefile.am"), qr/-Wvla\b/,
    'the compiler warns of arrays of variable length';

# A renamed test would lose its entry without a failure.
{
	my @named = slurp("$TOP/t/rules.yml") =~ m{^\s+- '\*\*/(\S+)\.t'$}mg;
	ok @named > 0, 't/rules.yml names tests';
	is join(' ', grep { !-e "$TOP/t/$_.t" && !-e "$TOP/t/$_.c" } @named), '',
	    '... which are there';
}

done_testing;
