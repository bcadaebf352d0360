# Workers are killed and signalled, and Nginx is reloaded, under load: only a
# request in flight with a killed worker fails.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 100_000,
	AI_CHAT_DEADLINE_MS => 10_000,
	AI_CHAT_DB_TIMEOUT_MS => 2000,
});
$s->expect_log(qr/upstream prematurely closed/,
    qr/connect\(\) to unix:\S+ failed/, qr/recv\(\) failed/,
    qr/FATAL:  connection to client lost/);

my $users = 0;

sub start_load (%o)
{
	$users += 10;
	my $load = $s->start_load(callers => 8, users => [ $users .. $users + 4 ],
	    message => '[[delay=40]]', %o);
	wait_for(sub { $load->count(200) >= 20 }, 20, 'twenty answers');
	return $load;
}

# The exchanges saved and the chats counted of the users of the last load.
sub kept
{
	my ($row) = $s->sql("select (select count(*) from ai_chat_requests
	    where telegram_id between $users and $users + 4),
	    (select coalesce(sum(request_count), 0) from ai_chat_daily_limits
	    where telegram_id between $users and $users + 4)");
	return @$row;
}

sub more ($load, $n, $what)
{
	my $before = $load->count(200);
	wait_for(sub { $load->count(200) >= $before + $n }, 20, $what);
}

# -- a worker is killed ------------------------------------------------------

for my $n (1, 2) {
	my $load = start_load();
	my $pid = $s->worker_pid($n);
	# The worker has a request in flight when it is killed.
	wait_for(sub {
		$s->kill_worker($n, 'STOP');
		return 1 if $s->taken($n);
		$s->kill_worker($n, 'CONT');
		return 0;
	}, 10, 'the worker to be at work');
	my $killed = time;
	$s->kill_worker($n);
	more($load, 10, 'the other worker to go on');
	$s->start_worker($n);
	more($load, 20, 'both to serve');
	wait_for(sub { $s->taken($n) }, 10, 'the new worker to get a request');
	my @got = $load->stop;
	my @lost = grep { $_->{status} != 200 } @got;

	is join(' ', grep { !/^50[23]$/ } map { $_->{status} } @lost), '',
	    "kill -9 of worker $n under load: a failed request gets 502 or 503";
	cmp_ok scalar @lost, '<=', 8,
	    '... no more of them than were in flight';
	ok scalar @lost, '... at least one';
	is((grep { !$_->{json} || !$_->{whole} || !$_->{retry_after} } @lost),
	    0, '... in JSON, complete, with Retry-After');
	is((grep { $_->{began} > $killed + 0.5 } @lost), 0,
	    '... none that began later');
	my ($rows, $counted) = kept();
	my $answered = @got - @lost;
	is $counted, $rows, 'what is saved is counted';
	ok $answered <= $rows && $rows <= $answered + @lost,
	    '... all answered chats are saved, and at most the failed ones more'
	    or diag "$answered answered, $rows kept, @{[ scalar @lost ]} lost";
	isnt $s->worker_pid($n), $pid, 'the worker has been replaced';
	ok $s->stack->worker_answers($n), '... by one that answers';
}

# -- signals -----------------------------------------------------------------

{
	my $load = start_load();
	my @pids = map { $s->worker_pid($_) } 1, 2;
	for (1 .. 20) {
		kill $_, @pids for qw(HUP USR1);
		more($load, 2, 'answers');
	}
	my @got = $load->stop;
	is((grep { $_->{status} != 200 } @got), 0,
	    'SIGHUP and SIGUSR1 to the workers under load: no failure');
	is_deeply [ map { $s->worker_pid($_) } 1, 2 ], \@pids,
	    '... and no worker is replaced';
}

{
	my $load = start_load();
	for (1 .. 5) {
		$s->stack->reload_nginx;
		more($load, 5, 'answers');
	}
	my @got = $load->stop;
	is((grep { $_->{status} != 200 || !$_->{whole} } @got), 0,
	    'reloads of Nginx under load: no failure');
	my ($rows, $counted) = kept();
	is "$rows $counted", @got . ' ' . @got, '... all are saved and counted';
}

done_testing;
