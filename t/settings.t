# The settings of a worker, and its messages about them before it serves
# requests.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew);
use AIChat::Stack;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 0, model => 0);
my $TOP = AIChat::Stack::top();
my $NOWHERE = 'postgresql://u:canary-password@127.0.0.1:1/db?connect_timeout=2';
my %secret = (API_SECRET_KEY => 'canary-caller', API_ADMIN_KEY => 'canary-admin',
    OPENAI_API_KEY => 'canary-openai');
my %SERVER = (SERVER_API_KEY => 'canary-server');
my %FALLBACK = (OPENAI_FALLBACK_API_KEY => 'canary-fallback');
my $REDIS = 'redis://u:canary%40@127.0.0.1:1/2';
my $files = 0;

# Runs the worker with these settings in addition to valid ones; an undef
# removes one. Returns its exit status and all output.
sub worker ($args, %settings)
{
	return program('ai-chat-worker', { %secret,
	    DATABASE_URL => $s->db_url,
	    AI_CHAT_PROMPT_FILE => "$TOP/app/worker/prompt.txt", %settings }, @$args);
}

sub file ($text)
{
	my $path = $s->dir . '/file-' . ++$files;
	spew($path, $text, 0600);
	return $path;
}

# A directory of credentials, as systemd creates it.
sub credentials (%content)
{
	my $dir = $s->dir . '/credentials-' . ++$files;
	mkdir $dir or die "$dir: $!\n";
	spew("$dir/$_", $content{$_}, 0600) for keys %content;
	return $dir;
}

# Refused before anything else: status 2, one line, which names the setting. A
# real start is tried once for each name, --check every time.
my %tried;
sub is_refused ($title, $name, %settings)
{
	subtest $title => sub {
		for my $args ([ '--check' ], $tried{$name}++ ? () : []) {
			my ($status, $text) = worker($args, %settings);
			is $status, 2, "@$args exits with 2";
			like $text, qr/\b\Q$name\E\b/, '... names it';
			is scalar(() = $text =~ /\n/g), 1, '... in one line';
			unlike $text, qr/canary/, '... with no secret in it';
		}
	};
}

sub is_taken ($title, %settings)
{
	my ($status, $text) = worker([ '--check' ], %settings);
	is $status, 0, $title or diag $text;
}

# -- flags -------------------------------------------------------------------

{
	my ($status, $text) = worker([ '--check' ]);
	is $status, 0, 'good settings and a good database pass --check';
	like $text, qr/\Aok\b.*\n\z/, '... in a line';
	my @bare = map { $_ => undef } %secret, 'DATABASE_URL';
	($status, $text) = worker([ '--version' ], @bare);
	is $status, 0, '--version needs no settings';
	is $text, "ai-chat-worker 1.0.0\n", '... and prints it';
	($status, $text) = worker([ '--help' ], @bare);
	is $status, 0, '--help needs no settings';
	like $text, qr/$_/, "... and mentions $_"
	    for '--check', '--version', 'spawn-fcgi', 'API_SECRET_KEY';
	($status, $text) = worker([ $_ ]), is $status, 2, "$_ is refused"
	    for '--nonsense', 'nonsense';
	($status, $text) = worker([]);
	is $status, 2, 'standard input that is no listening socket is refused';
	like $text, qr/socket/, '... with a message';
}

# -- refusals ----------------------------------------------------------------

is_refused("without $_", $_, $_ => undef)
    for qw(API_SECRET_KEY DATABASE_URL OPENAI_API_KEY);
is_refused("an empty $_", $_, $_ => '')
    for qw(API_SECRET_KEY DATABASE_URL OPENAI_API_KEY);

# A carriage return, a byte order mark, U+200B, a no-break space, only blanks;
# and what a server refuses: a blank inside, a letter that is not ASCII.
my @bad_keys = ("canary\r", "\xef\xbb\xbfcanary", "\xe2\x80\x8bcanary",
    "canary\xc2\xa0", ' ');
