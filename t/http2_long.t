# Answers that are longer than what libcurl has room for, many at once on few HTTP/2
# connections: none of them waits for bytes that have been read already.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 1, tls => 'h2', env => {
	AI_CHAT_CONTEXT_MESSAGES => 0,
	AI_CHAT_DEADLINE_MS => 10_000,
	AI_CHAT_THREADS => 128,
});

my @got = map { $s->send_many(map { {
	telegram_id => $_, message => '[[delay=' . $_ % 7
	    . ' text=abcdefghijklmnop repeat=' . int(300 + rand 6000) . ']]',
} } 1 .. 60) } 1 .. 12;

is join(' ', map { $_->{status} } grep { $_->{status} != 200 } @got), '',
    'answers of 5 to 100 KB, sixty at a time over HTTP/2: all are answered';
is join(' ', grep { $_ > 5 } map { $_->{seconds} } @got), '',
    '... none of them late';

done_testing;
