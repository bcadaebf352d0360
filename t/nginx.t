# The responses of Nginx itself: as JSON, with the request id, in the words of
# the contract.

use v5.36;
use utf8;
use AIChat::Test;

# No chat of this test reaches the model; if one did, it must not leave this
# machine.
my $s = AIChat::Test->new(read_timeout_s => 1, idle => [ 'model' ]);
my $MAX = 262144;

# Nginx logs the requests that it refuses.
$s->expect_log(qr/client intended to send too large/,
    qr/access forbidden by rule/, qr/client sent invalid chunked body/);

sub is_error ($got, $status, $detail, $title)
{
	subtest $title => sub {
		is $got->{status}, $status, 'status';
		is $got->{headers}{'content-type'}, 'application/json', 'type';
		is why($got), $detail, 'error';
		is_deeply [ keys %{ $got->{json} } ], [ 'detail' ], '... alone';
		ok !ref $got->{json}{detail}, '... as a text' if $status < 500;
		like $got->{headers}{'x-request-id'}, qr/^[A-Za-z0-9._-]{1,64}$/,
		    'request id';
	};
}

sub head ($first, @lines)
{
	return join "\r\n", $first, 'Host: a', 'Connection: close', @lines, '',
	    '';
}

sub send_head (@lines)
{
	return head('POST /v1/chat/send HTTP/1.1',
	    "X-API-KEY: $AIChat::Test::KEY", 'Content-Type: application/json',
	    @lines);
}

# A body that fits the schema and has exactly this size.
sub body_of ($size)
{
	my $start = '{"telegram_id":0,"ignored":"';
	return $start . 'x' x ($size - length($start) - 2) . '"}';
}

sub chunked ($body)
{
	return join '', map { sprintf "%x\r\n%s\r\n", length, $_ }
	    unpack('(a9000)*', $body), '';
}

# -- the body's size ---------------------------------------------------------

for my $over (0, 1) {
	my $body = body_of($MAX + $over);
	my %how = (
	    'with a length' => [ send_head('Content-Length: ' . length $body),
		$body ],
	    'in chunks' => [ send_head('Transfer-Encoding: chunked'),
		chunked($body) ],
	);
	for my $how (sort keys %how) {
		my $got = $s->raw_request($how{$how});
		is $got->{status}, 422, "as large as the limit, $how, is read"
		    if !$over;
		is_error($got, 413, 'Request body too large',
		    "one byte over the limit, $how") if $over;
	}
}

is_error($s->raw_request(send_head('Content-Length: 99999999')), 413,
    'Request body too large',
    'a body that is too large is refused before it is sent');

{
	my $got = $s->raw_request([ send_head('Expect: 100-continue',
	    'Content-Length: 2'), '{}' ]);
	like $got->{raw}, qr/^HTTP\/1.1 100 /,
	    'Expect: 100-continue gets a 100';
	is $got->{status}, 422, '... and then the response';

	$got = $s->raw_request(send_head('Expect: 100-continue',
	    'Content-Length: ' . ($MAX + 1)));
	is_error($got, 413, 'Request body too large',
	    'Expect with a body that is too large is refused at once');
}

# -- invalid HTTP, or too much of it
# ---------------------------------------------

my @bad = (
	[ 'garbage', "garbage\r\n\r\n", 400, 'Bad Request' ],
	[ 'a TLS hello', "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
	    400, 'Bad Request' ],
	[ 'no Host', "GET /health HTTP/1.1\r\n\r\n", 400, 'Bad Request' ],
	[ 'two Hosts', head('GET /health HTTP/1.1', 'Host: b'), 400,
	    'Bad Request' ],
	[ 'a NUL in the path', head('GET /%00 HTTP/1.1'), 400, 'Bad Request' ],
	[ 'a path above the root', head('GET /../x HTTP/1.1'), 400,
	    'Bad Request' ],
	[ 'two lengths', send_head('Content-Length: 1', 'Content-Length: 2'),
	    400, 'Bad Request' ],
	[ 'a length and chunks', send_head('Content-Length: 5',
	    'Transfer-Encoding: chunked'), 400, 'Bad Request' ],
	[ 'a broken chunk', send_head('Transfer-Encoding: chunked')
	    . "zz\r\n", 400, 'Bad Request' ],
	[ 'an unknown transfer encoding', send_head('Transfer-Encoding: gzip'),
	    501, 'Not Implemented' ],
	[ 'HTTP of an unknown version', head('GET / HTTP/9.9'), 505,
	    'HTTP Version Not Supported' ],
	[ 'a URI of 9 KB', head('GET /' . 'a' x 9000 . ' HTTP/1.1'), 414,
	    'URI Too Long' ],
	[ 'a URI of 100 KB', head('GET /' . 'a' x 100_000 . ' HTTP/1.1'), 414,
	    'URI Too Long' ],
	[ 'a header of 9 KB', head('GET /health HTTP/1.1', 'X-A: '
	    . 'a' x 9000), 400, 'Bad Request' ],
	[ 'TRACE', head('TRACE /health HTTP/1.1'), 405, 'Method Not Allowed' ],
);
for (@bad) {
	my ($title, $bytes, $status, $detail) = @$_;
	is_error($s->raw_request($bytes), $status, $detail, $title);
}

