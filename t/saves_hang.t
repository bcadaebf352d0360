# Saves that hang, and saves that are refused because of one row: when no save
# succeeds, few chats are paid for, and a fault of one user's rows affects no
# other user.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 1, with => 0, own_pg => 1, env => {
	AI_CHAT_DAILY_LIMIT => 1000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
});
my $pg = $s->stack->pg;
$s->expect_log(qr/code=EDB/, qr/event=(?:breaker|unready|lease)/,
    qr/canceling statement due to (?:lock|statement) timeout/,
    qr/violates check constraint/, qr/value too long/, qr/cached plan/, qr/gives up/,
    qr/FATAL:  (?:terminating|connection to client|the database system)/);

sub is_open
{
	my $text = $s->get('/metrics', headers => { 'X-API-KEY' => undef })
	    ->{content};
	return $text =~ /^ai_chat_save_breaker_open\{worker="1"\} (\d+)$/m ? $1 : undef;
}

sub message ($got) { return $got->{json}{detail}{message} }

# Another session in which a transaction has begun; closing the handle ends it.
sub hold ($sql)
{
	open my $psql, '|-', 'psql', '-XAtq', '-o', '/dev/null', '-d', $s->db_url
	    or die "psql: $!\n";
	print $psql "set application_name = 'holder'; begin; $sql;\n";
	$psql->flush;
	wait_for(sub { $pg->admin("select 1 from pg_stat_activity where
	    application_name = 'holder' and state = 'idle in transaction'
	    and query not like 'begin%'") }, 10, 'the lock');
	return $psql;
}

# Sends chats one after another until the circuit breaker opens; returns how
# many were paid for.
sub paid_of ($n, $first, $title)
{
	my $before = $s->model_count;
	my @got = map { $s->send(telegram_id => $first + $_) } 1 .. $n;

	is((grep { $_->{status} == 503 } @got), $n, $title);
	is((grep { !$_->{headers}{'retry-after'} } @got), 0, '... with Retry-After');
	return $s->model_count - $before;
}

sub comes_back ($user)
{
	wait_for(sub { $s->send(telegram_id => $user)->{status} == 200 }, 15,
	    'chats to be answered again');
	is is_open(), 0, '... and then chats are answered without a restart';
}

is $s->send(telegram_id => 1)->{status}, 200, 'a chat is saved';

# -- faults of one user's rows -----------------------------------------------

# Each of these faults concerns one user.
for my $case ([ 'a constraint', 'add constraint one check (telegram_id <> 5)',
	'drop constraint one' ],
    [ 'a column that is too narrow', 'alter message type varchar(40)',
	'alter message type text' ]) {
	my ($what, $do, $undo) = @$case;
	my $long = 'Вопрос ' x 10;
	$s->sql("alter table ai_chat_requests $do");
	is $s->send(telegram_id => 5, message => $long)->{status}, 503,
	    "$what: the chats of a user fail" for 1 .. 5;
	is is_open(), 0, '... and the circuit breaker stays closed';
	is $s->send(telegram_id => 1)->{status}, 200, '... others are served';
	$s->sql("alter table ai_chat_requests $undo");
}
{
	my @socks = $s->start_chats(map { { telegram_id => 1,
	    message => "[[id=locked delay=1000]] $_" } } 1 .. 4);
	wait_for(sub { ($s->model_count('locked') // 0) == 4 }, 10, 'four chats');
	my $holder = hold('select from ai_chat_daily_limits
	    where telegram_id = 1 for update');
	is((grep { $_->{status} == 503 } finish_chats(@socks)), 4,
	    'the row of a user is locked: the chats of that user fail');
	is is_open(), 0, '... and the circuit breaker stays closed';
	# The connections that missed the deadline are replaced first.
	ok eval { wait_for(sub { $s->send(telegram_id => 2)->{status} == 200 }, 5,
	    'a chat of another user') }, '... others are served';
	close $holder;
}

# -- faults of the whole table
# ----------------------------------------------------

# The lock that CREATE INDEX holds while it runs.
{
	my $holder = hold('lock table ai_chat_requests in share mode');
	cmp_ok paid_of(20, 100, 'a table that is locked against writes: chats fail'),
	    '<=', 4, '... and few are paid for';
	is is_open(), 1, '... because the circuit breaker is open';
	close $holder;
	comes_back(100);
}

# -- a save that takes long, and is not made
# ----------------------------------------

{
	$s->restart_worker(1, AI_CHAT_DB_TIMEOUT_MS => 1000, DATABASE_URL =>
	    $s->db_url . '&options=-c%20statement_timeout%3D60000');
	$s->sql(q{create function gives_up() returns trigger language plpgsql as
	    $$ begin perform pg_sleep(1.3); raise 'gives up'; end $$});
	$s->sql('create trigger gives_up before insert on ai_chat_requests
	    for each row execute function gives_up()');
	my $got = $s->send(telegram_id => 3);
	is $got->{status}, 503,
	    'a save without a result in time: the chat fails';
	like message($got), qr/вопрос не засчитан/,
	    '... and the error says that nothing was saved';
	is_deeply $s->ledger(3), { count => 0, rows => 0, leases => 0 },
	    '... which is true';
	$s->send(telegram_id => $_) for 4, 5;
	is is_open(), 0, '... and slow saves do not open the circuit breaker';
	$s->sql('drop trigger gives_up on ai_chat_requests');
	$s->restart_worker(1, AI_CHAT_DB_TIMEOUT_MS => 500,
	    DATABASE_URL => $s->db_url);
}

# -- commits that do not end -------------------------------------------------

# Commits wait for a standby that does not exist. Reservations do not wait for
# it.
$s->stop_pg;
$pg->{conf}{synchronous_standby_names} = 'gone';
$s->start_pg;
wait_for(sub { $s->send(telegram_id => 199)->{status} == 503 }, 10,
    'a save that hangs');
{
	my $got = $s->send(telegram_id => 200);
	like message($got), qr/вопрос мог быть засчитан/,
	    'a save that hangs: the error says that it may have been made';
	cmp_ok paid_of(30, 200, 'commits that hang: all chats fail'), '<=', 4,
	    '... and few are paid for';
	is is_open(), 1, '... because the circuit breaker is open';
	is $s->ready_with(503)->{json}{checks}{database}, 'open',
	    '... which readiness reports';
}
$s->stop_pg;
delete $pg->{conf}{synchronous_standby_names};
$s->start_pg;
comes_back(300);
is $s->value('select count(*) from ai_chat_requests'), $s->value('select
    sum(request_count) from ai_chat_daily_limits'), 'stored chats are counted';

done_testing;
