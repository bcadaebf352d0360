# API keys: which key opens which endpoint, and that the key is checked before
# anything else.

use v5.36;
use utf8;
use AIChat::Test;
use AIChat::FastCGI;

my $s = AIChat::Test->new(env => { API_SECRET_KEY => 'old-key, new-key ,k3' });
my @paths = ([ GET => '/v1/chat/limits/1' ], [ GET => '/v1/chat/stats/1' ],
    [ POST => '/v1/chat/send' ], [ POST => '/v1/chat/history' ],
    [ POST => '/v1/chat/clear' ], [ POST => '/v1/chat/reset-limit' ]);

sub with ($key) { return (headers => { 'X-API-KEY' => $key }) }

sub is_refused ($got, $title)
{
	subtest $title => sub {
		is $got->{status}, 403, 'status';
		is $got->{content}, '{"detail":"Invalid or missing API key"}',
		    'body';
		is $got->{headers}{'content-type'}, 'application/json', 'type';
		like $got->{headers}{'x-request-id'}, qr/^[A-Za-z0-9._-]{1,64}$/,
		    'request id';
	};
}

# -- keys --------------------------------------------------------------------

is $s->get('/v1/chat/limits/1', with($_))->{status}, 200,
    "'$_' is one of several keys" for qw(old-key new-key k3);

my %wrong = ('no key' => undef, 'an empty key' => '', 'a wrong key' => 'wrong',
    'the beginning of a key' => 'old-ke', 'a key and more' => 'old-keys',
    'a key twice' => 'old-keyold-key', 'another case' => 'OLD-KEY',
    'all the keys' => 'old-key, new-key ,k3', 'a comma' => ',',
    'two keys' => 'old-key,new-key', 'a blank within' => 'old -key',
    'an inner piece' => 'd-k', 'a long key' => 'x' x 4000, 'a key in quotes' => '"k3"');
for my $what (sort keys %wrong) {
	is_refused($s->get('/v1/chat/limits/1', with($wrong{$what})),
	    "$what: refused");
}

is $s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nx-api-key:   k3  \r\n\r\n")->{status}, 200,
    'the case of the header name and blanks around the value are ignored';
is_refused($s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nX-API-KEY: wrong\r\nX-API-KEY: k3\r\n\r\n"),
    'a right key after a wrong one: refused');
is_refused($s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nX_API_KEY: k3\r\n\r\n"),
    'a header name with underscores: refused');
is_refused($s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nX-API-KEY: k3\xd0\xba\r\n\r\n"),
    'a key with bytes over 127: refused');
for (map { ([ $_, 'k3' ], [ 'k3', $_ ]) } 'wrong', 'k3') {
	my ($status) = AIChat::FastCGI::request($s->stack->socket_of(1),
	    { DOCUMENT_URI => '/v1/chat/limits/1', HTTP_X_API_KEY => $_ });
	is $status, 403, "two keys in one parameter, @$_: refused";
}
is_refused($s->get('/v1/chat/limits/1?X-API-KEY=k3&api_key=k3', with(undef)),
    'a key in the query: refused');
is_refused($s->get('/v1/chat/limits/1', headers => { 'X-API-KEY' => undef,
    Authorization => 'Bearer k3' }), 'a key as a bearer token: refused');

# -- before all else ---------------------------------------------------------

for (@paths) {
	my ($method, $path) = @$_;
	is_refused($s->request($method, $path, with('wrong')),
	    "$method $path needs the key");
	is_refused($s->request($method, $path, with(undef),
	    $method eq 'POST' ? (content => '{broken') : ()),
	    '... and the key is checked before the body');
	is_refused($s->request($method eq 'GET' ? 'POST' : 'GET', $path,
	    with(undef)), '... and before the method');
}
is_refused($s->get($_, with('wrong')),
    "a path that does not exist needs the key: $_")
    for '/', '/nothing', '/v1', '/v1/chat', '/v1/chat/send/',
	'/health/', '/health/live', '/healthy', '/Health';
