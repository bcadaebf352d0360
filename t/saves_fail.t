# The database reads and reserves, but does not save: few chats are paid for in
# vain, the others are refused before the model is called, and a repeat under a
# key gets the answer that was paid for.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 1, with => 0, proxy => [ 'database' ], env => {
	AI_CHAT_DAILY_LIMIT => 1000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
});
$s->expect_log(qr/code=EDB/, qr/event=breaker/, qr/permission denied/,
    qr/No space left/, qr/could not extend/);

sub metric ($name)
{
	my $text = $s->get('/metrics', headers => { 'X-API-KEY' => undef })
	    ->{content};
	return $text =~ /^ai_chat_\Q$name\E\{worker="1"\} (\d+)$/m ? $1 : undef;
}

sub keyed ($key, %o)
{
	return $s->send(telegram_id => 9, headers => { 'Idempotency-Key' => $key },
	    message => "[[id=$key]] Вопрос", %o);
}

# -- no right to insert ------------------------------------------------------

is $s->send(telegram_id => 1)->{status}, 200, 'a chat is saved';
is metric('save_breaker_open'), 0, '... and the circuit breaker of saves closed';
is $s->ready_with(200)->{status}, 200, '... ready';

$s->sql(q{create function full_disk() returns trigger language plpgsql as $$
    begin raise 'could not extend file: No space left on device'
    using errcode = 'disk_full'; end $$});
