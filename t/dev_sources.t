# ./dev format, ./dev lint and ./dev build, in a copy of the sources.

use v5.36;
use utf8;
use AIChat::Clone;
use AIChat::Dev::Sources;
use AIChat::Proc qw(slurp spew temp_dir remove_dir);
use JSON::PP ();
use Test::More;

binmode $_, ':encoding(UTF-8)'
    for map { Test::More->builder->$_ } qw(output failure_output todo_output);

my @missing = AIChat::Clone::missing(qw(git clang-format clang-tidy cppcheck));
plan skip_all => "@missing: not installed" if @missing;

my $dir = temp_dir('ai-chat-t');
my $clone = AIChat::Clone->new($dir);
my $top = $clone->top;
my $plural = slurp("$top/lib/plural.c");

sub dev ($args) { return $clone->shell("./dev $args") }

# -- format --------------------------------------------------------------------

my $unchanged = "No C file differs from the last commit; --all takes all.\n";
is +(dev('format'))[1], $unchanged, 'nothing is formatted where nothing has changed';
spew("$top/lib/plural.c", $plural =~ s/^\t/    /mgr);
spew("$top/lib/new.c", "int  x ;\n");
is_deeply [ dev('format') ], [ 0, "formatted lib/new.c\nformatted lib/plural.c\n" ],
    'a file that has changed is formatted, and a new one';
is slurp("$top/lib/plural.c"), $plural, '... as .clang-format says';
is slurp("$top/lib/new.c"), "int x;\n", '... the new one too';
unlink "$top/lib/new.c";

spew("$top/lib/plural.c", $plural =~ s/^\t/    /mgr);
$clone->git(qw(commit -qam unformatted));
is +(dev('format'))[1], $unchanged, 'a file that is committed is left out';
is +(dev('format lib/plural.c'))[1], "formatted lib/plural.c\n",
    '... unless it is named';
$clone->git(qw(checkout -q lib/plural.c));
is +(dev('format --all'))[1], "formatted lib/plural.c\n",
    '... or all files are, of which it is the only one to format';
$clone->git(qw(commit -qam formatted));
is_deeply [ dev('format README.md') ],
    [ 1, "dev: README.md is not a C source or header of this tree\n" ],
    'a file in another language is refused';

# -- lint ----------------------------------------------------------------------

is +(dev('lint'))[1], $unchanged, 'nothing is checked where nothing has changed';
ok !-e "$top/var/build", '... and nothing is built';
is_deeply [ AIChat::Dev::Sources::compiled_by('lib/plural.h') ],
    [ grep { slurp(AIChat::Stack::top() . "/$_") =~ m{"lib/plural\.h"} }
	AIChat::Dev::c_files() ], 'for a header, each file that includes it is checked';
cmp_ok scalar AIChat::Dev::Sources::compiled_by('lib/plural.h'), '>=', 2,
    '... which are several';
is_deeply [ grep { m{/plural\.c$} } AIChat::Dev::Sources::compiled_by('t/unit/unit.h') ],
    ['t/unit/plural.c'], '... and each file of the same folder';

my @checks = ('clang-format', 't/style.t', 'gcc', 'cppcheck', 'clang-tidy');
{
	my ($status, $said) = dev('lint lib/plural.c t/unit/plural.c');
	is $status, 0, 'files without a fault pass';
	like $said, qr/^\Q$_\E: ok$/m, "... $_" for @checks;
}
spew("$top/lib/plural.c", "$plural\n" . <<'END');
int bad_format( void );

int
aic_banned(const char *text)
{
	int unused;
	int two[2] = { 1, 2 };

	if (text)
		;
	return atoi(text) + two[2];
}
END
{
	my ($status, $said) = dev('lint');
	is $status, 1, 'a file that has changed is checked';
	like $said, qr/^These checks failed: \Q@{[ join ', ', @checks ]}\E$/m,
	    '... and each check finds its fault';
	like $said, qr/$_/, "... $_" for 'clang-format-violations',
	    'lib/plural\.c:\d+: banned here', 'unused variable', 'arrayIndexOutOfBounds',
	    'bugprone-suspicious-semicolon';
}
$clone->git(qw(checkout -q lib/plural.c));

# -- build ---------------------------------------------------------------------

my $warning = <<'END';
In file included from ../../lib/b.c:3:
../../lib/b.c: In function ‘aic_x’:
../../lib/b.c:29:23: warning: unused variable ‘unused’ [-Wunused-variable]
   29 | int aic_x(void) { int unused; return 0; }
      |                       ^~~~~~
END
utf8::encode(my $log = "checking for gcc... gcc\n  CC       lib/a.o\n${warning}ar: `u' modifier"
    . " ignored\nconfig.status: creating Makefile\n  AR       libaic.a\n");
is AIChat::Dev::Sources::warnings_in($log), $warning,
    './dev build prints the warnings of the compiler, and nothing else of the log';

# -- the list of compiler commands ---------------------------------------------

{
	my $build = "$top/var/build";
	my $list = JSON::PP->new->utf8->decode(slurp("$build/compile_commands.json"));
	my %by_file = map { ($_->{file} => $_) } @$list;

	is join(' ', sort keys %by_file), join(' ', sort map { "$top/$_" }
	    grep { /\.c$/ } AIChat::Dev::c_files()), 'each .c file has its command';
	for my $file (qw(app/worker/main.c app/ctl/main.c t/unit/conf.c t/unit/rich.c
	    t/fuzz/input.c t/fuzz/telegram.c t/stub/model.c t/tools/null.c)) {
		my $entry = $by_file{"$top/$file"};
		my ($status, $said) = $clone->shell("cd '$entry->{directory}' && "
		    . join ' ', map({ "'" . s/'/'\\''/gr . "'" }
			@{ $entry->{arguments} }), '-fsyntax-only', '-Werror');
		is $status, 0, "... with which $file compiles" or diag $said;
	}
	like slurp("$top/.clangd"), qr{^\s+CompilationDatabase: var/build$}m,
	    '... and clangd finds it';
}

remove_dir($dir);
done_testing;
