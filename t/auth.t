# Who may do what: the keys, and that they are asked for before anything else.

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
	    "$what opens nothing");
}

is $s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nx-api-key:   k3  \r\n\r\n")->{status}, 200,
    'case of the name and blanks around the value do not count';
is_refused($s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nX-API-KEY: wrong\r\nX-API-KEY: k3\r\n\r\n"),
    'a good key behind a wrong one');
is_refused($s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nX_API_KEY: k3\r\n\r\n"),
    'a name with underscores');
is_refused($s->raw_request("GET /v1/chat/limits/1 HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nX-API-KEY: k3\xd0\xba\r\n\r\n"), 'high bytes');
for (map { ([ $_, 'k3' ], [ 'k3', $_ ]) } 'wrong', 'k3') {
	my ($status) = AIChat::FastCGI::request($s->stack->socket_of(1),
	    { DOCUMENT_URI => '/v1/chat/limits/1', HTTP_X_API_KEY => $_ });
	is $status, 403, "a worker that gets two keys, @$_: none counts";
}
is_refused($s->get('/v1/chat/limits/1?X-API-KEY=k3&api_key=k3', with(undef)),
    'a key in the query');
is_refused($s->get('/v1/chat/limits/1', headers => { 'X-API-KEY' => undef,
    Authorization => 'Bearer k3' }), 'a bearer');

# -- before all else ---------------------------------------------------------

for (@paths) {
	my ($method, $path) = @$_;
	is_refused($s->request($method, $path, with('wrong')),
	    "$method $path asks for the key");
	is_refused($s->request($method, $path, with(undef),
	    $method eq 'POST' ? (content => '{broken') : ()),
	    '... before it looks at the body');
	is_refused($s->request($method eq 'GET' ? 'POST' : 'GET', $path,
	    with(undef)), '... and before it looks at the method');
}
is_refused($s->get($_, with('wrong')), "a path that is not there asks for it: $_")
    for '/', '/nothing', '/v1', '/v1/chat', '/v1/chat/send/', '/docs',
	'/health/', '/health/live', '/healthy', '/Health';
is_refused($s->get('/v1/chat/limits/nobody', with(undef)),
    'so does one with a broken parameter');
is_refused($s->get('/v1/chat/stats/1?days=0', with(undef)), '... or a broken query');
is $s->value('select count(*) from ai_chat_daily_limits'), 0,
    'nothing was written for any of them';
is $s->model_count, 0, 'and the model was not asked';

# -- without a key -----------------------------------------------------------

for my $path ('/health', '/health/ready', '/v1/chat/health') {
	is $s->get($path, with($_))->{status}, 200, "$path asks for no key"
	    for undef, 'wrong', 'k3';
	is $s->request('POST', $path, with(undef))->{status}, 405,
	    "$path tells everybody which method it has";
}

# -- rotation ----------------------------------------------------------------

$s->restart_worker(1, API_SECRET_KEY => 'new-key');
is $s->get('/v1/chat/limits/1', with('new-key'))->{status}, 200,
    'the new key stays good when the old one goes';
is_refused($s->get('/v1/chat/limits/1', with('old-key')), 'the old one is out');

# -- the administrator's key -------------------------------------------------

sub reset_with ($key)
{
	return $s->post('/v1/chat/reset-limit', { telegram_id => 5 },
	    with($key));
}

is reset_with('new-key')->{status}, 200,
    'without API_ADMIN_KEY any key resets';
$s->restart_worker(1, API_ADMIN_KEY => 'boss-key');
is_refused(reset_with('new-key'), 'with it, not the callers\' key');
is reset_with('boss-key')->{status}, 200, '... but that one';
is_refused(reset_with($_ // undef), 'reset-limit with ' . ($_ // 'no key'))
    for 'boss-ke', 'boss-keys', '', undef, 'boss-key,new-key';
for (@paths) {
	my ($method, $path) = @$_;
	next if $path =~ /reset/;
	is_refused($s->request($method, $path, with('boss-key'),
	    $method eq 'POST' ? (json => { telegram_id => 5, message => 'x' })
	    : ()), "API_ADMIN_KEY does not open $path");
	isnt $s->request($method, $path, with('new-key'))->{status}, 403,
	    '... which the callers\' key does';
}
is_refused($s->get('/nothing', with('boss-key')), '... nor what is not there');
is $s->get('/v1/chat/reset-limit', with('boss-key'))->{status}, 405,
    'the key comes before the method for the administrator too';
is_refused($s->get('/v1/chat/reset-limit', with('new-key')),
    '... and for the callers');

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
    'the earlier key is gone');
is reset_with('boss-file')->{status}, 200, 'so does the administrator\'s';
my $got = $s->send(telegram_id => 9, with('second'),
    message => 'Вопрос [[id=file]]');
is $got->{status}, 200, 'so do the database\'s address and the model\'s key';
is $s->model_last('file')->{headers}{authorization}, 'Bearer openai-from-file',
    '... as it is in the file';

done_testing;
