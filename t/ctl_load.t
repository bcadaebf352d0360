# ai-chatctl changes the workers under load, and no request fails.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Test;
use File::Path qw(make_path);

my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 100_000,
	AI_CHAT_DEADLINE_MS => 10_000,
	AI_CHAT_DB_TIMEOUT_MS => 2000,
});
# A worker that is being restarted refuses connections, and Nginx takes another.
$s->expect_log(qr/connect\(\) to unix:\S+ failed/);
my $stack = $s->stack;

# Copies of the programs, which the test can replace.
my $build = $stack->{build};
my $bin = $s->dir . '/bin';
make_path($bin);
install('ai-chat-worker');
install('ai-chat-migrate');
$stack->{build} = $bin;

sub install ($name, $change = sub ($bytes) { $bytes })
{
	spew("$bin/$name", $change->(slurp("$build/$name")), 0755);
}

sub more ($load, $n)
{
	my $before = $load->count(200);
	wait_for(sub { $load->count(200) >= $before + $n }, 20, "$n answers");
}

my $users = 0;
sub under_load ($title, @commands)
{
	$users += 10;
	my $load = $s->start_load(callers => 8, users => [ $users .. $users + 4 ],
	    message => '[[delay=40]]');
	more($load, 20);
	for my $command (@commands) {
		my $got = ref $command eq 'CODE' ? $command->()
		    : $s->ctl(@$command);
		is $got->{status}, 0, "$title: done"
		    or diag "$got->{out}$got->{err}";
		more($load, 20);
	}
	my @got = $load->stop;
	my @lost = grep { $_->{status} != 200 || !$_->{whole} } @got;
	is scalar @lost, 0, "$title: none of @{[ scalar @got ]} requests fails"
	    or diag join ' ', map { $_->{status} } @lost;
	my ($row) = $s->sql("select (select count(*) from ai_chat_requests
	    where telegram_id between $users and $users + 4),
	    (select sum(request_count) from ai_chat_daily_limits
	    where telegram_id between $users and $users + 4)");
	is "@$row", @got . ' ' . @got, '... all are saved and counted';
}

under_load('scale 4', [ 'scale', 4 ]);
is join(' ', $stack->worker_numbers), '1 2 3 4', 'there are four workers';
under_load('restart', [ 'restart' ]);
under_load('scale 1', [ 'scale', 1 ]);
is join(' ', $stack->worker_numbers), '1', 'there is one worker';
under_load('restart of one', [ 'restart' ]);
under_load('up and down', map { [ 'scale', $_ ] } 3, 1, 4, 2);
under_load('reload', map { ['reload'] } 1 .. 3);

# Another version of the worker: the version that it logs is patched in the
# binary.
my $old = (stat "$bin/ai-chat-worker")[1];
under_load('an upgrade', sub {
	install('ai-chat-worker', sub ($bytes) {
		$bytes =~ s/\b1\.0\.0(?=\0)/2.0.0/g;
		return $bytes;
	});
	return $s->ctl('restart');
});
for my $n (1, 2) {
	isnt +(stat '/proc/' . $s->worker_pid($n) . '/exe')[1], $old,
	    "worker $n runs another binary";
	like $s->worker_log($n), qr/event=start text="version 2\.0\.0/,
	    '... of the new version';
}

done_testing;
