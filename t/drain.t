# SIGTERM while the model hangs: each request in flight is answered within its
# deadline.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

# The model's share of the deadline is 2600 - 400 - 200 ms.
my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DEADLINE_MS => 2600,
	AI_CHAT_DB_TIMEOUT_MS => 400,
});

my $start = time;
my @hang = $s->start_chats(map { {
	telegram_id => $_, message => '[[hang=1]]',
} } 1 .. 6);
wait_for(sub { $s->model_counts->{pending} == 6 }, 10, 'six chats to hang');
my @pids = map { $s->worker_pid($_) } 1, 2;
ok $s->taken(1) && $s->taken(2), 'both workers have chats in flight';
kill 'TERM', $pids[0];
wait_for(sub { $s->worker_log(1) =~ /event=drain/ }, 5, 'the drain');

my $got = $s->send(telegram_id => 10);
is $got->{status}, 200, 'a chat after SIGTERM is answered by the other worker';
cmp_ok $got->{seconds}, '<', 1, '... at once';

my @got = finish_chats(@hang);
is((grep { $_->{status} == 500 && ref $_->{json} } @got), 6,
    'SIGTERM while the model hangs: each caller gets a response in JSON');
like why($got[0]), qr/^AI service error: /, '... with the reason';
cmp_ok $_->{seconds}, '<', 2.6, '... within the deadline' for @got;
is $s->kill_worker(1, 'TERM'), 0, 'and the worker exits by itself, with 0';
cmp_ok time - $start, '<', 4, '... within four seconds';
is_deeply $s->ledger($_), { count => 0, rows => 0, leases => 0 },
    '... nothing is counted' for 1 .. 6;

done_testing;