my @bad_sent = (@bad_keys, 'canary x', "canary\xd0\xba");
my %bad = (
	OPENAI_TEMPERATURE => [ '2.1', '-0.1', 'warm', '0,7', 'nan', '1e1', ' 1',
	    '0x1' ],
	AI_CHAT_DB_SCHEMA => [ 'Public', 'a b', 'a"b', 'a,b', '1a', 'pg_temp' ],
	OPENAI_MAX_TOKENS => [ 0, -1, '1.5', 'many', '1e3', '99999999999999' ],
	OPENAI_BASE_URL => [ 'api.openai.com', 'ftp://x/v1', 'https://',
	    'https:///v1', 'https://x/v1?key=y', 'https://x/ v1',
	    "https://x/v1\r", 'https://x/v1/chat/completions',
	    'https://u:canary@x/v1/chat/completions/' ],
	OPENAI_FALLBACK_BASE_URL => [ 'api.openai.com', 'https://x/v1?key=y',
	    'https://x/v1/chat/completions' ],
	OPENAI_FALLBACK_API_KEY => [ "canary\r\nX: y", @bad_sent ],
	(map { ("OPENAI_${_}PROXY" => [ 'canary', 'proxy:3128', 'ftp://p:1',
	    'socks4://p:1', 'http://', 'http://u:canary@', 'http://p:0',
	    'http://p:65536', 'http://p:', 'http://u:canary@p:1/x',
	    'http://u:canary@p:1?x', 'http://u:canary@x@p:1',
	    'http://u:canary%@p:1', "http://u:canary\@p:1\r", ' http://p:1' ],
	  "OPENAI_${_}CA_FILE" => [ '/nowhere/ca.pem', '/', '/dev/zero', file(''),
	    file('no certificate'), file("-----BEGIN CERTIFICATE-----\nx\n"
	    . "-----END CERTIFICATE-----\n") ],
	  "OPENAI_${_}AUTH" => [ 'Bearer', 'basic', 'api_key', 'canary' ],
	  "OPENAI_${_}AUTH_URL" => [ 'canary', 'https://', 'https://x/?canary' ],
	  "OPENAI_${_}AUTH_SCOPE" => [ "canary\n" ],
	  # With a fallback model, so that its files are read.
	  "OPENAI_${_}HEADERS_FILE" => [ '/nowhere/headers', '/', '/dev/zero',
	    map { file($_) } "Authorization: canary\n", "host: canary\n",
	    "Content-Type: canary\n", "Connection: canary\n",
	    "Proxy-X: canary\n", "canary\n", "X: canary\r\n",
	    "X: canary\0canary\n", "X\xc2\xa0: canary\n", "X:\n",
	    "X: canary\xff\n", "X: canary\n" x 65, "X: canary" . 'x' x 16384 ],
	  "OPENAI_${_}EXTRA_BODY_FILE" => [ '/nowhere/extra', '/',
	    map { file($_) } '', '[]', 'canary', '{"messages":[]}',
	    '{"model":"canary"}', '{"stream":true}', '{"n":2}', '{"a":1}{}',
	    '{"a":"' . 'x' x 65536 . '"}' ]) } '', 'FALLBACK_'),
	SERVER_HOST => [ 'server:8000', 'ftp://x', 'http://', 'http://x/?a=b' ],
	SERVER_API_KEY => [ "canary\r\nX: y", @bad_sent ],
	SERVER_CONTEXT_PATHS => [ 'x/{telegram_id}', '/x', ',', '/{telegram}',
	    '/{telegram_id}#a', '/{telegram_id},/b', "/\xd1\x8b{telegram_id}",
	    join ',', ('/{telegram_id}') x 9 ],
	AI_CHAT_SERVER_TIMEOUT_MS => [ 49, 10001, 'x', '0.8' ],
	API_ADMIN_KEY => [ @bad_keys ],
	AI_CHAT_USER_CONTEXT_CHARS => [ 0, 199, 16001, 'all' ],
	AI_CHAT_BREAKER_FAILURES => [ -1, 10001, 'never' ],
	AI_CHAT_BREAKER_OPEN_MS => [ 0, 99, 600001, '10s' ],
	AI_CHAT_RETRY_FLOOR => [ -1, 1000001, 'x', '1.5' ],
	AI_CHAT_ADDRESS => [ 'localhost', '*', '127.0.0.1:9001', '[::1]', '10.0.0',
	    '127.0.0.1,', ',', '127.0.0.1;::1', '::1::', '1.2.3.4 ::1',
	    join ',', ('::1') x 17 ],
	AI_CHAT_PORT => [ 0, 65536, 'http', -1 ],
	AI_CHAT_METRICS_PORT => [ 0, 65536, 'http', -1 ],
	(map { ("AI_CHAT_TLS_$_" => [ 'cert.pem', '/a b', '/a;b', '/a"b', '/$a',
	    "/a\n", "/\xd1\x8b" ]) } qw(CERTIFICATE KEY)),
	AI_CHAT_DAILY_LIMIT => [ -1, '30.0', 'all', '30 ' ],
	AI_CHAT_TIMEZONE => [ 'Mars/Olympus', 'UTC+3', 'MSK-3MSD', '../UTC',
	    '/etc/passwd', 'Europe', 'europe/moskow' ],
	AI_CHAT_CONTEXT_MESSAGES => [ 51, -1, 'five' ],
	AI_CHAT_CONTEXT_CHARS => [ 1000001, -1, '12k' ],
	AI_CHAT_CONTEXT_TTL_S => [ 31536001, -1, '1h' ],
	AI_CHAT_ANSWER_CACHE_S => [ 2592001, -1, '1h' ],
	AI_CHAT_ANSWER_FORMAT => [ 'html', 'Plain', 'telegram_html', '1' ],
	AI_CHAT_ANSWER_RESERVE => [ -1, 2049, 'all' ],
	AI_CHAT_DEADLINE_MS => [ 0, 999, 600001, '55s' ],
	AI_CHAT_THREADS => [ 0, 10001, '64x' ],
	AI_CHAT_DB_POOL => [ 0, 'x' ],
	AI_CHAT_DB_TIMEOUT_MS => [ 0, 99, 5001, 'x' ],
	LOG_LEVEL => [ 'verbose', 'INFO ', '3', 'info,debug' ],
	API_SECRET_KEY => [ ',', 'canary,', ',canary', 'canary,,canary',
	    'canary, ,canary', ' ', "canary\nX: y", @bad_keys ],
	OPENAI_API_KEY => [ "canary\r\nX: y", @bad_sent ],
	DATABASE_URL => [ 'canary', 'postgresql://u:canary%zz@h/d',
	    'postgresql://u:canary@h/d?nothing=canary', 'postgresql://u:canary@[::1/db',
	    'mysql://u:canary@h/d' ],
	REDIS_URL => [ 'canary', 'redis:canary', 'rediss://:canary@h',
	    'http://:canary@h', 'redis://:canary@', 'redis://canary@h',
	    'redis://:canary@h:0', 'redis://:canary@h/canary',
	    'redis://:canary@h/0?canary', 'redis://:canary%@h',
	    'redis://:canary@x@h', 'unix://canary', "redis://h\ncanary" ],
	AI_CHAT_PROMPT_FILE => [ '/nowhere/prompt.txt', '/', file(''),
	    file(" \n\t\xc2\xa0\n"), file("rules \xff"), file("a\0b"),
	    file('x' x 2_000_000) ],
);
for my $name (sort keys %bad) {
	for my $value (@{ $bad{$name} }) {
		my $brief = length $value > 40 ? substr $value, 0, 40 : $value;
		$brief =~ s/\s/ /g;
		is_refused("$name $brief", $name, $name => $value,
		    $name =~ /FALLBACK.*(?:HEADERS|BODY)/
			? (OPENAI_FALLBACK_MODEL => 'm') : ());
	}
}