is $s->get('/health?' . 'a' x 8000)->{status}, 200,
    'a URI of 8,000 bytes is accepted';

# -- the request id ----------------------------------------------------------

for my $id ('a', 'A-z.0_9', 'x' x 64) {
	my $got = $s->get('/health', headers => { 'X-Request-Id' => $id });
	is $got->{headers}{'x-request-id'}, $id, "the caller's id $id is kept";
}
for my $id ('', 'a b', 'x' x 65, 'a;b', 'é') {
	utf8::encode(my $bytes = $id);
	my $got = $s->raw_request(head('GET /health HTTP/1.1',
	    "X-Request-Id: $bytes"));
	like $got->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/,
	    "the id '$id' is replaced";
}
{
	my $got = $s->raw_request(send_head('X-Request-Id: mine',
	    'Content-Length: 99999999'));
	is $got->{headers}{'x-request-id'}, 'mine', '... also with a 413';
}

# -- /metrics ----------------------------------------------------------------

{
	my $http = HTTP::Tiny->new(local_address => '127.0.0.2');
	my $got = $http->get($s->url('/metrics'));
	is $got->{status}, 403, '/metrics is for this machine only';
	is $got->{content}, '{"detail":"Forbidden"}',
	    '... with an error in JSON';
	ok $got->{headers}{'x-request-id'}, '... with the request id';
	isnt $s->get('/metrics')->{status}, 403, '... where it is served';

	# Like a request through a proxy on this machine, whose address says
	# nothing about the caller.
	my $public = 'http://127.0.0.1:' . $s->port . '/metrics';
	$got = HTTP::Tiny->new->get($public);
	is $got->{status}, 403, 'on the port for callers /metrics needs a key';
	unlike $got->{content}, qr/ai_chat_/,
	    '... and without one has no metrics';
	$got = HTTP::Tiny->new->get($public,
	    { headers => { 'X-API-KEY' => $AIChat::Test::KEY } });
	is $got->{status}, 200, '... and with one is served';
	is HTTP::Tiny->new->get('http://127.0.0.1:' . $s->metrics_port
	    . '/health')->{status}, 404, 'its own listener serves nothing else';
}

# -- two keys
# -----------------------------------------------------------------------

# docs/integration.md: before version 1.23 Nginx uses the first one; later
# versions join both, so none is valid.
{
	my ($minor) = qx(nginx -v 2>&1) =~ m{nginx/1\.(\d+)};
	my %got = map { $_ => $s->raw_request(join "\r\n",
	    'GET /v1/chat/limits/1 HTTP/1.1', 'Host: a', 'Connection: close',
	    (map { "X-API-KEY: $_" } split /,/), '', '')->{status} }
	    "$AIChat::Test::KEY,wrong", "wrong,$AIChat::Test::KEY";
	is $got{"wrong,$AIChat::Test::KEY"}, 403,
	    'a wrong key and then a right one: refused';
	is $got{"$AIChat::Test::KEY,wrong"}, $minor < 23 ? 200 : 403,
	    '... and the other way round, as documented';
}

# -- no worker ---------------------------------------------------------------

$s->expect_log(qr/connect\(\) to unix:\S+ failed/, qr/upstream prematurely/,
    qr/recv\(\) failed/);
{
	$s->kill_worker(1);
	my $got = $s->send;
	is_error($got, 502, 'Service temporarily unavailable', 'no worker');
	like $got->{headers}{'retry-after'}, qr/^\d+$/, '... with Retry-After';
	like $got->{json}{detail}{message}, qr/, вопрос не засчитан\./,
	    '... no request was sent, so nothing is counted';

	$got = $s->raw_request(head('HEAD /health HTTP/1.1'));
	is $got->{status}, 502, '... HEAD too';
	is $got->{content}, '', '... without a body';
	$s->start_worker(1);
	is $s->get('/health')->{status}, 200,
	    'after a restart of the worker it is used at once';
}

# -- a worker that hangs -----------------------------------------------------

$s->expect_log(qr/upstream timed out/);
{
	$s->kill_worker(1, 'STOP');
	my $got = $s->send;
	is_error($got, 504, 'Gateway Timeout', 'a worker that hangs');
	like $got->{headers}{'retry-after'}, qr/^\d+$/, '... with Retry-After';
	like $got->{json}{detail}{message},
	    qr/^Ответ не пришёл вовремя, вопрос мог быть засчитан\./,
	    '... the worker may count the chat in spite of that';
	$s->kill_worker(1, 'CONT');
}

done_testing;
