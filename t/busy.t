# No room for one more: told so at once, while all else goes on.  And callers
# who leave.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(env => { AI_CHAT_THREADS => 2 });

sub in_model { return $s->model_counts->{pending} }

# Both slots are taken.
sub fill
{
	my @socks = $s->start_chats(map { {
		telegram_id => $_, message => '[[delay=2500]]',
	} } 1, 2);
	wait_for(sub { in_model() == 2 }, 10, 'two chats to be under way');
	return @socks;
}

# -- chats of one key ----------------------------------------------------------

# Those that wait for the first one take half of the slots and no more.
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
	    '... for those repeats that are too many are refused';
	like why($refused), qr/wait for others of their key/, '... and told why';
	is $s->model_count('same'), 1, '... with one call of the model';
	$s->restart_worker(1, AI_CHAT_THREADS => 2);
}

# -- the third chat ----------------------------------------------------------

{
	my @socks = fill();
	my $asked = $s->model_count;
	my $got = $s->send(telegram_id => 3);
	is $got->{status}, 503, 'a third chat finds no room';
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... is told when to come again';
	is ref($got->{json}), 'HASH', '... in JSON';
	ok length why($got), '... and why';
	cmp_ok $got->{seconds}, '<', 1, '... at once';
	is $s->model_count, $asked, 'the model was not asked';
	is_deeply $s->ledger(3), { count => 0, rows => 0, leases => 0 },
	    'nothing is counted';

	my @seconds = sort { $a <=> $b } map {
		$s->send(telegram_id => 3)->{seconds};
	} 1 .. 21;
	cmp_ok $seconds[10], '<', 0.05, '... within 50 ms, as a rule';

	my @got = $s->send_many(map { { telegram_id => 3 } } 1 .. 50);
	is((grep { $_->{status} == 503 && $_->{json} } @got), 50,
	    'fifty more are told the same');

	my $start = time;
	is $s->get('/health')->{status}, 200, 'health answers meanwhile';
	is $s->get('/health/ready')->{status}, 200, 'so does readiness';
	is $s->get('/v1/chat/limits/1')->{json}{requests_today}, 1,
	    'the limits count the chat in flight';
	is $s->post('/v1/chat/history', { telegram_id => 1 })->{status}, 200,
	    'the history answers';
	is $s->get('/v1/chat/stats/1')->{status}, 200, 'statistics answer';
	is $s->send(telegram_id => 3, headers => { 'X-API-KEY' => 'x' })
	    ->{status}, 403, 'a wrong key is refused as ever';
	cmp_ok time - $start, '<', 2, '... all without waiting';
	is in_model(), 2, '... for the chats, which are still under way';

	is((grep { $_->{status} == 200 } finish_chats(@socks)), 2,
	    'and they are answered');
	is $s->send(telegram_id => 3)->{status}, 200,
	    'then there is room again';
}

# -- callers who leave -------------------------------------------------------

$s->restart_worker(1, AI_CHAT_THREADS => 8);
{
	my $asked = $s->model_count;
	$s->kill_worker(1, 'STOP');
	my @socks = $s->start_chats(map { { telegram_id => 10 + $_ } } 1 .. 5);
	my $stays = pop @socks;
	# Nginx hands each over to the queue of the worker's socket, and closes
	# its end when the caller leaves.
	wait_for(sub { $s->queued(1) == 5 }, 10, 'all to be queued');
	my $open = nginx_files();
	close $_ for @socks;
	wait_for(sub { nginx_files() == $open - 8 }, 10, 'Nginx to notice');
	$s->kill_worker(1, 'CONT');
	my ($got) = finish_chats($stays);
	is $got->{status}, 200, 'who stays in the queue is answered';
	wait_for(sub {
		(() = $s->worker_log(1) =~ /code=EGONE/g) == 4;
	}, 10, 'the others to be noticed');
	is $s->model_count, $asked + 1,
	    'who left before his turn costs no call';
	is_deeply $s->ledger(10 + $_), { count => 0, rows => 0, leases => 0 },
	    '... and nothing else' for 1 .. 4;
	is_deeply $s->ledger(15), { count => 1, rows => 1, leases => 0 },
	    'who stayed is counted';
}

# Two for each caller that it serves: his connection and the worker's.
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
	wait_for(sub { in_model() == 1 }, 10, 'the model to be asked');
	is $s->ledger(20)->{leases}, 1, 'a chat under way is reserved';
	my $left = time;
	close $sock;
	wait_for(sub { in_model() == 0 }, 10, 'the call to be ended');
	cmp_ok time - $left, '<', 2.2,
	    'when the caller leaves, the call of the model is ended';
	is $s->model_counts->{closed_early}, $early + 1, '... by the worker';
	wait_for(sub { $s->ledger(20)->{leases} == 0 }, 5,
	    'the reservation to be dropped');
	is_deeply $s->ledger(20), { count => 0, rows => 0, leases => 0 },
	    '... and nothing is counted';
	is $s->model_count('left'), 1, '... and it is not tried again';

	($sock) = $s->start_chats({ telegram_id => 21,
	    message => '[[status=503 retry_after=20 id=waits]]' });
	wait_for(sub { $s->model_count('waits') }, 10, 'the first call');
	$left = time;
	close $sock;
	wait_for(sub { $s->worker_log(1) =~ /user=21 .*code=EGONE/ }, 10,
	    'the chat to end');
	cmp_ok time - $left, '<', 2.2,
	    'who leaves between two calls is noticed as soon';
	is_deeply $s->ledger(21), { count => 0, rows => 0, leases => 0 },
	    '... and pays nothing';
}

# A worker of eight slots, all of whose callers leave, has eight slots again.
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
	    'as many callers leave as there are slots: eight more are answered';
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
	# Who leaves before he waits is noticed at another place.
	for (1 .. 10) {
		last if $left->() >= 4;
		my @leave = $s->start_chats((\%ask) x 4);
		wait_for(sub { $s->taken(1) == 5 }, 10, 'four that wait');
		close $_ for @leave;
		wait_for(sub { $s->taken(1) == 1 }, 10, 'them to leave');
	}
	my @got = finish_chats(@first, $s->start_chats((\%ask) x 4));
	cmp_ok $left->(), '>=', 4, 'callers leave who wait for a chat of their key';
	is join(' ', map { $_->{status} } @got), join(' ', (200) x 5),
	    '... as many as may wait: four others can wait';
	is((grep { $_->{headers}{'idempotent-replayed'} } @got), 4,
	    '... and get its answer');
	is_deeply $s->ledger(50), { count => 1, rows => 1, leases => 0 },
	    '... which is counted once';
}

done_testing;