is_refused("$_->[0] without $_->[1]", $_->[1], $_->[0] => '/nowhere/pem')
    for [ qw(AI_CHAT_TLS_KEY AI_CHAT_TLS_CERTIFICATE) ],
    [ qw(AI_CHAT_TLS_CERTIFICATE AI_CHAT_TLS_KEY) ];

is_refused("$_ is unknown", $_, $_ => 'canary')
    for qw(AI_CHAT_TREADS AI_CHAT_VAR AI_CHAT_ AI_CHAT_DAILY_LIMITS
    AI_CHAT_daily_limit AI_CHAT_THREADS_FILE AI_CHAT_OPENAI_API_KEY);
is_refused('... also when it is empty', 'AI_CHAT_NEW', AI_CHAT_NEW => '');
for ([ AI_CHAT_TREADS => 'AI_CHAT_THREADS' ],
    [ AI_CHAT_DALIY_LIMIT => 'AI_CHAT_DAILY_LIMIT' ],
    [ AI_CHAT_OPENAI_MODEL => 'OPENAI_MODEL' ], [ AI_CHAT_QUOTA => undef ]) {
	my ($name, $near) = @$_;
	my ($status, $text) = worker([ '--check' ], $name => 1);
	like $text, $near ? qr/$name is not a setting; the nearest name is $near"/
	    : qr/$name is not a setting"/, "$name: " . ($near // 'no suggestion');
}

for (qw(OPENAI_API_KEY DATABASE_URL AI_CHAT_THREADS LOG_LEVEL)) {
	is_refused("$_ in quotes", $_, $_ => q("canary"));
	my ($status, $text) = worker([ '--check' ], $_ => q('canary'));
	like $text, qr/in quotes, which are part of the value/,
	    '... with the reason';
}
is_refused('... also in a file', 'OPENAI_API_KEY', OPENAI_API_KEY => undef,
    OPENAI_API_KEY_FILE => file(qq("canary"\n)));
is_taken('a key of callers in quotes, which they choose',
    API_SECRET_KEY => '"canary"');

