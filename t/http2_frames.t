# A server sends bytes that are not valid HTTP/2.  Each chat of that connection
# is sent again, as after a lost connection, and the worker goes on.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::Test;

# The workers call the model $m instead of the usual one.
my $s = AIChat::Test->new(tls => 'h2', idle => [ 'model' ]);
my $m = AIChat::HTTP2->start($s);
my $user = 0;

# The retry budget is large, so that each chat can have all of its attempts.
$s->restart_worker(1, $m->settings, AI_CHAT_RETRY_FLOOR => 1000000,
    AI_CHAT_UPSTREAM_CONNECTIONS => 1, AI_CHAT_DEADLINE_MS => 10000);

sub chats ($n)
{
	return map { $user++; { telegram_id => $user, text => "T$user" } } 1 .. $n;
}

sub ask (@chats)
{
	return $s->send_many(map { { telegram_id => $_->{telegram_id},
	    message => "вопрос [[text=$_->{text}]]" } } @chats);
}

# Closes all connections.  On the next connections, raw_times of them, the
# server sends these bytes.
sub break_next ($how, %o)
{
	$m->do('reset');
	wait_for(sub { $m->seen->{open} == 0 }, 10, 'the connections to end');
	$m->forget;
	$m->set(raw => $how, raw_times => 1, raw_prime => 0, raw_after => 1,
	    raw_deaf => 0, %o);
}

# -- instead of SETTINGS -----------------------------------------------------

for my $how (qw(garbage http1 settings_length settings_on_stream nothing)) {
	break_next($how);
	my @chats = chats(1);
	my @got = ask(@chats);
	is $m->add_up(\@chats, \@got, "$how for the server's first frame",
	    refused => 1), 1, '... the chat is answered';
	is $m->seen->{handshakes}, 2, '... on the next connection';

	break_next($how, raw_times => 1000);
	@chats = chats(1);
	@got = ask(@chats);
	is $m->add_up(\@chats, \@got, "$how on each connection", refused => 1), 0,
	    '... the chat fails';
	like why($got[0]), qr/^AI service error: /, '... with the reason';
	is $m->seen->{handshakes}, 3, '... after three connections';
}

# -- instead of an answer ----------------------------------------------------

my @breaks = qw(hpack_index hpack_beyond hpack_cut no_status frame_too_large rst_length
    padding data_first data_on_idle data_on_zero headers_on_even push no_continuation
    lone_continuation window_of_stream window_of_connection window_of_zero
    window_setting goaway_length goaway_error cut_in_frame cut_in_answer);

for my $how (@breaks) {
	# Ten chats share the connection when it breaks.
	break_next($how, raw_prime => 1, raw_after => 10);
	my @first = chats(1);
	is $m->add_up(\@first, [ ask(@first) ], "$how: a chat before it"), 1,
	    '... answered';
	$m->forget;
	my @chats = chats(10);
	my @got = ask(@chats);
	my $n = $m->add_up(\@chats, \@got, "$how with ten streams");
	is $n, 10, '... all are answered';
	my $retried = grep { $m->requests($_->{text}) > 1 } @chats;
	cmp_ok $retried, '>=', 1, '... some by another attempt'
	    or diag explain [ $m->requests ];
	note sprintf '%s: %.1f s', $how, (sort { $b <=> $a } map { $_->{seconds} } @got)[0];
	note "$how: $retried chats were sent again";
}

# A server that does not close the connection after the worker's GOAWAY.
{
	break_next('hpack_index', raw_prime => 1, raw_after => 10, raw_deaf => 1);
	my @first = chats(1);
	is $m->add_up(\@first, [ ask(@first) ],
	    'a server that does not close: a chat before'),
	    1, '... answered';
	$m->forget;
	my @chats = chats(10);
	my @got = ask(@chats);
	my $n = $m->add_up(\@chats, \@got, 'a server that does not close after GOAWAY');
	is((grep { $_->{seconds} >= 10 } @got), 0, '... within the deadline');
	is $n, 10, '... all are answered';
}

# -- after an answer ---------------------------------------------------------

for my $how (qw(data_on_closed headers_on_closed answer_twice)) {
	break_next($how, raw_after => 1);
	my @chats = chats(1);
	is $m->add_up(\@chats, [ ask(@chats) ], "$how after the answer"), 1,
	    '... the chat is answered';
	is scalar($m->requests), 1, '... by the first attempt';
	$m->forget;
	@chats = chats(10);
	is $m->add_up(\@chats, [ ask(@chats) ], 'the next chats', refused => 1),
	    10, '... and they are answered';
}

$m->stop;
done_testing;