is_refused($s->get('/v1/chat/limits/nobody', with(undef)),
    'so does a path with an invalid parameter');
is_refused($s->get('/v1/chat/stats/1?days=0', with(undef)),
    '... or an invalid query');
is $s->value('select count(*) from ai_chat_daily_limits'), 0,
    'none of these requests wrote to the database';
is $s->model_count, 0, '... or called the model';

# -- without a key -----------------------------------------------------------

for my $path ('/health', '/health/ready', '/v1/chat/health') {
	is $s->get($path, with($_))->{status}, 200, "$path needs no key"
	    for undef, 'wrong', 'k3';
	is $s->request('POST', $path, with(undef))->{status}, 405,
	    "$path without a key and with a wrong method: 405";
}

# -- rotation ----------------------------------------------------------------

$s->restart_worker(1, API_SECRET_KEY => 'new-key');
is $s->get('/v1/chat/limits/1', with('new-key'))->{status}, 200,
    'the new key stays valid when the old one is removed';
is_refused($s->get('/v1/chat/limits/1', with('old-key')),
    'the old key is refused');

# -- the administrator's key -------------------------------------------------

sub reset_with ($key)
{
	return $s->post('/v1/chat/reset-limit', { telegram_id => 5 },
	    with($key));
}

is reset_with('new-key')->{status}, 200,
    'without API_ADMIN_KEY any API key may reset';
$s->restart_worker(1, API_ADMIN_KEY => 'boss-key');
is_refused(reset_with('new-key'),
    'with API_ADMIN_KEY an API key may not reset');
is reset_with('boss-key')->{status}, 200, '... the administrator\'s key may';
is_refused(reset_with($_ // undef), 'reset-limit with ' . ($_ // 'no key'))
    for 'boss-ke', 'boss-keys', '', undef, 'boss-key,new-key';
for (@paths) {
	my ($method, $path) = @$_;
	next if $path =~ /reset/;
	is_refused($s->request($method, $path, with('boss-key'),
	    $method eq 'POST' ? (json => { telegram_id => 5, message => 'x' })
	    : ()), "API_ADMIN_KEY does not open $path");
	isnt $s->request($method, $path, with('new-key'))->{status}, 403,
	    '... which an API key opens';
}
is_refused($s->get('/nothing', with('boss-key')),
    '... nor a path that does not exist');
is $s->get('/v1/chat/reset-limit', with('boss-key'))->{status}, 405,
    'with the administrator\'s key a wrong method is a 405';
is_refused($s->get('/v1/chat/reset-limit', with('new-key')),
    '... without it the key is refused first');

# -- from files --------------------------------------------------------------

my %file = (API_SECRET_KEY => "file-key, second\n", API_ADMIN_KEY => "boss \n\n",
    DATABASE_URL => $s->db_url . "\n", OPENAI_API_KEY => 'openai-from-file');
for my $name (sort keys %file) {
	my $path = $s->dir . "/$name";
	AIChat::Proc::spew($path, $file{$name}, 0600);
	delete $s->stack->settings->{$name};
	$s->stack->settings->{"${name}_FILE"} = $path;
}
AIChat::Proc::spew($s->dir . '/API_ADMIN_KEY', "boss-file\n", 0600);
$s->restart_worker(1);
is $s->get('/v1/chat/limits/1', with($_))->{status}, 200,
    "'$_' comes from a file, without its newline" for qw(file-key second);
is_refused($s->get('/v1/chat/limits/1', with('new-key')),
    'the earlier key is refused');
is reset_with('boss-file')->{status}, 200, 'so does the administrator\'s key';
my $got = $s->send(telegram_id => 9, with('second'),
    message => 'Вопрос [[id=file]]');
is $got->{status}, 200,
    'so do the URL of the database and the key of the model';
is $s->model_last('file')->{headers}{authorization}, 'Bearer openai-from-file',
    '... which is sent as it is in the file';

done_testing;
