# All slots are in use: another chat is refused at once, and all other requests
# are answered.  And callers that hang up.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(env => { AI_CHAT_THREADS => 2 });

sub in_model { return $s->model_counts->{pending} }

# Fills both slots.
sub fill
{
	my @socks = $s->start_chats(map { {
		telegram_id => $_, message => '[[delay=2500]]',
	} } 1, 2);
	wait_for(sub { in_model() == 2 }, 10, 'two chats to be in flight');
	return @socks;
}

# -- chats of one key ----------------------------------------------------------

# Repeats that wait for the first chat of their key take half of the slots at
# most.
{
	$s->restart_worker(1, AI_CHAT_THREADS => 4);
	my @socks = $s->start_chats(map { { telegram_id => 60,
	    message => '[[delay=2000 id=same]]',
	    headers => { 'Idempotency-Key' => 'same' } } } 1 .. 4);
	wait_for(sub { $s->model_count('same') && $s->taken(1) == 3 }, 10,
	    'one of the chats to be refused');
	is $s->send(telegram_id => 61)->{status}, 200,
	    'repeats wait for the first chat of their key: others are answered';
	my @got = finish_chats(@socks);
	my ($refused) = grep { $_->{status} == 503 } @got;
	is join(' ', sort map { $_->{status} } @got), '200 200 200 503',
	    '... because a repeat beyond half of the slots is refused';
	like why($refused), qr/wait for others of their key/,
	    '... which gives the reason';
	is $s->model_count('same'), 1, '... and the model is called once';
	$s->restart_worker(1, AI_CHAT_THREADS => 2);
}

# -- the third chat ----------------------------------------------------------

{
	my @socks = fill();
	my $asked = $s->model_count;
	my $got = $s->send(telegram_id => 3);
	is $got->{status}, 503, 'a third chat is refused';
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... with Retry-After';
	is ref($got->{json}), 'HASH', '... in JSON';
	ok length why($got), '... and the reason';
	cmp_ok $got->{seconds}, '<', 1, '... at once';
	is $s->model_count, $asked, 'the model is not called';
	is_deeply $s->ledger(3), { count => 0, rows => 0, leases => 0 },
	    'nothing is counted';

	my @seconds = sort { $a <=> $b } map {
		$s->send(telegram_id => 3)->{seconds};
	} 1 .. 21;
	cmp_ok $seconds[10], '<', 0.05, '... within 50 ms, as a rule';

	my @got = $s->send_many(map { { telegram_id => 3 } } 1 .. 50);
	is((grep { $_->{status} == 503 && $_->{json} } @got), 50,
	    'fifty more are refused, too');

	my $start = time;
	is $s->get('/health')->{status}, 200, 'health is answered meanwhile';
	is $s->get('/health/ready')->{status}, 200, 'so does readiness';
	is $s->get('/v1/chat/limits/1')->{json}{requests_today}, 1,
	    'the limits count the chat in flight';
	is $s->post('/v1/chat/history', { telegram_id => 1 })->{status}, 200,
	    'the history is answered';
	is $s->get('/v1/chat/stats/1')->{status}, 200,
	    'statistics are answered';
	is $s->send(telegram_id => 3, headers => { 'X-API-KEY' => 'x' })
	    ->{status}, 403, 'a wrong key is refused';
	cmp_ok time - $start, '<', 2, '... none of them waits';
	is in_model(), 2, '... for the two chats, which are still in flight';

	is((grep { $_->{status} == 200 } finish_chats(@socks)), 2,
	    'these two are answered');
	is $s->send(telegram_id => 3)->{status}, 200,
	    'then another chat is answered';
}

# -- callers that hang up ----------------------------------------------------

$s->restart_worker(1, AI_CHAT_THREADS => 8);
{
	my $asked = $s->model_count;
	$s->kill_worker(1, 'STOP');
	my @socks = $s->start_chats(map { { telegram_id => 10 + $_ } } 1 .. 5);
	my $stays = pop @socks;
	# Nginx puts each request into the queue of the worker's socket, and
	# closes its end when the caller hangs up.
	wait_for(sub { $s->queued(1) == 5 }, 10, 'all to be queued');
	my $open = nginx_files();
	close $_ for @socks;
	wait_for(sub { nginx_files() == $open - 8 }, 10, 'Nginx to notice');
	$s->kill_worker(1, 'CONT');
	my ($got) = finish_chats($stays);
	is $got->{status}, 200, 'a caller that stays in the queue is answered';
	wait_for(sub {
		(() = $s->worker_log(1) =~ /code=EGONE/g) == 4;
	}, 10, 'the others to be noticed');
	is $s->model_count, $asked + 1,
	    'a caller that hangs up in the queue costs no call';
	is_deeply $s->ledger(10 + $_), { count => 0, rows => 0, leases => 0 },
	    '... and nothing else' for 1 .. 4;
	is_deeply $s->ledger(15), { count => 1, rows => 1, leases => 0 },
	    'the chat of the caller that stayed is counted';
}

