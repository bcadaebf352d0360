# A disk that is full, where the log goes: what cannot be written is lost, and
# nothing else is.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(wrap => [ '/bin/sh', '-c', 'exec "$@" 2>/dev/full', 'sh' ],
    env => { LOG_LEVEL => 'debug' });

# Each kind of line that a worker writes.
is $s->send(telegram_id => 1)->{status}, 200,
    'with a full disk under its log a worker answers';
is $s->send(telegram_id => 2, message => '[[status=400]]')->{status}, 500,
    '... fails where it has to';
is $s->send(telegram_id => 3, message => ' ')->{status}, 422,
    '... and refuses';
my @got = $s->send_many(map { { telegram_id => 100 + $_ } } 1 .. 50);
is((grep { $_->{status} == 200 } @got), 50, '... many at once as well');
is_deeply $s->ledger(1), { count => 1, rows => 1, leases => 0 },
    '... and keeps what it answers';
is readlink('/proc/' . $s->worker_pid(1) . '/fd/2'), '/dev/full',
    '... where no line can be written';
is $s->kill_worker(1, 'TERM'), 0, 'it drains and ends as ever';

# A pipe whose reader has gone, as when the journal is restarted.
$s->stack->{wrap} = [ '/bin/sh', '-c', 'mkfifo "$0.pipe"; (: <"$0.pipe") &
    exec "$@" 2>"$0.pipe"', $s->dir . '/log/gone' ];
$s->start_worker(1);
is $s->send(telegram_id => 4)->{status}, 200,
    'nor does a log that nobody reads any more stop it';
is readlink('/proc/' . $s->worker_pid(1) . '/fd/2'),
    $s->dir . '/log/gone.pipe', '... which is a pipe';

done_testing;
