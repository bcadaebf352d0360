# Callers that read their response slowly, or send their request slowly, do not
# occupy a worker, because Nginx buffers both.

use v5.36;
use utf8;
use AIChat::Test;

# One thread for chats, and a few for the rest.
my $s = AIChat::Test->new(env => { AI_CHAT_THREADS => 1 });
my $N = 10;

# Fifty answers, eleven megabytes.
$s->sql("insert into ai_chat_requests (telegram_id, chat_id, request_date,
    message, response) select 7, gen_random_uuid(), current_date, 'Вопрос',
    repeat('Ответ ', 20000) from generate_series(1, 50)");

sub ask_for_all
{
	my $body = '{"telegram_id":7,"limit":100}';
	my $sock = $s->connect;
	print $sock join "\r\n", 'POST /v1/chat/history HTTP/1.1', 'Host: a',
	    'Connection: close', "X-API-KEY: $AIChat::Test::KEY",
	    'Content-Length: ' . length $body, '', $body;
	$sock->flush;
	return $sock;
}

sub written
{
	return scalar(() = $s->worker_log(1) =~ m{/history .*status=200}g);
}

# More callers than there are threads.
my @slow;
for my $n (1 .. $N) {
	push @slow, ask_for_all();
	wait_for(sub { written() == $n }, 10, 'the answer to be written');
}
wait_for(sub { $s->taken(1) == 0 }, 2, 'the worker to be free');
pass 'ten callers that read nothing: the worker has sent their responses';
my ($most) = sort { $b <=> $a } $s->worker_log(1)
    =~ m{/history .*? ms=([\d.]+)}g;
cmp_ok $most, '<', 2000, '... at once';
my $got = $s->send(telegram_id => 8);
is $got->{status}, 200, '... and others are answered';
cmp_ok $got->{seconds}, '<', 2, '... at once';

my ($raw, $sock) = ('', shift @slow);
sysread $sock, $raw, 1000, length $raw for 1 .. 20;
cmp_ok length $raw, '<=', 20_000, 'a caller reads a part of the response';
1 while sysread $sock, $raw, 1 << 20, length $raw;
ok AIChat::Test::is_whole($raw), '... and then the rest, and gets all of it';
is scalar(() = $raw =~ /"created_at":/g), 50, '... fifty long answers';
close $_ for $sock, @slow;
is $s->get('/health')->{status}, 200,
    'callers that disconnect without reading do no harm';

# -- slow senders
# -------------------------------------------------------------------

# Nginx sends "100 Continue" when it begins to read a body.
{
	my $body = '{"telegram_id":8,"limit":1}';
	my @socks = map { $s->connect } 1 .. $N;
	for my $sock (@socks) {
		print $sock join "\r\n", 'POST /v1/chat/history HTTP/1.1', 'Host: a',
		    'Connection: close', "X-API-KEY: $AIChat::Test::KEY",
		    'Expect: 100-continue', 'Content-Length: ' . length $body, '', '';
		$sock->flush;
		like scalar(<$sock>), qr/ 100 /, 'Nginx waits for the body';
		<$sock>;
		print $sock substr $body, 0, 5;
		$sock->flush;
	}
	$got = $s->send(telegram_id => 8);
	is $got->{status}, 200,
	    'ten callers that send slowly: others are answered';
	is $s->taken(1), 0, '... and the worker has no request of the ten';
	for my $sock (@socks) {
		print $sock substr $body, 5;
		$sock->flush;
		local $/;
		like scalar(<$sock>), qr/^HTTP\S+ 200 /,
		    '... and the ten are answered in the end';
	}
}

done_testing;
