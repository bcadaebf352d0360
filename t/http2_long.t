# Answers that are longer than what libcurl has room for, many at once on few HTTP/2
# connections: none of them waits for bytes that have been read already.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 1, tls => 'h2', env => {
	AI_CHAT_CONTEXT_MESSAGES => 0,
	AI_CHAT_DEADLINE_MS => 10_000,
	AI_CHAT_THREADS => 128,
});

my @got = map { $s->send_many(map { {
	telegram_id => $_, message => '[[delay=' . $_ % 7
	    . ' text=abcdefghijklmnop repeat=' . int(300 + rand 6000) . ']]',
} } 1 .. 60) } 1 .. 6;

is join(' ', map { $_->{status} } grep { $_->{status} != 200 } @got), '',
    'answers of 5 to 100 KB, sixty at a time over HTTP/2: all are answered';
is join(' ', grep { $_ > 5 } map { $_->{seconds} } @got), '',
    '... none of them late';

# The end of the stream is in the last frame, nothing comes behind it, and no length was
# announced.
{
	my $m = AIChat::HTTP2->start($s);

	$s->restart_worker(1, $m->settings, AI_CHAT_DEADLINE_MS => 10_000);
	for my $pad (3000, 5000, 9000, 15_000) {
		$m->set(raw => 'hpack_index', raw_times => 1, raw_prime => 1000,
		    raw_pad => $pad);
		my $chat = $s->send(telegram_id => 1000 + $pad,
		    message => '[[text=whole]]', format => 'plain');
		is length($chat->{json}{response} // ''), 5 + $pad,
		    "an answer of $pad bytes whose last frame ends it: it is whole";
		cmp_ok $chat->{seconds}, '<', 5, '... and not late';
		$m->do('reset');
		wait_for(sub { $m->seen->{open} == 0 }, 10, 'the connection to end');
	}
	$m->stop;
}

done_testing;
