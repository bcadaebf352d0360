# The first change of CONTRIBUTING.md works: this test runs its commands and makes its
# changes, in their order, in a copy of the sources.

use v5.36;
use utf8;
use AIChat::Clone;
use AIChat::Mutants;
use AIChat::Proc qw(slurp spew temp_dir remove_dir free_port);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();
binmode $_, ':encoding(UTF-8)'
    for map { Test::More->builder->$_ } qw(output failure_output todo_output);

utf8::decode(my $text = slurp("$TOP/CONTRIBUTING.md"));
is join("\n", grep { length > 80 } split /\n/, $text), '',
    'CONTRIBUTING.md has lines of 80 columns';
my @paths = grep { !/[<*]|NNNN/ } $text =~ /\]\(([^()\s]+)\)/g,
    $text =~ m{`((?:app|lib|t|docs|sql)/[^`\s]*)`}g;
cmp_ok scalar @paths, '>=', 20, '... names files and folders';
is join(' ', grep { !-e "$TOP/$_" } @paths), '', '... which are there';

my @missing = AIChat::Clone::missing(qw(git curl clang-format clang-tidy cppcheck));
if (@missing) {
	diag "not installed, so the commands are not run: @missing";
	done_testing;
	exit;
}

my ($section) = $text =~ /^## A first change\n(.*?)^## /ms;
my @blocks;	# [ language, text ]
push @blocks, [ $1, $2 ] while $section =~ /^```(\w+)\n(.*?)^```$/msg;
is join(' ', map { $_->[0] } @blocks), 'sh sh text diff sh diff sh sh text sh',
    'the section has commands, changes and output';

my $dir = temp_dir('ai-chat-t');
my $clone = AIChat::Clone->new($dir);
my $port = free_port();
my $said = '';

sub run_commands ($commands)
{
	$commands =~ s/\\\n//g;
	$commands =~ s/\b9001\b/$port/g;
	$said = '';
	for my $command (split /\n/, $commands) {
		my $fails = $command =~ s/ +# fails\z//;
		my ($status, $out) = $clone->shell($command, AI_CHAT_PORT => $port);
		my $name = $command =~ s/(?<=.{50}).+/.../sr;
		ok $fails ? $status != 0 : $status == 0,
		    $fails ? "$name fails" : "$name succeeds" or diag $out;
		like $out, qr{^Failed \d+/\d+ subtests}m,
		    '... because of an assertion, and not of the build' if $fails;
		$said .= $out;
	}
}

# Makes a change that is a diff without line numbers.
sub change ($diff)
{
	my ($path, $lines) = $diff =~ m{\A--- a/(\S+)\n\+\+\+ b/\g1\n(.*)\z}s;
	ok defined $path && -e $clone->top . "/$path", 'a diff names a file' or return;
	my ($change) = AIChat::Mutants::parse('CONTRIBUTING.md',
	    "mutant: m\nfile: $path\nbreaks: b\ntests: t\n$lines");
	my $file = $clone->top . "/$path";
	my $source = slurp($file);
	is AIChat::Mutants::count($change, $source), 1,
	    "... and a line that is once in $path";
	spew($file, AIChat::Mutants::plant($change, $source));
}

my %do = (
	sh => \&run_commands,
	diff => \&change,
	text => sub ($output) {
		chomp $output;
		like $said, qr/(?<!\S)\Q$output\E(?!\S)/, "... and prints $output";
	},
);
for my $block (@blocks) {
	my ($language, $body) = @$block;
	$do{$language}->($body) if $do{$language};
}
is $clone->git(qw(status --porcelain)), '', 'the commit has the whole change';
is scalar(() = $clone->git(qw(diff --stat main)) =~ /\|/g), 2, '... of two files';

# Where this test ends early, the service must not remain.
END {
	local ($?, $@);
	if ($clone && -l $clone->top . '/var/run') {
		eval { $clone->shell('./dev down', AI_CHAT_PORT => $port) };
	}
}

remove_dir($dir);
done_testing;
