# The disk of the log is full: log lines are lost, and nothing else.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(wrap => [ '/bin/sh', '-c', 'exec "$@" 2>/dev/full', 'sh' ],
    env => { LOG_LEVEL => 'debug' });

# Requests that cause each kind of line in a worker's log.
is $s->send(telegram_id => 1)->{status}, 200,
    'with a full disk under its log a worker answers';
is $s->send(telegram_id => 2, message => '[[status=400]]')->{status}, 500,
    '... fails where the model fails';
is $s->send(telegram_id => 3, message => ' ')->{status}, 422,
    '... and refuses a wrong key';
my @got = $s->send_many(map { { telegram_id => 100 + $_ } } 1 .. 50);
is((grep { $_->{status} == 200 } @got), 50, '... to fifty chats at once, too');
is_deeply $s->ledger(1), { count => 1, rows => 1, leases => 0 },
    '... and stores each answered chat';
is readlink('/proc/' . $s->worker_pid(1) . '/fd/2'), '/dev/full',
    '... while its log is /dev/full';
is $s->kill_worker(1, 'TERM'), 0, 'it drains and exits with 0';

# A pipe without a reader, as during a restart of the journal.
$s->stack->{wrap} = [ '/bin/sh', '-c', 'mkfifo "$0.pipe"; (: <"$0.pipe") &
    exec "$@" 2>"$0.pipe"', $s->dir . '/log/gone' ];
$s->start_worker(1);
is $s->send(telegram_id => 4)->{status}, 200,
    'with a log that has no reader a worker answers';
is readlink('/proc/' . $s->worker_pid(1) . '/fd/2'),
    $s->dir . '/log/gone.pipe', '... while its log is a pipe';

done_testing;