for my $name (qw(API_SECRET_KEY API_ADMIN_KEY DATABASE_URL OPENAI_API_KEY
    OPENAI_FALLBACK_API_KEY OPENAI_PROXY OPENAI_FALLBACK_PROXY REDIS_URL
    SERVER_API_KEY)) {
	my $value = $secret{$name} // $FALLBACK{$name} // $SERVER{$name}
	    // ($name eq 'REDIS_URL' ? $REDIS
		: $name =~ /PROXY/ ? 'http://u:canary@p:1' : $s->db_url);
	is_refused("$name in both forms", "${name}_FILE", $name => $value,
	    "${name}_FILE" => file($value));
	is_refused("${name}_FILE without such a file", "${name}_FILE",
	    $name => undef, "${name}_FILE" => '/nowhere/key');
	is_refused("${name}_FILE that is empty", $name, $name => undef,
	    "${name}_FILE" => file($_)) for '', "\n";
	is_refused("${name}_FILE with two lines", $name, $name => undef,
	    "${name}_FILE" => file("canary\ncanary\n"));
	is_refused("${name}_FILE with a NUL", "${name}_FILE", $name => undef,
	    "${name}_FILE" => file("canary\0canary"));
	is_taken("${name}_FILE with a newline at its end", $name => undef,
	    "${name}_FILE" => file("$value\n"));
}

is_refused('one key for callers and the administrator',
    'API_ADMIN_KEY', API_SECRET_KEY => 'canary-a, canary-b ,canary-c',
    API_ADMIN_KEY => 'canary-b');

is_refused('a fallback server without a key of its own',
    'OPENAI_FALLBACK_API_KEY', OPENAI_FALLBACK_BASE_URL => 'https://x/v1');
is_refused('... with an empty one', 'OPENAI_FALLBACK_API_KEY',
    OPENAI_FALLBACK_BASE_URL => 'https://x/v1', OPENAI_FALLBACK_API_KEY => '');
is_taken('a fallback server with a key', %FALLBACK,
    OPENAI_FALLBACK_BASE_URL => 'https://x/v1');
is_taken('only another key', %FALLBACK);
is_taken('only another model', OPENAI_FALLBACK_MODEL => 'm');
is_taken('three empty settings', map { $_ => '' } qw(OPENAI_FALLBACK_API_KEY
    OPENAI_FALLBACK_BASE_URL OPENAI_FALLBACK_MODEL));

is_refused('SERVER_HOST without a key', 'SERVER_API_KEY',
    SERVER_HOST => 'http://x:8000');
is_refused('... with an empty one', 'SERVER_API_KEY',
    SERVER_HOST => 'http://x:8000', SERVER_API_KEY => '');
{
	my ($status, $text) = worker([ '--check' ], SERVER_HOST => 'http://x:8000');
	like $text, qr/for wb_assist: .* API_SECRET_KEY/,
	    '... with a key';
}
is_taken('SERVER_HOST with a key', %SERVER, SERVER_HOST => 'http://x:8000');
is_taken("SERVER_PATHS: $_", %SERVER, SERVER_HOST => 'http://x:8000',
    SERVER_CONTEXT_PATHS => $_) for '/{telegram_id}',
    '/a?id={telegram_id}&x=1,/b/{telegram_id}', "/a{telegram_id} /b{telegram_id}\t",
    join ',', ('/{telegram_id}') x 8;
is_taken('only a key, because it has no effect', %SERVER);

for ([ 2000, 1000 ], [ 6999, 3000 ], [ 10999, 5000 ]) {
	my ($deadline, $db) = @$_;
	is_refused("a deadline of $deadline ms, $db for the database",
	    'AI_CHAT_DEADLINE_MS', AI_CHAT_DEADLINE_MS => $deadline,
	    AI_CHAT_DB_TIMEOUT_MS => $db);
}

{
	my ($status, $text) = worker([ '--check' ],
	    AI_CHAT_DEADLINE_MS => 7000, AI_CHAT_DB_TIMEOUT_MS => 3100);
	like $text, qr/is 7000, but must be at least 7400 = 2 x 3100 \(AI_CHAT_DB_TIMEOUT_MS, .*\) \+ 1000 .* \+ 200 /,
	    '... as a sum';
}

# -- valid values ------------------------------------------------------------

