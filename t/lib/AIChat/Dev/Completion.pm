package AIChat::Dev::Completion;

# Completion of ./dev in bash.  The script that bash loads asks ./dev itself for the
# words, so that they are always those of the table of commands.

use v5.36;
use AIChat::Dev qw(top usage help_of);

# In bash, "./dev" and "dev" are two commands.
my $SCRIPT = <<'END';
# Completion of ./dev for bash: eval "$(./dev completion)"

_ai_chat_dev()
{
	local current=${COMP_WORDS[COMP_CWORD]} command=help words

	COMPREPLY=()
	((COMP_CWORD == 1)) || command=${COMP_WORDS[1]}
	words=$("$1" completion "$command" 2>/dev/null)
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o default -F _ai_chat_dev dev ./dev
END

# What can follow a command: its options, as its help has them, and the other words
# that the command itself lists.
sub words_of ($command)
{
	my $help = help_of($command);
	my ($usage, $text) = split /\n\n/, $help, 2;
	my @options = ($usage =~ /(?<![\w-])(-{1,2}[a-z][\w-]*)/g,
	    $text =~ /^  (-{1,2}[a-z][\w-]*)/mg);
	my %seen;

	return grep { !$seen{$_}++ } @options, '--help',
	    $command->{words} ? $command->{words}->() : ();
}

sub run_completion ($commands, @args)
{
	return usage() if @args > 1;
	if (!@args) {
		print $SCRIPT;
		return 0;
	}
	my %named = map { ($_->{name} => $_) } @$commands;
	if ($args[0] eq 'help') {
		say for (map { $_->{name} } @$commands), 'help', '--help';
		return 0;
	}
	my $command = $named{ $args[0] } or return 1;
	say for words_of($command);
	return 0;
}

# commands: the function that returns all commands of ./dev, these included.
sub commands ($all)
{
	return ({
		name => 'completion', args => '[COMMAND]',
		line => 'print the script that completes ./dev in bash',
		run => sub (@args) { run_completion([ $all->() ], @args) },
		help => <<'END',
Prints a script for bash that completes the commands of ./dev, their options,
and the names of tests, logs and faults:

  eval "$(./dev completion)"

With a COMMAND, prints the words that can follow the command; the script uses
that.
END
	});
}

1;
