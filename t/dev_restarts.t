# ./dev restarts workers as systemd does: a worker that is killed is replaced at
# once.

use v5.36;
use utf8;
use AIChat::Proc qw(wait_for temp_dir remove_dir free_port run tail base_env);
use AIChat::Stack;
use HTTP::Tiny;
use Test::More;
use Time::HiRes qw(time);

my $dir = temp_dir('ai-chat-t');
my $port = free_port();
# ./dev uses the programs that were built for the tests.
symlink AIChat::Stack::find_build(), "$dir/build" or die "link: $!\n";
my %env = (base_env(), AI_CHAT_VAR => $dir, AI_CHAT_PORT => $port,
    map { exists $ENV{$_} ? ($_ => $ENV{$_}) : () }
    qw(ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS));

sub dev (@args)
{
	return run([ AIChat::Stack::top() . '/dev', @args ], env => \%env);
}

# Number => [ pid, restarts ]
sub workers
{
	my %workers;

	# The exit status is 1 while a worker is down.
	for (split /\n/, eval { dev('status') } // $@) {
		$workers{$1} = [ $2, $3 ]
		    if /^\s*(\d+)\s+(\d+)\s+\w+\s.*\s(\d+)$/;
	}
	return \%workers;
}

sub ask
{
	return HTTP::Tiny->new(timeout => 20)->get(
	    "http://127.0.0.1:$port/health")->{status};
}

my $up = eval { dev('up', '-d', '--workers', 2) };
ok $up, './dev up starts the service' or diag "$@\n" . tail("$dir/log/dev.log");
SKIP: {
	skip 'it does not run', 4 if !$up;
	my $before = workers();
	is scalar keys %$before, 2, '... with two workers';
	for my $sig (qw(KILL ABRT)) {
		my $old = workers()->{1};
		my $start = time;
		kill $sig, $old->[0];
		my $failed = 0;
		wait_for(sub {
			$failed++ if ask() != 200;
			return (workers()->{1} // [ $old->[0] ])->[0]
			    != $old->[0];
		}, 10, 'another worker');
		cmp_ok time - $start, '<', 2,
		    "a worker that was killed (SIG$sig) is started again";
		is workers()->{1}[1], $old->[1] + 1,
		    '... and its restarts are counted';
		is $failed, 0, '... and no request failed';
	}
	is workers()->{2}[0], $before->{2}[0],
	    '... the other worker is the same';

	my $now = workers();
	dev('restart', 1);
	isnt workers()->{1}[0], $now->{1}[0], './dev restart 1 restarts worker 1';
	is workers()->{2}[0], $now->{2}[0], '... and not worker 2';

	$now = workers();
	dev(@$_) for [qw(down --help)], [qw(down -h)], [qw(help down)],
	    [qw(restart --help)], [qw(scale 1 --help)], [qw(ctl scale 1 --help)],
	    [qw(ctl restart -h)];
	is_deeply workers(), $now, 'a command that is asked for its help changes'
	    . ' nothing';

	# Parts that nothing starts again.
	my $status = dev('status');
	for my $part (qw(nginx postgresql)) {
		my ($pid) = $status =~ /^$part pid (\d+)/m;
		kill 'KILL', $pid;
		my $got = '';
		eval { wait_for(sub {
			$got = eval { dev('status'); '' } // $@;
			return $got =~ /^$part was ended by signal 9$/m;
		}, 10, 'status to report it') };
		like $got, qr/^$part was ended by signal 9$/m,
		    "./dev status reports a killed $part, and fails";
	}
	dev('down');
	$up = 0;
	is ask(), 599, './dev down stops the service';
}
END {
	local ($?, $@);
	eval { dev('down') } if $up;
}

unlink "$dir/build";
remove_dir($dir);
done_testing;