is_taken("$_->[0] $_->[1]", @$_) for [ OPENAI_TEMPERATURE => 0 ],
    [ OPENAI_TEMPERATURE => 2 ], [ OPENAI_TEMPERATURE => '1.25' ],
    [ AI_CHAT_CONTEXT_MESSAGES => 0 ], [ AI_CHAT_CONTEXT_MESSAGES => 50 ],
    [ AI_CHAT_DAILY_LIMIT => 1 ], [ AI_CHAT_THREADS => 1 ],
    [ AI_CHAT_RETRY_FLOOR => 0 ], [ AI_CHAT_BREAKER_FAILURES => 0 ],
    [ AI_CHAT_BREAKER_OPEN_MS => 100 ],
    [ AI_CHAT_USER_CONTEXT_CHARS => 200 ],
    [ AI_CHAT_ANSWER_FORMAT => 'plain' ], [ AI_CHAT_DAILY_LIMIT => 0 ],
    [ AI_CHAT_ANSWER_RESERVE => 0 ], [ AI_CHAT_ANSWER_RESERVE => 2048 ],
    [ AI_CHAT_PORT => 65535 ], [ AI_CHAT_PORT => 9002 ],
    [ AI_CHAT_ADDRESS => '0.0.0.0, ::' ], [ AI_CHAT_ADDRESS => '' ],
    [ AI_CHAT_TLS_CERTIFICATE => '/nowhere/a', AI_CHAT_TLS_KEY => '/nowhere/b' ],
    [ AI_CHAT_MIGRATE_URL => 'whatever, which only ai-chat-migrate reads' ],
    [ OPENAI_BASE_URL => 'http://[::1]:8080/v1/' ],
    [ AI_CHAT_TIMEZONE => 'America/Argentina/Buenos_Aires' ],
    [ AI_CHAT_TIMEZONE => 'Etc/GMT+12' ], [ LOG_LEVEL => 'error' ],
    [ LOG_LEVEL => 'debug' ], [ LOG_LEVEL => 'INFO' ],
    [ LOG_LEVEL => 'Warning' ], [ LOG_LEVEL => 'CRITICAL' ], [ API_SECRET_KEY => ' a , b ' ],
    [ REDIS_URL => '' ];
is_taken("the proxy $_", OPENAI_PROXY => $_, OPENAI_FALLBACK_PROXY => $_)
    for qw(http://p:3128 https://u:p%40@p.example:443 socks5://127.0.0.1:1080/
    socks5h://u:p@[::1]:1080 http://p);
is_taken('no proxy for the fallback', OPENAI_FALLBACK_PROXY => 'direct');
is_refused('... a word that is invalid for the primary', 'OPENAI_PROXY',
    OPENAI_PROXY => 'direct');
{
	my $root = $s->dir . '/root.pem';
	run([ qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
	    -nodes -keyout /dev/null -subj /CN=root -out), $root ]);
	is_taken('files of certificates', OPENAI_CA_FILE => $root,
	    OPENAI_FALLBACK_CA_FILE => $root);
}
is_taken("a key that is sent as $_", OPENAI_AUTH => $_,
    OPENAI_AUTH_URL => 'http://auth:9443/oauth', OPENAI_AUTH_SCOPE => 'x')
    for qw(bearer api-key gigachat);
is_refused('the header api-key, which the worker sets', 'OPENAI_HEADERS_FILE',
    OPENAI_AUTH => 'api-key', OPENAI_HEADERS_FILE => file('API-Key: canary'));
is_taken('... which it does not set with gigachat', OPENAI_AUTH => 'gigachat',
    OPENAI_HEADERS_FILE => file('API-Key: canary'));
is_taken('headers and members', OPENAI_HEADERS_FILE =>
    file("# for the model\n\nOpenAI-Project: canary\n"),
    OPENAI_EXTRA_BODY_FILE => file('{"top_p": 0.9, "temperature": 1}'));
is_refused('headers in both forms', 'OPENAI_HEADERS_FILE', OPENAI_HEADERS_FILE =>
    file(''), CREDENTIALS_DIRECTORY => credentials(openai_headers => "X: canary\n"));
is_refused('headers that are a credential', 'OPENAI_HEADERS_FILE',
    CREDENTIALS_DIRECTORY => credentials(openai_headers => "Host: canary\n"));
is_taken('... which is valid', CREDENTIALS_DIRECTORY =>
    credentials(openai_headers => "X: canary\n", openai_extra_body => "{}\n"));
is_taken('... or an empty line, which means no headers', OPENAI_HEADERS_FILE =>
    file('X: canary'), CREDENTIALS_DIRECTORY => credentials(
	map { $_ => "\n" } qw(openai_headers openai_extra_body openai_proxy)));
is_taken('blanks around a key, which are removed', OPENAI_API_KEY => ' canary ',
    API_ADMIN_KEY => "\tcanary-admin ");
is_taken('an empty optional setting', API_ADMIN_KEY => '',
    OPENAI_PROXY => '', OPENAI_MODEL => '', AI_CHAT_TIMEZONE => '');
is_taken('other names are other programs\'', REDIS_HOST => 'x',
    AI_CHATTY => 'x', SERVER_PORT => 'x', LOG_FILE => 'x');

