# PostgreSQL is restarted under load, or is down when a worker starts: answered
# chats are saved, and the service is back as soon as PostgreSQL is.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(own_pg => 1, workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 100_000,
	AI_CHAT_DEADLINE_MS => 15_000,
	AI_CHAT_DB_TIMEOUT_MS => 3000,
});
$s->expect_log(qr/code=EDB/, qr/FATAL:  (?:terminating|connection to client)/,
    qr/FATAL:  the database system is/, qr/ERROR:  canceling statement/);

# -- under load --------------------------------------------------------------

my $users = 0;
for my $mode (qw(fast immediate immediate)) {
	$users += 10;
	my $load = $s->start_load(callers => 8, users => [ $users .. $users + 4 ],
	    message => '[[delay=30]]', pause => 0.1);
	wait_for(sub { $load->count(200) >= 20 }, 20, 'twenty answers');
	my $down = time;
	$s->stop_pg($mode);
	$s->start_pg;
	my $back = time;
	my $n = $load->count(200);
	wait_for(sub { $load->count(200) > $n + 20 }, 20, 'twenty more');
	my @got = $load->stop;

	my @refused = grep { $_->{status} != 200 } @got;
	my $answered = @got - @refused;
	is join(' ', grep { $_ != 503 } map { $_->{status} } @refused), '',
	    "PostgreSQL restarted ($mode) under load: answers or 503";
	is((grep { !$_->{json} || !$_->{retry_after} } @refused), 0,
	    '... in JSON, with Retry-After');
	my ($first) = sort { $a <=> $b } grep { $_ > $back }
	    map { $_->{ended} } grep { $_->{status} == 200 } @got;
	cmp_ok $first - $back, '<', 1,
	    '... the first answer comes within a second of its return';
	my ($row) = $s->sql("select (select count(*) from ai_chat_requests
	    where telegram_id between $users and $users + 4),
	    sum(request_count) from ai_chat_daily_limits
	    where telegram_id between $users and $users + 4");
	my ($rows, $counted) = @$row;
	is $counted, $rows, '... what is saved is counted';
	cmp_ok $rows, '>=', $answered, '... no answered chat is lost';
	# A refused chat is not saved, unless PostgreSQL was down for longer
	# than the worker could wait to resolve the save.
	cmp_ok $rows - $answered, '<=',
	    $back - $down < 2 ? 0 : scalar @refused,
	    '... and no refused chat is saved';
}

# -- at the start ------------------------------------------------------------

{
	$s->stop_pg;
	$s->restart_worker($_) for 1, 2;
	is $s->get('/health')->{status}, 200,
	    'without PostgreSQL a worker starts, and health is answered';
	is $s->ready_with(503)->{status}, 503, '... but it is not ready';
	my $got = $s->send(telegram_id => 1001);
	is $got->{status}, 503, '... and refuses chats';
	cmp_ok $got->{seconds}, '<', 4, '... in time';
	$s->start_pg;
	my $back = time;
	wait_for(sub { $s->send(telegram_id => 1001)->{status} == 200 }, 10,
	    'an answer');
	cmp_ok time - $back, '<', 1.5,
	    'when PostgreSQL is back, chats are answered at once';
	# Each worker checks for itself, twice a second.
	ok wait_for(sub { $s->get('/health/ready')->{status} == 200 }, 2,
	    'readiness'), '... and the service is ready';
	is_deeply $s->ledger(1001), { count => 1, rows => 1, leases => 0 },
	    '... and the chat is counted';
}

done_testing;
