# Paths and methods, and the properties that every response has.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { AI_CHAT_DAILY_LIMIT => 1,
    AI_CHAT_DB_TIMEOUT_MS => 500 });
my %method = ('/health' => 'GET', '/v1/chat/health' => 'GET',
    '/health/ready' => 'GET',
    '/v1/chat/send' => 'POST', '/v1/chat/history' => 'POST',
    '/v1/chat/reset-limit' => 'POST', '/v1/chat/limits/1' => 'GET',
    '/v1/chat/stats/1' => 'GET', '/v1/chat/clear' => 'POST',
    '/openapi.json' => 'GET', '/docs' => 'GET', '/docs/docs.js' => 'GET');

sub bare ($method, $path, @lines)
{
	return $s->raw_request(join "\r\n", "$method $path HTTP/1.1", 'Host: a',
	    'Connection: close', "X-API-KEY: $AIChat::Test::KEY", @lines, '',
	    '');
}

# The properties of every response with a body.
sub is_answer ($got, $status, $title)
{
	subtest $title => sub {
		is $got->{status}, $status, 'status';
		is $got->{headers}{'content-type'}, 'application/json',
		    'content type';
		is $got->{headers}{'content-length'}, length $got->{content},
		    'length';
		ok ref $got->{json}, 'JSON';
		ok !ref $got->{headers}{'x-request-id'}, 'one request id';
		like $got->{headers}{'x-request-id'},
		    qr/^[A-Za-z0-9._-]{1,64}$/, '... in its usual form';
		unlike $got->{content}, qr/\\u/, 'no escapes';
	};
}

# -- methods -----------------------------------------------------------------

for my $path (sort keys %method) {
	for my $method (qw(GET POST PUT DELETE PATCH OPTIONS HEAD PROPFIND)) {
		next if $method eq $method{$path};
		my $got = bare($method, $path, 'Content-Length: 0');
		is $got->{status}, 405, "$method $path is refused";
		is $got->{headers}{allow}, $method{$path}, '... with Allow';
		is $got->{content}, $method eq 'HEAD' ? ''
		    : '{"detail":"Method Not Allowed"}',
		    '... with an error text';
	}
}

# -- paths -------------------------------------------------------------------

for my $path ('/', '/v1', '/v1/chat', '/v1/chat/', '/v1/chat/send/',
    '/v1/chat/sen', '/v1/chat/sender', '/V1/chat/send', '/v1/chat/limits',
    '/v1/chat/limits/', '/v1/chat/limits/1/', '/v1/chat/limits/1/2',
    '/v1/chat/stats', '/v1/chat/stats/', '/v1/chat/stats/1/', '/health/',
    '/health/ready/', '/health/live', '/healthz', '/openapi', '/openapi.json/',
    '/favicon.ico', '/v1/chat/limits/1%2F2', '/%D0%BF%D1%83%D1%82%D1%8C',
    '/v1/chat/limits/1%0A/', '/v2/chat/send', '/health%2Fx', '/.error') {
	for my $method (qw(GET POST)) {
		my $got = bare($method, $path, 'Content-Length: 0');
		is $got->{status}, 404, "$method $path does not exist";
		is $got->{content}, '{"detail":"Not Found"}',
		    '... with an error text';
	}
}

for my $path ('//health', '/%68ealth', '/health?', '/health?x=1', '/x/../health',
    '/./health', '/health?a[]=%00', '/health?%', '/health#part') {
	is bare(GET => $path)->{status}, 200, "$path is /health";
}
for my $path ('/v1/chat/limits/%37', '/v1//chat/limits//7',
    '/v1/chat/limits/7?days=x&telegram_id=8', '/v1/chat/%6cimits/7',
    '/v1/chat/limits/0000007') {
	my $got = bare(GET => $path);
	is $got->{status}, 200, "$path is the limits of a user";
	is $got->{json}{telegram_id}, 7, '... his';
}
is $s->post('/v1/chat/reset-limit?telegram_id=8', { telegram_id => 7 })
    ->{json}{message}, 'Пользователь 7 не найден',
    'a query does not replace a body';
is $s->request('GET', '/v1/chat/limits/7', json => { telegram_id => 8 })
    ->{json}{telegram_id}, 7, 'a body does not replace a part of the path';

