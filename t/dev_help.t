# ./dev prints help for each of its commands, and a command that is asked for its help
# does nothing else.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp temp_dir remove_dir base_env);
use AIChat::Stack;
use Test::More;

my $dir = temp_dir('ai-chat-t');
my $dev = AIChat::Stack::top() . '/dev';
my %env = (base_env(), AI_CHAT_VAR => "$dir/var");

# Returns the exit status, the standard output and the standard error.
sub dev (@args)
{
	local %ENV = %env;
	my $status = system 'sh', '-c', 'out=$1 err=$2; shift 2;'
	    . ' exec "$@" >"$out" 2>"$err" </dev/null', 'sh', "$dir/out",
	    "$dir/err", $dev, @args;
	return ($status >> 8, map { slurp("$dir/$_") } qw(out err));
}

# The lines that do not fit a terminal.
sub too_long ($text)
{
	utf8::decode($text);
	return join "\n", grep { length > 80 } split /\n/, $text;
}

my ($status, $list, $errors) = dev('--help');
is $status, 0, './dev --help succeeds';
is $errors, '', '... without an error';
is too_long($list), '', '... in lines of 80 columns';
my @commands = $list =~ /^  (\w+)  /mg;
cmp_ok scalar @commands, '>=', 16, '... and lists the commands';
for my $args ([], ['-h'], ['help']) {
	is +(dev(@$args))[1], $list, "./dev @$args prints the same";
}

utf8::decode(my $docs = slurp(AIChat::Stack::top() . '/docs/development.md'));
for my $command (@commands) {
	($status, my $help, $errors) = dev($command, '--help');
	is $status, 0, "./dev $command --help succeeds";
	is $errors, '', '... without an error';
	like $help, qr/\Ausage: \.\/dev \Q$command\E\b[^\n]*\n\n\w.*\n\z/s,
	    '... prints the usage of the command and a description';
	is too_long($help), '', '... in lines of 80 columns';
	is +(dev('help', $command))[1], $help, "... as ./dev help $command does";
	like $docs, qr/\.\/dev (?:\w+`, `)*\Q$command\E\b|`\Q$command\E\b/,
	    '... and docs/development.md has the command';
}
for my $args ([qw(up -d --help)], [qw(check -v -h)], [qw(test unit/buf --help)],
    [qw(scale 2 -h)], [qw(mutants --list --help)], [qw(down -h)],
    [qw(restart 1 --help)], [qw(bench instant --help)], [qw(soak 1 -h)]) {
	($status, my $help) = dev(@$args);
	is $status, 0, "./dev @$args succeeds";
	like $help, qr/\Ausage: \.\/dev $args->[0]\b/, '... and prints the help';
}

for my $args ([qw(up now)], [qw(up --worker 2)], ['scale'], ['test'],
    [qw(down now)], [qw(soak x)], [qw(logs -n x)], [qw(soak 0)],
    [qw(soak 0.1)], [qw(whole 0)], [qw(fuzz 0)], [qw(restart 1 2)],
    [qw(bench fly)], [qw(bench --fly)], [qw(bench --scale x)]) {
	($status, my $out, $errors) = dev(@$args);
	is $status, 2, "./dev @$args is a mistake";
	like $errors, qr/^usage: \.\/dev $args->[0]\b/m,
	    '... and prints the usage as an error';
	is $out, '', '... and nothing else';
}
for my $port (qw(70000 65535 0 x -1 9001x)) {
	local $env{AI_CHAT_PORT} = $port;
	($status, my $out, $errors) = dev('up', '-d');
	is $status, 2, "./dev up with AI_CHAT_PORT=$port is a mistake";
	like $errors, qr/\Adev: AI_CHAT_PORT .* to 65534, not "\Q$port\E"$/m,
	    '... and names the setting';
	is $out, '', '... and nothing is installed, built or started';
}
{
	my $prove = qx('$^X' '@{[ AIChat::Stack::top() ]}/t/prove' --help 2>&1);
	like $prove, qr/\Ausage: t\/prove [^\n]*\n\n[^\n]*\n\z/,
	    't/prove --help runs nothing';
}
($status, undef, $errors) = dev('updown');
is $status, 1, 'an unknown command is a mistake';
like $errors, qr/\Adev: there is no command updown\n\nusage: /,
    '... and prints the list of commands';

ok !-e "$dir/var", 'none of these made the directory of the state';

remove_dir($dir);
done_testing;
