# The completion of ai-chatctl and ./dev in bash offers what each command takes.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew temp_dir remove_dir run base_env);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();
my $BUILD = AIChat::Stack::find_build();
my $dir = temp_dir('ai-chat-t');
my %env = (base_env(), AI_CHAT_VAR => "$dir/var");

# Loads the script and completes the last word of the line; returns the words.
sub completed ($script, $function, @line)
{
	return sort split /\n/, run([ 'bash', '-c', 'source "$1" || exit 1;'
	    . ' function=$2; shift 2; COMP_WORDS=("$@");'
	    . ' COMP_CWORD=$(($# - 1)); $function "$1" "${@: -1}" "${@: -2:1}";'
	    . ' printf "%s\n" "${COMPREPLY[@]}"', 'bash', $script, $function,
	    @line ], env => \%env);
}

# -- ai-chatctl --------------------------------------------------------------

sub ctl (@line)
{
	return completed("$TOP/app/ctl/completion/ai-chatctl", '_ai_chatctl',
	    "$BUILD/ai-chatctl", @line);
}

# What ai-chatctl says about a command line.  No setting is valid, so that a command
# ends before it does anything.
sub said (@args)
{
	return run([ 'sh', '-c', '"$@" 2>&1 </dev/null; :', 'sh',
	    "$BUILD/ai-chatctl", @args ],
	    env => { base_env(), AI_CHATCTL_FLY => 1 });
}

my $help = said('--help');
my @commands = $help =~ /^  ([a-z][a-z-]*)/mg;
my @all = sort $help =~ /^  (--[a-z-]+)/mg;
my %options = map { $_ => 1 } $help =~ /(--[a-z-]+)/g;
delete @options{@all};

cmp_ok scalar @commands, '>=', 13, 'ai-chatctl --help lists commands';
is join(' ', ctl('')), join(' ', sort @commands, @all),
    'ai-chatctl: the commands and the options of all commands are completed';
is join(' ', ctl('--json', 're')), join(' ', sort grep { /^re/ } @commands),
    '... also after an option, and by their beginning';
for my $command (@commands) {
	my @takes = grep {
		said($command, 'x', /limit|offset|days|older/ ? "$_=1" : $_)
		    !~ /does not take \Q$_\E|unrecognized/
	} sort keys %options;

	is join(' ', ctl($command, '')), join(' ', sort @takes, @all),
	    "$command: the options that it takes are completed";
}
is join(' ', ctl('history', 7, '--l')), '--limit', 'an option by its beginning';
is join(' ', ctl('fly', '--l')), '', 'an unknown command has none of its own';

# -- ./dev -------------------------------------------------------------------

my $script = "$dir/dev.bash";
spew($script, run([ "$TOP/dev", 'completion' ], env => \%env));
sub dev (@line)
{
	return completed($script, '_ai_chat_dev', "$TOP/dev", @line);
}

{
	my @names = run([ "$TOP/dev", '--help' ], env => \%env)
	    =~ /^  ([a-z]+)  /mg;
	is join(' ', dev('')), join(' ', sort @names, qw(help --help)),
	    './dev: all commands are completed';
	is join(' ', dev('st')), 'status', '... by their beginning';
	is join(' ', dev('help', 'st')), 'status', '... and after help';
}
is join(' ', dev(@$_[0, 1])), $_->[2], "./dev $_->[0]: options are completed"
    for [qw(up --), '--ask --help --redis --server --workers'],
    [qw(down -), '--help'], [qw(check --), '--help --sanitize --with'],
    [qw(logs -), '--help -f -n'], [qw(lint -), '--all --help'];
is join(' ', dev('test', 'unit/pl')), 'unit/plural', 'test: names of tests';
is join(' ', dev('bench', 'in')), 'in-flight instant', 'bench: tables';
my @faults = dev('mutants', 'cache');
cmp_ok scalar @faults, '>=', 5, 'mutants: names of faults';
ok !-e "$dir/var", 'no completion made the directory of the state';
mkdir $_ for "$dir/var", "$dir/var/log";
spew("$dir/var/log/$_.log", '') for qw(worker-1 nginx build);
is join(' ', dev('logs', '')), '--help -f -n nginx worker-1',
    'logs: the parts that have a log';
symlink $BUILD, "$dir/var/build" or die "link: $!\n";
is join(' ', dev('ctl', 're')), join(' ', sort grep { /^re/ } @commands),
    'ctl: the commands of ai-chatctl';

remove_dir($dir);
done_testing;