like bare(GET => $_->[0])->{raw}, qr/^HTTP\/1\.1 $_->[1]\r\n/,
    "the status line is complete: $_->[1]"
    for [ '/health', '200 OK' ], [ '/nothing', '404 Not Found' ],
    [ '/v1/chat/stats/1?days=0', '400 Bad Request' ],
    [ '/v1/chat/stats/x', '422 Unprocessable Content' ],
    [ '/v1/chat/send', '405 Method Not Allowed' ];

# -- every kind of response
# -------------------------------------------------------

$s->expect_log(qr/too large body/, qr/status=503/);
my @kinds = (
	[ 200, 'health', sub { $s->get('/health') } ],
	[ 200, 'readiness', sub { $s->get('/health/ready') } ],
	[ 200, 'a chat', sub { $s->send(telegram_id => 20,
	    message => 'Вопрос 📦 [[text=Ответ%20—%20📈]]') } ],
	[ 200, 'limits', sub { $s->get('/v1/chat/limits/20') } ],
	[ 200, 'history', sub { $s->post('/v1/chat/history',
	    { telegram_id => 20 }) } ],
	[ 200, 'statistics', sub { $s->get('/v1/chat/stats/20') } ],
	[ 429, 'no chat left', sub { $s->send(telegram_id => 20) } ],
	[ 200, 'a reset', sub { $s->post('/v1/chat/reset-limit',
	    { telegram_id => 20 }) } ],
	[ 200, 'a new conversation', sub { $s->post('/v1/chat/clear',
	    { telegram_id => 20 }) } ],
	[ 400, 'too many days', sub { $s->get('/v1/chat/stats/20?days=366') } ],
	[ 403, 'no key', sub { $s->get('/v1/chat/limits/1',
	    headers => { 'X-API-KEY' => undef }) } ],
	[ 404, 'no such path', sub { $s->get('/nothing') } ],
	[ 405, 'no such method', sub { $s->get('/v1/chat/send') } ],
	[ 413, 'a body that is too large', sub { $s->post('/v1/chat/send',
	    'x' x 262145) } ],
	[ 422, 'a body that does not match the schema', sub {
	    $s->post('/v1/chat/send', {}) } ],
	[ 500, 'a model that fails', sub { $s->send(telegram_id => 21,
	    message => '[[status=401]]') } ],
);
for (@kinds) {
	my ($status, $what, $ask) = @$_;
	is_answer($ask->(), $status, $what);
}
like $s->post('/v1/chat/history', { telegram_id => 20 })->{content},
    qr/"message":"\xd0\x92\xd0\xbe/, 'text is UTF-8';

# The worker's own 503, with its Retry-After.
{
	my $got;
	$s->sql('alter table ai_chat_requests rename to gone');
	$got = $s->post('/v1/chat/history', { telegram_id => 1 });
	is_answer($got, 503, 'a database that fails');
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... with Retry-After';
	is why($got), 'Database is not available',
	    '... without the reason';
	$got = $s->ready_with(503);
	is_answer($got, 503, 'not ready');
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... with Retry-After';
	$s->sql('alter table gone rename to ai_chat_requests');
	$s->expect_log(qr/relation "ai_chat_requests" does not exist/);
}

# -- the request id ----------------------------------------------------------

for my $ask ([ GET => '/health' ], [ GET => '/nothing' ],
    [ GET => '/v1/chat/send' ], [ GET => '/v1/chat/limits/x' ],
    [ POST => '/v1/chat/send' ]) {
	my ($method, $path) = @$ask;
	my $got = bare($method, $path, 'X-Request-Id: my.Own_id-1',
	    'Content-Length: 0');
	is $got->{headers}{'x-request-id'}, 'my.Own_id-1',
	    "the caller's id comes back from $method $path";
	my %seen = map { bare($method, $path, "X-Request-Id: $_",
	    'Content-Length: 0')->{headers}{'x-request-id'} => 1 }
	    'a b', '<x>', 'y' x 65;
	is scalar keys %seen, 3, '... each invalid id is replaced';
}
like $s->worker_log(1), qr/req=my\.Own_id-1 /, 'the worker logs it';

done_testing;
