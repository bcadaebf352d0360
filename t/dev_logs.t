# ./dev logs prints what the parts have logged, and with -f what they go on to log.

use v5.36;
use utf8;
use AIChat::Proc qw(wait_for run slurp spew temp_dir remove_dir base_env);
use AIChat::Stack;
use Test::More;

binmode $_, ':encoding(UTF-8)'
    for map { Test::More->builder->$_ } qw(output failure_output todo_output);

my $dir = temp_dir('ai-chat-t');
my $dev = AIChat::Stack::top() . '/dev';
my %env = (base_env(), AI_CHAT_VAR => $dir);

# Returns the output, and the exit status as its last line where it is not 0.
sub logs (@args)
{
	my $text = run([ 'sh', '-c', '"$@" || echo "status $?"', 'sh', $dev, 'logs',
	    @args ], env => \%env);

	utf8::decode($text);
	return $text;
}

sub append ($name, $text)
{
	open my $log, '>>:utf8', "$dir/log/$name.log" or die "$name: $!\n";
	print $log $text;
	close $log;
}

is logs(), "There are no logs; ./dev up starts the service.\nstatus 1\n",
    'without logs it says so';

append('worker-1', join '', map { "event=$_\n" } 1 .. 30);
append('nginx', "один\nunfinished");
append('build', "gcc\n");
append('fuzz-input', "INFO\n");
is logs(), join('', "nginx | один\n", map { "worker-1 | event=$_\n" } 11 .. 30),
    'the last 20 lines of each log, after the name of its part, and no other log';
is logs('-n', 1), "nginx | один\nworker-1 | event=30\n", '-n limits them';
is logs(qw(-n 2 worker-1)), "worker-1 | event=29\nworker-1 | event=30\n",
    'a part that is named is the only one';
is logs('worker-7'), "dev: there is no log of worker-7; there are: nginx worker-1\n"
    . "status 1\n", 'an unknown part is refused';
append('migrate', 'x' x 99 . "\n") for 1 .. 12_000;
is logs(qw(-n 12 migrate)), ('migrate | ' . 'x' x 99 . "\n") x 12,
    'a log of more than a megabyte is printed in whole lines';
unlink "$dir/log/migrate.log";

# -- as they grow --------------------------------------------------------------

my $follow = AIChat::Proc->start(name => './dev logs',
    cmd => [ $dev, 'logs', '-f', '-n', 0 ], env => \%env, log => "$dir/seen");

# Waits until the text is in what was printed.
sub seen ($text, $what)
{
	utf8::encode($text);
	my $found = eval {
		wait_for(sub { index(slurp("$dir/seen"), $text) >= 0 }, 20, $what);
	};
	ok $found, $what or diag slurp("$dir/seen");
}

# What is logged before the command has seen the ends of the logs is not printed, so
# lines are added until one is.
wait_for(sub {
	append('worker-1', "event=begin\n");
	return -s "$dir/seen";
}, 20, 'the first line');
append('worker-1', "event=next\n");
seen("worker-1 | event=next\n", 'a line that is appended is printed');
append('nginx', " два\n");
seen("nginx | unfinished два\n", '... and one that was unfinished, when it is whole');
append('worker-2', "event=start\n");
seen("worker-2 | event=start\n", 'a new log is printed from its beginning');
spew("$dir/log/worker-2.log", "event=again\n");
seen("worker-2 | event=again\n", '... and one that is replaced');
unlike slurp("$dir/seen"), qr/event=30\b/, 'what was there before -n 0 is not printed';
ok $follow->alive, 'it does not end by itself';
$follow->stop('INT');
is $follow->status & 127, 2, '... but by Ctrl-C';

remove_dir($dir);
done_testing;
