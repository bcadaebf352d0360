# Other services change the tables while workers run. A prepared statement of a
# worker becomes stale, and no caller notices. Readiness reports whether a chat
# could be saved.

use v5.36;
use utf8;
use AIChat::Proc qw(run base_env);
use AIChat::Test;

my $s = AIChat::Test->new(own_pg => 1, workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 100_000,
	AI_CHAT_DB_POOL => 3,
});
my $pg = $s->stack->pg;

# The server logs each statement that failed and was then sent as text.
$s->expect_log(qr/ERROR:  cached plan must not change result type/);

# The responses other than 200 to 24 chats at once, with keys and without.
sub refused
{
	state $n = 0;
	my @chats = map { $n++; {
		telegram_id => $_, message => 'Вопрос',
		headers => $_ % 2 ? { 'Idempotency-Key' => "k$n" } : {},
	} } 1 .. 24;
	return grep { $_->{status} != 200 } $s->send_many(@chats);
}

# Uses every endpoint that queries the database.
sub all_served ($title)
{
	my @bad = grep { $_->{status} != 200 } refused(),
	    map { ($s->post('/v1/chat/history', { telegram_id => $_ }),
		$s->get("/v1/chat/limits/$_"),
		$s->get("/v1/chat/stats/$_"),
		$s->post('/v1/chat/clear', { telegram_id => $_ }),
		$s->get('/health/ready')) } 1 .. 3;
	is join(' ', map { "$_->{status} $_->{content}" } @bad), '', $title;
}

all_served('all connections have their statements prepared');

# -- columns -----------------------------------------------------------------

for my $change ('alter column tokens_used type bigint',
    'alter column message type varchar(9000)',
    'alter column response type varchar',
    'add column note text',
    'alter column tokens_used type numeric') {
	$s->sql("alter table ai_chat_requests $change");
	all_served("another service runs: $change");
}
$s->sql('alter table ai_chat_daily_limits alter request_count type bigint');
all_served('another service changes the counter');

# -- a restore ---------------------------------------------------------------

# While tables and types are dropped and created again, any statement can fail;
# from here on only the statuses count.
$s->expect_log(qr/ERROR:  /, qr/code=EDB/,
    qr/event=breaker .*could not be saved/);
{
	my $dump = $s->dir . '/dump';
	my %env = (env => { base_env() });
	my $url = $pg->url($s->{db}, 'postgres');

	run([ AIChat::Postgres::bin('pg_dump'), '-Fc', '-f', $dump, '-d', $url ],
	    %env);
	my $load = $s->start_load(callers => 6, users => [ 101 .. 120 ],
	    pause => 0.05);
	wait_for(sub { $load->count(200) > 50 }, 20, 'fifty answers');
	run([ AIChat::Postgres::bin('pg_restore'), '--clean', '--if-exists',
	    '-d', $url, $dump ], %env);
	my $n = $load->count(200);
	wait_for(sub { $load->count(200) > $n + 50 }, 20,
	    'fifty answers after the restore');
	my %other = map { $_->{status} => 1 } grep { $_->{status} != 200 }
	    $load->stop;
	delete $other{503};
	is join(' ', keys %other), '',
	    'pg_restore --clean beside the workers: 503 and no other failure';
	# Chats of the load that could not be saved may have opened the circuit
	# breaker of saves, which admits one chat after five seconds.
	ok wait_for(sub { !refused() }, 20, 'the breaker to close'),
	    '... and afterwards the same workers answer chats';
	all_served('... and so do all endpoints');
	my ($row) = $s->sql('select (select count(*) from ai_chat_requests
	    where telegram_id between 1 and 24),
	    (select sum(request_count) from ai_chat_daily_limits
	    where telegram_id between 1 and 24)');
	is $row->[0], $row->[1], '... stored chats are counted';
}

# -- the role ----------------------------------------------------------------

$pg->admin('create schema elsewhere', $s->{db});
$pg->admin('alter role ai_chat set search_path = elsewhere');
all_served('the role gets another search_path');
$pg->admin('select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = \'ai-chat\'');
all_served('... on new connections, too');
$pg->admin('alter role ai_chat reset search_path');

# -- readiness ---------------------------------------------------------------

# Both workers report it, each up to two seconds late.
sub is_ready ($want, $title)
{
	ok wait_for(sub {
		!grep { $s->get('/health/ready')->{status} != $want } 1 .. 6
	}, 10, "readiness $want"), $title;
}

# Changes and their reversal, with the message of the server.
for my $case (
    [ 'the right to insert exchanges', 'revoke insert on ai_chat_requests
	from ai_chat', 'grant insert on ai_chat_requests to ai_chat' ],
    [ 'the right to change counters', 'revoke update on ai_chat_daily_limits
	from ai_chat', 'grant update on ai_chat_daily_limits to ai_chat' ],
    [ 'the right to read exchanges', 'revoke select on ai_chat_requests
	from ai_chat', 'grant select on ai_chat_requests to ai_chat' ],
    [ 'a column', 'alter table ai_chat_requests rename key_digest to gone',
	'alter table ai_chat_requests rename gone to key_digest' ]) {
	my ($what, $take, $give) = @$case;
	is_ready(200, 'ready');
	$s->sql($take);
	my $asked = $s->model_count;
	is_ready(503, "... without $what it is not ready");
	$s->sql($give);
	is_ready(200, '... and with it, it is ready');
	all_served('... and chats are served');
}

# In sessions that exist already: nothing is restarted.
$s->expect_log(qr/terminating connection/);
$pg->admin("alter database $s->{db} set default_transaction_read_only = on");
$pg->admin('select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = \'ai-chat\'');
is_ready(503, 'a database that cannot be written to is not ready');
$pg->admin("alter database $s->{db} reset default_transaction_read_only");
is_ready(200, '... and is ready when it can');

done_testing;