$s->sql('create trigger full_disk before insert on ai_chat_requests
    for each row execute function full_disk()');
is keyed('first')->{status}, 503, 'a full disk: a chat fails';
my $before = $s->model_count;
my @got = map { $s->send_many(map { { telegram_id => $_ } } 1 .. 5) } 1 .. 20;
is((grep { $_->{status} == 503 } @got), 100, '... and so do a hundred others');
is((grep { !$_->{headers}{'retry-after'} } @got), 0, '... with Retry-After');
cmp_ok $s->model_count - $before, '<=', 6,
    '... of which only those in flight at the first failure are paid for';
is $s->value('select sum(request_count) from ai_chat_daily_limits'), 1,
    '... and none is counted';
is $s->value('select coalesce(sum(cardinality(leases)), 0)
    from ai_chat_daily_limits'), 0, '... and none stays reserved';
like $got[-1]{json}{detail}{error}, qr/cannot be saved/,
    '... with the reason in the error';
is metric('save_breaker_open'), 1, 'the circuit breaker is open';
my $ready = $s->ready_with(503);
is $ready->{json}{checks}{database}, 'open', '... which readiness reports';
like $s->worker_log(1), qr/level=error event=breaker .*could not be saved/,
    '... and the log has it';

# -- one trial at a time -----------------------------------------------------

wait_for(sub { $s->get('/health/ready')->{status} == 200 }, 10, 'a trial');
$before = $s->model_count;
@got = $s->send_many(map { { telegram_id => $_ } } 1 .. 30);
is $s->model_count - $before, 1, 'of thirty at once one is the trial';
is((grep { $_->{status} == 503 } @got), 30, '... which fails');

# -- paid and not saved ------------------------------------------------------

is $s->model_count('first'), 1, 'the chat with a key was paid once';
is keyed('first')->{status}, 503, '... and its repeat fails';
is $s->model_count('first'), 1, '... without another payment';
is keyed('second')->{status}, 503, 'another chat is refused';
is $s->model_count('second') // 0, 0, '... before it is paid';

$s->sql('drop trigger full_disk on ai_chat_requests');
my $again = keyed('first');
is $again->{status}, 200, 'when the disk has room, the repeat is saved';
is $s->model_count('first'), 1, '... without being paid again';
is metric('save_breaker_open'), 0, '... which closes the circuit breaker';
is keyed('first')->{content}, $again->{content}, '... and is replayed';
is keyed('second')->{status}, 200, 'other chats are answered';
is_deeply $s->ledger(9), { count => 2, rows => 2, leases => 0 },
    '... and counted once';
is $s->ready_with(200)->{status}, 200, 'readiness is back';
like $s->worker_log(1), qr/event=breaker .*for saves closed/, '... and so says the log';

# An unsaved answer is used only for the question that it answers.
$s->sql('create trigger full_disk before insert on ai_chat_requests
    for each row execute function full_disk()');
is keyed('third')->{status}, 503, 'one more chat is not saved';
$s->sql('drop trigger full_disk on ai_chat_requests');
is keyed('fourth')->{status}, 200, 'another question of the user is answered';
is $s->model_count('fourth'), 1, '... by the model';
is keyed('third')->{status}, 200, '... and the repeat of the first one';
is $s->model_count('third'), 1, '... with the answer that was paid for';

# -- a repeat that waits for the first chat ----------------------------------

# The waiting repeat gets the reservation as soon as the first chat releases it.
{
	my @paid;
	for my $round (1 .. 8) {
		$s->sql('create trigger full_disk before insert on ai_chat_requests
		    for each row execute function full_disk()');
		my @socks = $s->start_chats(map { { telegram_id => 20 + $round,
		    message => "[[id=waits$round delay=300]] Вопрос",
		    headers => { 'Idempotency-Key' => 'waits' } } } 1 .. 3);
		wait_for(sub { $s->model_count("waits$round") }, 10,
		    'the first of them');
		finish_chats(@socks);
		push @paid, $s->model_count("waits$round");
		$s->sql('drop trigger full_disk on ai_chat_requests');
		is keyed('waits', telegram_id => 20 + $round, message =>
		    "[[id=waits$round delay=300]] Вопрос")->{status}, 200,
		    "three at once under a key that are not saved, round $round";
		push @paid, $s->model_count("waits$round");
	}
	is "@paid", join(' ', (1) x 16),
	    '... are paid for once, and their repeat is not';
}

# The worker of the first chat gets no reply to the query whether the chat was
# saved. The repeat gets the reservation meanwhile.
{
	$s->sql('create trigger full_disk before insert on ai_chat_requests
	    for each row execute function full_disk()');
	# The connection stays open, and silent.
	$s->proxy('database')->fault(lose_reply => [ "\0find\0", 'no such bytes' ]);
	my @socks = $s->start_chats(map { { telegram_id => 30,
	    message => '[[id=doubtful delay=300]] Вопрос',
	    headers => { 'Idempotency-Key' => 'doubtful' } } } 1 .. 2);
	finish_chats(@socks);
	$s->proxy('database')->clear;
	$s->sql('drop trigger full_disk on ai_chat_requests');
	is $s->model_count('doubtful'), 1,
	    'a chat whose save is uncertain, and its repeat: paid for once';
	wait_for(sub { $s->send(telegram_id => 31)->{status} == 200 }, 10,
	    'the circuit breaker to close');
}

# -- saved, and the reply is lost
# ---------------------------------------------------

{
	$s->proxy('database')->fault(lose_reply => [ "\0save\0", 'no such bytes' ]);
	my $got = $s->send(telegram_id => 50);
	$s->proxy('database')->clear;
	is $got->{status}, 200,
	    'a save that was made, but its reply is lost: the chat is answered';
	is $got->{json}{remaining_requests}, 999,
	    '... with the right number of remaining chats';
	is_deeply $s->ledger(50), { count => 1, rows => 1, leases => 0 },
	    '... and counted once';
}

# -- no reservation left for the answer
# ------------------------------------------------

{
	my %ask = (telegram_id => 40, message => '[[id=late delay=900]] Вопрос');
	my ($sock) = $s->start_chats({ %ask, headers => { 'Idempotency-Key' => 'late' } });
	wait_for(sub { $s->model_count('late') }, 10, 'a call of the model');
	$s->sql("update ai_chat_daily_limits set leases = '{}',
	    request_count = 1000 where telegram_id = 40");
	my ($got) = finish_chats($sock);
	is $got->{status}, 503,
	    'an answer without a reservation left is not saved';
	$s->sql('update ai_chat_daily_limits set request_count = 0
	    where telegram_id = 40');
	is keyed('late', %ask)->{status}, 200, '... the repeat is answered';
	is $s->model_count('late'), 1, '... with the answer that was paid for';
}

# -- a right that is missing -------------------------------------------------

$s->sql('revoke insert on ai_chat_requests from ai_chat');
$before = $s->model_count;
@got = map { $s->send(telegram_id => $_) } 11 .. 60;
is((grep { $_->{status} == 503 } @got), 50, 'no right to insert: fifty chats fail');
cmp_ok $s->model_count - $before, '<=', 4, '... and few are paid for';
ok wait_for(sub {
	$s->get('/health/ready')->{json}{checks}{database} eq 'down'
}, 10, 'readiness'), '... and readiness detects it';
$s->sql('grant insert on ai_chat_requests to ai_chat');
wait_for(sub { $s->send(telegram_id => 11)->{status} == 200 }, 10,
    'an answer after the grant');
ok 1, 'after the grant chats are answered without a restart';

# -- another worker ----------------------------------------------------------

{
	my $r = AIChat::Test->new(workers => 1, with => 0, redis => 1,
	    env => { AI_CHAT_DB_TIMEOUT_MS => 500 });
	$r->expect_log(qr/code=EDB/, qr/event=breaker/, qr/permission denied/);
	my @chat = (telegram_id => 5, message => '[[id=shared]] Вопрос',
	    headers => { 'Idempotency-Key' => 'shared' });
	my @other = (telegram_id => 5, message => '[[id=other]] Вопрос',
	    headers => { 'Idempotency-Key' => 'other' });

	wait_for(sub { $r->get('/health/ready')->{json}{checks}{cache} eq 'ok' },
	    10, 'Redis');
	is $r->send(telegram_id => 6)->{status}, 200, 'with Redis: a chat';
	$r->sql('revoke insert on ai_chat_requests from ai_chat');
	is $r->send(@chat)->{status}, 503, '... and one chat is not saved';
	is $r->send(@chat, telegram_id => 7)->{status}, 503,
	    '... and one of another user is not saved';
	wait_for(sub { $r->redis_cli('keys', "*unsaved:$_") =~ /\S/ }, 5,
	    "the answer to user $_ in Redis") for 5, 7;
	is $r->ctl('forget', '--yes', 7)->{status}, 0,
	    'the other user is erased';
	unlike $r->redis_cli('keys', '*unsaved:7'), qr/\S/,
	    '... and so is the answer in Redis';
	$r->restart_worker(1);
	wait_for(sub { $r->get('/health/ready')->{json}{checks}{cache} eq 'ok' },
	    10, 'Redis');
	$r->sql('grant insert on ai_chat_requests to ai_chat');
	is $r->send(@other)->{status}, 200, 'another worker answers another question';
	is $r->model_count('other'), 1, '... by the model';
	my $paid = $r->model_count('shared');
	is $r->send(@chat)->{status}, 200, '... and saves the unsaved answer';
	is $r->model_count('shared'), $paid, '... which was paid for once';
}

done_testing;