# The warning about settings: the names in it, without the values.
sub warning (%settings)
{
	my ($status, $text) = worker([ '--check' ], %settings);
	is $status, 0, join(' ', sort keys %settings) . ': taken' or diag $text;
	unlike $text, qr/canary/, '... and not quoted';
	return $text =~ /level=warn event=settings text="these (.*?)"/ ? $1 : '';
}
# The order is that of the environment.
is join(', ', sort split /, /, warning(OPENAI_MODLE => 'canary',
    OPENAI_ORG_ID => 'canary') =~ s/^(.*): //r),
    'OPENAI_MODLE (the nearest is OPENAI_MODEL), OPENAI_ORG_ID',
    '... unknown names of OPENAI_';
is warning(OPENAI_MODEL_FILE => 'canary'), 'environment variables have no '
    . 'effect: OPENAI_MODEL_FILE', '... only secrets can be files';
is warning($_->[0] => 'canary'), 'environment variables have no effect: '
    . "$_->[0] (the nearest is $_->[1])", '... one character too much or wrong'
    for [ REDIS_URI => 'REDIS_URL' ], [ DATABASE_URLS => 'DATABASE_URL' ],
    [ LOGLEVEL => 'LOG_LEVEL' ], [ API_SERCET_KEY => 'API_SECRET_KEY' ];
is warning(REDIS_HOST => 'canary', OPENAI_PROXY_FILE => file('http://p:1')), '',
    '... nothing else';

# Settings that have no effect because of another one.
my @idle = ([ AI_CHAT_ANSWER_CACHE_S => 60, 'REDIS_URL', REDIS_URL => $REDIS ],
    [ OPENAI_AUTH_URL => 'https://canary', 'OPENAI_AUTH=gigachat',
	OPENAI_AUTH => 'gigachat' ],
    [ OPENAI_AUTH_SCOPE => 'canary', 'OPENAI_AUTH=gigachat',
	OPENAI_AUTH => 'gigachat' ],
    [ OPENAI_FALLBACK_PROXY => 'http://canary', 'OPENAI_FALLBACK_MODEL',
	OPENAI_FALLBACK_MODEL => 'm' ],
    [ OPENAI_FALLBACK_AUTH => 'api-key', 'OPENAI_FALLBACK_MODEL', %FALLBACK ],
    [ OPENAI_FALLBACK_AUTH_SCOPE => 'canary', 'OPENAI_FALLBACK_AUTH=gigachat',
	OPENAI_AUTH => 'gigachat' ],
    [ SERVER_API_KEY => 'canary', 'SERVER_HOST', SERVER_HOST => 'http://x' ],
    [ AI_CHAT_SERVER_TIMEOUT_MS => 900, 'SERVER_HOST', %SERVER,
	SERVER_HOST => 'http://x' ],
    [ AI_CHAT_BREAKER_OPEN_MS => 900, 'AI_CHAT_BREAKER_FAILURES above 0' ],
    [ AI_CHAT_CONTEXT_CHARS => 900, 'AI_CHAT_CONTEXT_MESSAGES above 0' ],
    [ AI_CHAT_CONTEXT_TTL_S => 900, 'AI_CHAT_CONTEXT_MESSAGES above 0' ]);
for (@idle) {
	my ($name, $value, $needs, %with) = @$_;
	my %off = $needs =~ /^(\w+) above 0/ ? ($1 => 0) : ();
	is warning($name => $value, %off),
	    "settings have no effect: $name (needs $needs)", "... $name";
	is warning($name => $value, %with), '', '... which then has one';
}
is warning(AI_CHAT_ANSWER_CACHE_S => 0, OPENAI_FALLBACK_PROXY => ''), '',
    '... a setting that is off or empty is not reported';

# On a host of the package a message has the file to change. The directory of
# credentials shows that the program was started there.
{
	my $credentials = '/etc/ai-chat/credentials';
	my $settings = '/etc/ai-chat/ai-chat.env';
	my $unit = '/run/credentials/ai-chat-worker@1.service';
	my $where = sub (%set) {
		my ($status, $text) = worker([ '--check' ],
		    CREDENTIALS_DIRECTORY => $unit, %set);
		is $status, 2, 'refused: ' . join ' ', sort keys %set;
		my ($message) = $text =~ /event=start text="(.*)"\n/;
		return $message =~ /; ((?:correct|set|they)\b.*)/ ? $1 : $message;
	};
	is $where->(@$_), "correct it in $settings", '... where it is set'
	    for [ AI_CHAT_THREADS => 'x' ], [ AI_CHAT_TREADS => 1 ],
	    [ OPENAI_PROXY => 'canary' ], [ AI_CHAT_TLS_KEY => '/x' ],
	    [ AI_CHAT_DEADLINE_MS => 1000 ], [ REDIS_URL => 'canary' ],
	    [ AI_CHAT_PROMPT_FILE => '/nowhere' ],
	    [ OPENAI_HEADERS_FILE => '/nowhere' ], [ DATABASE_URL => 'canary' ],
	    [ API_ADMIN_KEY => 'canary-caller' ],
	    [ SERVER_HOST => 'http://x' ];
	is $where->(OPENAI_API_KEY => undef),
	    "set it in $settings or $credentials/openai_api_key",
	    '... where it can be set';
	my $file = file("canary\r\n");
	is $where->(OPENAI_API_KEY => undef, OPENAI_API_KEY_FILE => $file),
	    "correct it in $file", '... the file of the secret';
	is $where->(OPENAI_API_KEY => undef, OPENAI_API_KEY_FILE => '/nowhere'),
	    "correct it in $settings", '... or where that is named';
	is $where->(CREDENTIALS_DIRECTORY => $credentials, AI_CHAT_PORT => 0),
	    "correct it in $settings", '... from ai-chatctl, too';
	unlike $where->(CREDENTIALS_DIRECTORY => credentials(), LOG_LEVEL => 'x'),
	    qr{/etc/}, '... and not for credentials of another service';
	unlike $where->(CREDENTIALS_DIRECTORY => undef, LOG_LEVEL => 'x'),
	    qr{/etc/}, '... and not elsewhere';
	my ($status, $text) = worker([ '--check' ],
	    CREDENTIALS_DIRECTORY => $unit, OPENAI_ORG => 1,
	    SERVER_API_KEY => 'x');
	is scalar(() = $text =~ /they are in \Q$settings\E"/g), 2,
	    'the warnings have the file as well';
	($status, $text) = program('ai-chat-migrate',
	    { CREDENTIALS_DIRECTORY => $unit });
	like $text, qr{DATABASE_URL is not set; set it in \Q$settings\E},
	    'and so have the messages of ai-chat-migrate';
}
{
	my %theirs = (DAILY_LIMIT => 30, RAG_USAGE => 5, OPENAI_TIMEOUT => 30,
	    OPENAI_SYSTEM_PROMPT => 'canary', COMET_API_KEY => 'canary');
	is_taken('settings of the earlier service', %theirs);
	my ($status, $text) = worker([ '--check' ], %theirs);
	my @lines = $text =~ /^(.*event=settings .*)$/mg;
	is scalar @lines, 1, '... are named in one line';
	like $lines[0], qr/level=warn .*variables have no effect: DAILY_LIMIT \(here AI_CHAT_DAILY_LIMIT\), RAG_USAGE .*, OPENAI_SYSTEM_PROMPT .*, OPENAI_TIMEOUT .*, COMET_API_KEY \(here OPENAI_API_KEY\)"/,
	    '... with the new names';
	unlike $text, qr/canary/, '... and not their values';
	unlike((worker([ '--check' ]))[1], qr/event=settings/,
	    'without them there is no such line');
}
is_taken('prompt file with an emoji', AI_CHAT_PROMPT_FILE => do {
	my $text = "Правила 📦\n";
	utf8::encode($text);
	file($text);
});

# -- the database ------------------------------------------------------------

{
	my ($status, $text) = worker([ '--check' ], DATABASE_URL => $NOWHERE);
	is $status, 1, 'a database that is down is no invalid setting';
	like $text, qr/database/, '... and is named';
	like $text, qr/refused/, '... with the reason';
	unlike $text, qr/canary/, '... and no password';

	my $empty = AIChat::Test->new(workers => 0, model => 0, migrate => 0);
	($status, $text) = worker([ '--check' ],
	    DATABASE_URL => $empty->db_url);
	is $status, 1, 'a database that was not migrated is no invalid setting';
	like $text, qr/ai-chat-migrate/, '... and the message says what to do';

	my $url = $s->db_url . '&options=-cdefault_transaction_read_only%3Don';
	($status, $text) = worker([ '--check' ], DATABASE_URL => $url);
	is $status, 1, 'a read-only database is no invalid setting';
	like $text, qr/read-only/, '... with a message';
}

# -- Redis -------------------------------------------------------------------

for my $url ($REDIS, 'unix:///nowhere/redis.sock?db=1') {
	my ($status, $text) = worker([ '--check' ], REDIS_URL => $url);
	is $status, 0, 'with a Redis that is down --check succeeds';
	like $text, qr/level=warn event=cache .*(?:refused|No such file)/,
	    '... with a warning and the reason';
	is scalar(() = $text =~ /\n/g), 2, '... in one line';
	unlike $text, qr/canary/, '... and no password';
}

# -- the documents about the settings ----------------------------------------

# The names and defaults of the contract.
my %default = (API_SECRET_KEY => '', API_ADMIN_KEY => '', DATABASE_URL => '',
    OPENAI_API_KEY => '', OPENAI_BASE_URL => 'https://api.openai.com/v1',
    OPENAI_MODEL => 'gpt-4o-mini', OPENAI_TEMPERATURE => '0.7',
    OPENAI_MAX_TOKENS => '1000', OPENAI_PROXY => '', OPENAI_AUTH => 'bearer',
    OPENAI_AUTH_URL => 'https://ngw.devices.sberbank.ru:9443/api/v2/oauth',
    OPENAI_AUTH_SCOPE => 'GIGACHAT_API_PERS', OPENAI_FALLBACK_AUTH => '',
    OPENAI_FALLBACK_AUTH_URL => '', OPENAI_FALLBACK_AUTH_SCOPE => '',
    OPENAI_CA_FILE => '', OPENAI_HEADERS_FILE => '', OPENAI_EXTRA_BODY_FILE => '',
    OPENAI_FALLBACK_API_KEY => '', OPENAI_FALLBACK_BASE_URL => '',
    OPENAI_FALLBACK_PROXY => '', OPENAI_FALLBACK_CA_FILE => '',
    OPENAI_FALLBACK_HEADERS_FILE => '', OPENAI_FALLBACK_EXTRA_BODY_FILE => '',
    REDIS_URL => '',
    OPENAI_FALLBACK_MODEL => '', AI_CHAT_BREAKER_FAILURES => '20', AI_CHAT_BREAKER_OPEN_MS => '10000',
    AI_CHAT_RETRY_FLOOR => '10', SERVER_HOST => '', SERVER_API_KEY => '',
    SERVER_CONTEXT_PATHS => '/api/v1/bot/user-context/{telegram_id}',
    AI_CHAT_SERVER_TIMEOUT_MS => '800', AI_CHAT_USER_CONTEXT_CHARS => '4000', AI_CHAT_PORT => '9001',
    AI_CHAT_ADDRESS => '127.0.0.1', AI_CHAT_METRICS_PORT => '9002',
    AI_CHAT_TLS_CERTIFICATE => '', AI_CHAT_TLS_KEY => '',
    AI_CHAT_MIGRATE_URL => '',
    AI_CHAT_DAILY_LIMIT => '30', AI_CHAT_TIMEZONE => 'UTC',
    AI_CHAT_CONTEXT_MESSAGES => '5', AI_CHAT_CONTEXT_CHARS => '12000',
    AI_CHAT_CONTEXT_TTL_S => '0', AI_CHAT_ANSWER_CACHE_S => '0',
    AI_CHAT_PROMPT_FILE => '/usr/share/ai-chat/prompt.txt',
    AI_CHAT_ANSWER_FORMAT => 'telegram-html', AI_CHAT_ANSWER_RESERVE => '64',
    AI_CHAT_DEADLINE_MS => '55000', AI_CHAT_THREADS => '64',
    AI_CHAT_DB_POOL => '4', AI_CHAT_DB_TIMEOUT_MS => '3000',
    LOG_LEVEL => 'info');
my %must = map { $_ => 1 } qw(API_SECRET_KEY DATABASE_URL OPENAI_API_KEY);
my $env = slurp("$TOP/systemd/ai-chat.env");
my %listed = $env =~ /^#?([A-Z_]+)=(.*)$/mg;
for my $name (sort keys %default) {
	is $listed{$name}, $default{$name}, "ai-chat.env has $name";
	like $env, $must{$name} ? qr/^$name=/m : qr/^#$name=/m,
	    $must{$name} ? '... to be filled in' : '... as a comment';
}

# The table of the code has the same names.
my $table = slurp("$TOP/lib/conf.c");
my %known = map { $_ => 1 } $table =~ /^\t\{ "([A-Z_]+)",/mg;
is join(' ', sort keys %known), join(' ', sort keys %listed),
    'the worker and ai-chat.env have the same settings';
for my $name (sort keys %default) {
	next if $default{$name} eq '' || $name eq 'AI_CHAT_PROMPT_FILE';
	like $table, qr/\{ "$name", \w+, \w+,\s+"\Q$default{$name}\E",/,
	    "$name: the default is the contract's";
}

# The page has a row for each setting, with its default, and no other rows.
{
	my %row = slurp("$TOP/docs/configuration.md")
	    =~ /^\| `([A-Z_]+)` \| (.*?) \| .* \|$/mg;
	is join(' ', sort keys %row), join(' ', sort keys %known),
	    'docs/configuration.md has each setting';
	my %preset;
	while ($table =~ /\{ "([A-Z_]+)", \w+, ([\w |]+),\s+(NULL|\w+|"[^"]*"),/g) {
		my ($name, $flags, $value) = ($1, $2, $3);
		$preset{$name} = $flags =~ /MUST/ ? 'mandatory'
		    : $value eq 'NULL' ? '-'
		    : $value !~ /^"/ ? 'the installed one'
		    : '`' . $value =~ tr/"//dr . '`';
	}
	is_deeply \%row, \%preset, '... with its default';
}

done_testing;
