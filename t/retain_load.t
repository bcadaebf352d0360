# A large prune during load: no chat fails or waits because of it.

use v5.36;
use utf8;
use AIChat::Proc qw(base_env slurp);
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(workers => 0, own_pg => 1);
my $ROWS = 150_000;

# Every user has old exchanges, and there are old counters of other users.
$s->sql("insert into ai_chat_requests (telegram_id, message, response,
    request_date, created_at) select 1 + g % 400, repeat('m', 100),
    repeat('r', 900), current_date - 40, now() - interval '40 days'
    from generate_series(1, $ROWS) g");
$s->sql("insert into ai_chat_daily_limits (telegram_id, last_reset_date,
    updated_at) select 1000 + g, current_date - 40, now() - interval '40 days'
    from generate_series(1, 20000) g");
$s->sql('analyze');

# A chat fails when it waits for a lock for more than 100 ms. Two chats of one
# user wait for each other, so there are enough users to avoid that.
%{ $s->stack->settings } = (%{ $s->stack->settings },
    DATABASE_URL => $s->db_url
	. '&options=-c%20lock_timeout%3D100%20-c%20statement_timeout%3D2000',
    AI_CHAT_DAILY_LIMIT => 1000, AI_CHAT_DB_TIMEOUT_MS => 2000,
    AI_CHAT_DEADLINE_MS => 10_000);
$s->stack->start_workers(1, 2);
$s->stack->start_nginx;

{
	my $load = $s->start_load(callers => 8, users => [ 1 .. 400 ],
	    message => '[[delay=5]]');
	my $alone = time;
	wait_for(sub { $load->count(200) >= 300 }, 30, 'three hundred chats');
	$alone = $load->count(200) / (time - $alone);
	my $log = $s->dir . '/log/retain.log';
	my ($began, $before) = (time, $load->count(200));
	my $prune = AIChat::Proc->start(name => 'a prune',
	    cmd => [ AIChat::Stack::find_build() . '/ai-chat-retain', 'prune',
		30 ], env => { base_env(), DATABASE_URL => $s->db_url
		. '&application_name=retain' }, log => $log);
	my (%modes, $waited);
	while ($prune->alive) {
		for ($s->sql("select 'mode', l.mode from pg_locks l
		    join pg_stat_activity a using (pid)
		    where a.application_name = 'retain' and l.relation in (
		    'ai_chat_requests'::regclass,
		    'ai_chat_daily_limits'::regclass)
		    union all select 'waits', a.query from pg_stat_activity a
		    where exists (select from pg_stat_activity b
			where b.application_name = 'retain'
			and b.pid = any (pg_blocking_pids(a.pid)))")) {
			$modes{ $_->[1] }++ if $_->[0] eq 'mode';
			$waited .= "$_->[1]\n" if $_->[0] eq 'waits';
		}
	}
	my $beside = ($load->count(200) - $before) / (time - $began);
	my $seconds = time - $began;
	my @got = $load->stop;
	my $said = slurp($log);
	my ($worst) = sort { $b <=> $a } $said =~ /ms=(\S+)/g;

	is $prune->status, 0, 'a large prune under load succeeds';
	like $said, qr/^exchanges=$ROWS users=20000 .*complete=1$/m,
	    '... and prunes all old rows';
	is((grep { $_->{status} != 200 } @got), 0, '... and no chat failed');
	is $waited, undef, '... no session was seen waiting for it';
	is join(' ', grep { !/^(?:AccessShare|RowShare|RowExclusive)Lock$/ }
	    sort keys %modes), '', '... it locks rows, and no table';
	ok scalar %modes, '... (its locks were observed)';
	cmp_ok $beside, '>', $alone / 4, '... chats continued';
	note sprintf '%.0f chats a second alone, %.0f beside it; %.1f s, '
	    . 'worst batch %.0f ms', $alone, $beside, $seconds, $worst;
	is $s->value("select count(*) from ai_chat_requests
	    where created_at < now() - interval '30 days'"), 0,
	    'no old exchange remains';
	is $s->value('select count(*) from ai_chat_daily_limits'),
	    $s->value('select count(distinct telegram_id)
		from ai_chat_requests'), '... and users with chats are known';
}

done_testing;
