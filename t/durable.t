# All processes of PostgreSQL are killed at once under load.  Whatever
# synchronous_commit is for the role, no answered chat is lost.

use v5.36;
use utf8;
use AIChat::Test;

# By default the WAL writer would soon write commits that did not wait for the
# disk, which would hide a fault.
my $s = AIChat::Test->new(workers => 2, pg_conf => {
	wal_writer_delay => '10s', fsync => 'on', full_page_writes => 'on',
}, env => {
	AI_CHAT_DAILY_LIMIT => 100_000,
	AI_CHAT_DEADLINE_MS => 15_000,
	AI_CHAT_DB_TIMEOUT_MS => 3000,
});
my $pg = $s->stack->pg;
$s->expect_log(qr/code=EDB/, qr/FATAL:  (?:terminating|connection to client)/,
    qr/FATAL:  the database system is/);

# -- under load --------------------------------------------------------------

# The number of kills, for longer tests.
my $kills = $ENV{AIC_KILLS} // 4;
my ($answered, $lost, $uncounted) = (0, 0, 0);

for my $n (1 .. $kills) {
	my $value = $n % 2 ? 'off' : 'on';
	my @users = map { 10 * $n + $_ } 0 .. 4;
	$pg->admin("alter role ai_chat set synchronous_commit = $value");
	# A session keeps the value with which it began.
	$pg->admin('select pg_terminate_backend(pid) from pg_stat_activity
	    where application_name = \'ai-chat\'');
	my $load = $s->start_load(callers => 12, users => \@users,
	    message => '[[delay=10]]', pause => 0.05);
	wait_for(sub { $load->count(200) >= 60 }, 20, 'sixty answers');
	$s->kill_pg;
	$s->start_pg;
	my $before = $load->count(200);
	wait_for(sub { $load->count(200) > $before + 20 }, 20, 'twenty more');
	my %answers;
	$answers{ $_->{user} }++ for grep { $_->{status} == 200 } $load->stop;
	for my $user (@users) {
		my $ledger = $s->ledger($user);
		my $got = $answers{$user} // 0;
		$answered += $got;
		$lost += $got - $ledger->{rows} if $got > $ledger->{rows};
		$uncounted++ if $ledger->{rows} != $ledger->{count};
	}
}
note "$kills kills, $answered answered chats, $lost lost";
cmp_ok $answered, '>', 60 * $kills, "$kills kills of all of PostgreSQL under load";
is $lost, 0, '... and no answered chat is lost';
is $uncounted, 0, '... and what is saved is counted';

# -- one after the other -----------------------------------------------------

# Each of these is on the disk when the response is sent.  No later commit can
# have written it there.
$pg->admin('alter role ai_chat set synchronous_commit = off');
$pg->admin('select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = \'ai-chat\'');

sub survives ($title, $do, $sql, $want)
{
	$do->();
	$s->kill_pg;
	$s->start_pg;
	is $s->value($sql), $want, "$title survives a crash";
}

survives('a chat', sub { $s->send(telegram_id => 1001) },
    'select request_count from ai_chat_daily_limits where telegram_id = 1001', 1);
survives('a reset', sub {
	$s->post('/v1/chat/reset-limit', { telegram_id => 1001 });
}, 'select request_count from ai_chat_daily_limits where telegram_id = 1001', 0);
survives('the beginning of a conversation', sub {
	$s->post('/v1/chat/clear', { telegram_id => 1001 });
}, 'select context_from is not null from ai_chat_daily_limits
    where telegram_id = 1001', 't');
survives('a deletion', sub { $s->ctl('forget', 1001, '--yes') },
    'select count(*) from ai_chat_requests where telegram_id = 1001', 0);
is $s->value('show synchronous_commit'), 'off',
    '... though the role\'s commits do not wait for the disk';

$s->sql('alter role ai_chat reset synchronous_commit');

# -- settings that a worker can only report ----------------------------------

sub warned ($what)
{
	$s->restart_worker($_) for 1, 2;
	return wait_for(sub {
		$s->get('/health/ready');
		join('', map { $s->worker_log($_) } 1, 2) =~ /event=durability .*$what/;
	}, 10, "the worker to log $what");
}

is $s->get('/health/ready')->{status}, 200, 'ready';
unlike join('', map { $s->worker_log($_) } 1, 2), qr/event=durability/,
    'a server that keeps what it commits: no line in the log';
my $got = $s->ctl('check');
like $got->{out}, qr/^ok +durability/m, '... and ai-chatctl check says ok';
$pg->admin('alter table ai_chat_requests set unlogged', $s->{db});
ok warned('table ai_chat_requests is unlogged'),
    'an unlogged table: a line in the log';
$got = $s->ctl('check');
like $got->{out}, qr/^wrong +durability: .*unlogged/m,
    '... and ai-chatctl check reports it';
$pg->admin('alter table ai_chat_requests set logged', $s->{db});

$s->stop_pg;
$pg->{conf}{$_} = 'off' for qw(fsync full_page_writes);
$s->start_pg;
ok warned('fsync is off, full_page_writes is off'),
    'fsync and full_page_writes off: a line in the log';
like $s->ctl('check')->{out}, qr/^wrong +durability: .*fsync is off/m,
    '... and ai-chatctl check reports them';

done_testing;