# The descriptors of Nginx: two for each request, the caller's connection and
# the worker's.
sub nginx_files
{
	my $pid = $s->stack->nginx->pid;
	return scalar map { glob "/proc/$_/fd/*" }
	    split ' ', slurp("/proc/$pid/task/$pid/children");
}

{
	my $early = $s->model_counts->{closed_early};
	my ($sock) = $s->start_chats({ telegram_id => 20,
	    message => '[[delay=20000 id=left]]' });
	wait_for(sub { in_model() == 1 }, 10, 'the model to be called');
	is $s->ledger(20)->{leases}, 1, 'a chat in flight has a reservation';
	my $left = time;
	close $sock;
	wait_for(sub { in_model() == 0 }, 10, 'the call to be ended');
	cmp_ok time - $left, '<', 2.2,
	    'when the caller hangs up, the call of the model is cancelled';
	is $s->model_counts->{closed_early}, $early + 1, '... by the worker';
	wait_for(sub { $s->ledger(20)->{leases} == 0 }, 5,
	    'the reservation to be released');
	is_deeply $s->ledger(20), { count => 0, rows => 0, leases => 0 },
	    '... and nothing is counted';
	is $s->model_count('left'), 1, '... and the call is not retried';

	($sock) = $s->start_chats({ telegram_id => 21,
	    message => '[[status=503 retry_after=20 id=waits]]' });
	wait_for(sub { $s->model_count('waits') }, 10, 'the first call');
	$left = time;
	close $sock;
	wait_for(sub { $s->worker_log(1) =~ /user=21 .*code=EGONE/ }, 10,
	    'the chat to end');
	cmp_ok time - $left, '<', 2.2,
	    'a caller that hangs up between two attempts is noticed as fast';
	is_deeply $s->ledger(21), { count => 0, rows => 0, leases => 0 },
	    '... and nothing is counted';
}

# When the callers of all eight slots hang up, all eight are free again.
$s->restart_worker(1);
{
	my @ask = map { { telegram_id => 30 + $_,
	    message => '[[delay=20000]]' } } 1 .. 8;
	my @leave = $s->start_chats(@ask);
	wait_for(sub { in_model() == 8 }, 10, 'all slots to be taken');
	close $_ for @leave;
	wait_for(sub { $s->taken(1) == 0 }, 10, 'the callers to be noticed');
	my @socks = $s->start_chats(map { { telegram_id => 40 + $_,
	    message => '[[delay=1000 id=full]]' } } 1 .. 8);
	my @got = finish_chats(@socks);
	is join(' ', map { $_->{status} } @got), join(' ', (200) x 8),
	    'the callers of all slots hang up: eight more are answered';
	is $s->model_count('full'), 8, '... by eight calls';
}

# Half of the slots may wait for another chat of their key.
{
	my %ask = (telegram_id => 50, message => '[[delay=6000 id=keyed]]',
	    user_context => 'данные', headers => { 'Idempotency-Key' => 'k' });
	my $left = sub {
		return scalar(() = $s->worker_log(1)
		    =~ /user=50 .*disconnected while another chat/g);
	};
	my @first = $s->start_chats(\%ask);
	wait_for(sub { $s->model_count('keyed') }, 10, 'the first of the key');
	# A caller that hangs up before its chat waits is noticed elsewhere.
	for (1 .. 10) {
		last if $left->() >= 4;
		my @leave = $s->start_chats((\%ask) x 4);
		wait_for(sub { $s->taken(1) == 5 }, 10, 'four that wait');
		close $_ for @leave;
		wait_for(sub { $s->taken(1) == 1 }, 10, 'them to leave');
	}
	my @got = finish_chats(@first, $s->start_chats((\%ask) x 4));
	cmp_ok $left->(), '>=', 4,
	    'callers that wait for a chat of their key hang up';
	is join(' ', map { $_->{status} } @got), join(' ', (200) x 5),
	    '... as many as may wait: four others can wait';
	is((grep { $_->{headers}{'idempotent-replayed'} } @got), 4,
	    '... and get its answer');
	is_deeply $s->ledger(50), { count => 1, rows => 1, leases => 0 },
	    '... and the exchange is counted once';
}

done_testing;
