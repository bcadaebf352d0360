# ./dev test builds and runs the tests that are named, by short names.

use v5.36;
use utf8;
use AIChat::Proc qw(temp_dir remove_dir base_env);
use AIChat::Stack;
use AIChat::Dev::Tests;
use Test::More;

my $top = AIChat::Stack::top();
my $dir = temp_dir('ai-chat-t');
# ./dev test finds the build of this test run.
symlink AIChat::Stack::find_build(), "$dir/build" or die "link: $!\n";
my %env = (base_env(), AI_CHAT_VAR => $dir,
    map { exists $ENV{$_} ? ($_ => $ENV{$_}) : () }
    qw(ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS));

# Returns the exit status and the output.
sub dev (@args)
{
	local %ENV = %env;
	open my $out, '-|', 'sh', '-c', 'exec "$@" 2>&1 </dev/null', 'sh',
	    "$top/dev", @args or die "could not run ./dev: $!\n";
	my $text = do { local $/; <$out> } // '';
	close $out;
	return ($? >> 8, $text);
}

sub found ($name)
{
	my $found = eval { AIChat::Dev::Tests::find_test($name) };

	return $found // $@;
}

# -- names -------------------------------------------------------------------

{
	my ($status, $list) = dev('test', '--list');
	my %listed = map { ($_ => 1) } split /\n/, $list;
	my @files = map { m{([^/]+)\.t\z} } glob "$top/t/*.t";

	is $status, 0, './dev test --list succeeds';
	is join(' ', grep { !$listed{$_} } @files), '', '... and lists each t/*.t';
	is join(' ', grep { !-x "$dir/build/t/$_.t" } grep { m{/} } keys %listed),
	    '', '... and programs that were built';
	cmp_ok scalar(grep { m{^unit/} } keys %listed), '>=', 40, '... unit tests';
	cmp_ok scalar(grep { m{^fuzz/} } keys %listed), '>=', 8, '... and seeds';
}
is found('send'), 'send', 'a name is that of a file in t/';
is found('unit/json'), 'unit/json', '... or in t/unit/';
is found('json'), 'unit/json', '... which is found without its folder too';
is found('retry'), 'retry', '... unless a file in t/ has the name';
is found('t/send.t'), 'send', 'a path is as good as a name';
is found("$top/t/unit/json.c"), 'unit/json', '... of a source as well';
like found('no_such'), qr/^there is no test no_such; \.\/dev test --list/,
    'another name is refused';
like found('reply'), qr/^there is no test reply;/, '... and a part of a name';
like found('idempo'), qr/; these are similar: idempotency unit\/idempotency;/,
    '... with the names that are similar';

# -- runs --------------------------------------------------------------------

{
	my ($status, $said) = dev('test', '-v', 'unit/plural');
	is $status, 0, 'a test that passes is a success';
	like $said, qr/^ok 1 - each_whole_number_has_its_form$/m,
	    '... and -v prints its assertions';
	is scalar(() = $said =~ /^\S+\.t \.\. ?$/mg), 1, '... of one test';
}
{
	my ($status, $said) = dev('test', 'unit/plural', 'no_such');
	is $status, 1, 'a wrong name among others is an error';
	unlike $said, qr/plural/, '... and no test is run';
}

unlink "$dir/build";
remove_dir($dir);
done_testing;
