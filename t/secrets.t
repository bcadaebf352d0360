# Canaries in everything that is private, a run with every kind of outcome at
# the most verbose log level, and then a search for them.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Provider;
use AIChat::Test;

# Each canary is one word, so that it is found however a line is built.
my %canary = map { $_ => "canary${_}z" } qw(caller second admin openai password
    message answer data rules wrongkey upstream proxy baseurl fallback
    fallbackurl redis server serverurl figures fallbackproxy header member token
    gigachat);
my @seen;	# every answer: its title, the headers and the body

my $s = AIChat::Test->new(own_pg => 1, workers => 0, server => 1, env => {
	API_SECRET_KEY => "$canary{caller},$canary{second}",
	API_ADMIN_KEY => $canary{admin}, OPENAI_API_KEY => $canary{openai},
	OPENAI_FALLBACK_API_KEY => $canary{fallback},
	REDIS_URL => "redis://u:$canary{redis}\@127.0.0.1:1",
	SERVER_API_KEY => $canary{server},
	LOG_LEVEL => 'debug', AI_CHAT_BREAKER_FAILURES => 0, AI_CHAT_DAILY_LIMIT => 40,
	AI_CHAT_DB_TIMEOUT_MS => 500, AI_CHAT_DEADLINE_MS => 2201 });
my $settings = $s->stack->settings;
$settings->{DATABASE_URL} .= "&password=$canary{password}";
$settings->{AI_CHAT_PROMPT_FILE} = $s->dir . '/rules.txt';
spew($settings->{AI_CHAT_PROMPT_FILE}, "Rules: $canary{rules}\n");
$settings->{OPENAI_HEADERS_FILE} = $s->dir . '/headers.txt';
spew($settings->{OPENAI_HEADERS_FILE}, "X-Secret: $canary{header}\n");
$settings->{OPENAI_EXTRA_BODY_FILE} = $s->dir . '/extra.json';
spew($settings->{OPENAI_EXTRA_BODY_FILE}, qq({"member":"$canary{member}"}));
$s->stack->start_workers(1);
$s->stack->start_nginx;
$s->expect_log(qr/too large body/, qr/status=50[03]/, qr/database system/,
    qr/terminating connection/, qr/upstream/, qr/connect\(\) to/,
    qr/violates check constraint/, qr/does not exist/);

sub note_answer ($title, $got, $want)
{
	is $got->{status}, $want, "$title: $want" or diag $got->{content};
	my $headers = join "\n", map { "$_: $got->{headers}{$_}" }
	    sort keys %{ $got->{headers} };
	push @seen, [ $title, $headers, $got->{content}, $want ];
	like why($got), qr/\AAI service error: [^\n]+\z/,
	    '... in one line' if $want == 500;
	return $got;
}

my %KEY = (headers => { 'X-API-KEY' => $canary{caller} });

sub chat ($title, $want, $marks, %o)
{
	return note_answer($title, $s->send(telegram_id => 1,
	    message => "Вопрос $canary{message} [[text=$canary{answer} $marks]]",
	    user_context => "Данные $canary{data}", %KEY, %o), $want);
}

# -- every kind of outcome ---------------------------------------------------

chat('an answer', 200, '');
chat('a second one with context', 200, 'id=second');
my $last = $s->model_last('second');
my $asked = JSON::PP->new->canonical->encode($last);
like $asked, qr/\Q$canary{$_}\E/, "the model gets the $_"
    for qw(message answer data rules openai header member);
unlike $asked, qr/\Q$canary{$_}\E/, "... and not the $_"
    for qw(caller second admin password fallback server);

# The data of the seller-data API, and its failures.
$s->server_set(7, body => { sales => { plan => $canary{figures} } });
chat('an answer with the seller\'s figures', 200,
    'id=figures', telegram_id => 7,
    user_context => undef);
$asked = JSON::PP->new->canonical->encode($s->model_last('figures'));
like $asked, qr/\Q$canary{figures}\E/, 'the model gets the figures';
unlike $asked, qr/\Q$canary{server}\E/,
    '... and not the key of the seller-data API';
for ([ status => 403 ], [ status => 500 ], [ how => 'drop' ], [ body => '[]' ]) {
	$s->server_set(7, body => $canary{figures}, @$_);
	chat("the Server: $_->[0]", 200, '', telegram_id => 7,
	    user_context => undef);
}

for my $path (qw(send history reset-limit clear)) {
	note_answer("a bad body for $path", $s->post("/v1/chat/$path", $_,
	    headers => { 'X-API-KEY' => $path =~ /reset/ ? $canary{admin}
	    : $canary{second} }), 422)
	    for qq({"telegram_id":"$canary{message}"}),
	    qq({"$canary{message}": "$canary{message} ),
	    qq({"message":"$canary{message}","telegram_id":"$canary{data}"});
}
chat('a message that is too long', 422, '', message => $canary{message} x 500);
chat('a broken context', 422, '', user_context => [ $canary{data} ]);
note_answer('a body that is too large', $s->post('/v1/chat/send',
    $canary{message} x 20000, %KEY), 413);
note_answer('a wrong key', $s->get('/v1/chat/limits/1',
    headers => { 'X-API-KEY' => $canary{wrongkey} }), 403);
note_answer('the wrong one of the keys', $s->get('/v1/chat/limits/1',
    headers => { 'X-API-KEY' => $canary{admin} }), 403);
note_answer('no such path', $s->get('/nothing', %KEY), 404);
note_answer('no such method', $s->get('/v1/chat/send', %KEY), 405);
note_answer('too many days', $s->get('/v1/chat/stats/1?days=0', %KEY), 400);
note_answer('limits', $s->get('/v1/chat/limits/1', %KEY), 200);
note_answer('statistics', $s->get('/v1/chat/stats/1', %KEY), 200);
note_answer('history', $s->post('/v1/chat/history', { telegram_id => 1 },
    %KEY), 200);
note_answer('health', $s->get('/health'), 200);
note_answer('readiness', $s->get('/health/ready'), 200);

for my $marks ("status=401 errmsg=$canary{upstream}", 'status=400',
    "status=404 errmsg=$canary{openai}", "status=403 errmsg=$canary{upstream}",
    "status=429 code=insufficient_quota errmsg=$canary{upstream}",
    'status=500 retry_after=100', "status=503 retry_after=100 body=html",
    'body=broken', 'body=cut', 'body=html', 'body=empty', 'body=wrong',
    'body=nochoices', 'body=error', 'body=null', 'body=blank', 'body=refusal',
    'body=filter', 'body=length_empty', 'body=tools', 'body=huge',
    "redirect=http://u:$canary{upstream}\@127.0.0.1:1/",
    'headerflood=1000000 retry_after=100', 'hang=1',
    # Keys where codes should be.
    (map { ("status=401 code=$canary{$_}", "status=401 type=$canary{$_}",
	"status=503 code=x-$canary{$_} param=$canary{$_} retry_after=100") }
	qw(openai fallback header))) {
	my $title = $marks =~ s/canary\w+/.../gr;
	chat("the model: $title", 500, $marks);
}
chat('the fallback model answers', 200,
    'status=429 code=insufficient_quota times=1 id=fallback');
like $s->model_last('fallback')->{headers}{authorization},
    qr/ \Q$canary{fallback}\E\z/, '... and gets its key';
chat('an answer of bad bytes', 200, 'body=badutf8');

# A caller disconnects during the call of the model.
{
	my $sock = $s->connect;
	print $sock $s->chat_bytes(telegram_id => 2, %KEY,
	    message => "$canary{message} [[delay=2000 id=left]]");
	wait_for(sub { $s->model_count('left') }, 20, 'the model');
	close $sock;
	wait_for(sub { $s->worker_log(1) =~ /code=EGONE/ }, 20,
	    'the worker to see that the caller left');
	pass 'a caller that disconnects';
}

$s->sql('update ai_chat_daily_limits set request_count = 40');
chat('a day that is used up', 429, '');
note_answer('a reset', $s->post('/v1/chat/reset-limit', { telegram_id => 1 },
    headers => { 'X-API-KEY' => $canary{admin} }), 200);

# The circuit breaker of the model is open.
$s->restart_worker(1, AI_CHAT_BREAKER_FAILURES => 1);
chat('a failure too many', 500, 'status=500 retry_after=100');
chat('the circuit breaker is open', 503, '');
note_answer('readiness', $s->get('/health/ready'), 200);
$s->restart_worker(1, AI_CHAT_BREAKER_FAILURES => 0);

# A model that cannot be reached, behind a proxy or not, with passwords in both.
for my $where ([ OPENAI_BASE_URL => "http://u:$canary{baseurl}\@127.0.0.1:1/v1" ],
    [ OPENAI_BASE_URL => "http://u:$canary{baseurl}\@nowhere.invalid/v1" ],
    [ OPENAI_BASE_URL => 'http://127.0.0.1:1/v1', OPENAI_FALLBACK_BASE_URL =>
	"http://u:$canary{fallbackurl}\@127.0.0.1:1/v1" ],
    [ OPENAI_PROXY => "http://u:$canary{proxy}\@127.0.0.1:1",
	OPENAI_FALLBACK_PROXY => "socks5h://u:$canary{fallbackproxy}\@127.0.0.1:1",
	OPENAI_FALLBACK_MODEL => 'second' ],
    [ OPENAI_PROXY => "https://u:$canary{proxy}\@nowhere.invalid:1" ]) {
	my %was = %$settings;
	$s->restart_worker(1, @$where);
	chat("$where->[0] leads nowhere", 500, '');
	%$settings = %was;
}
# GigaChat: a token, which the model quotes in place of codes, and the key of
# the token endpoint.
{
	my %was = %$settings;
	my $giga = AIChat::Provider->start(rules => 'gigachat',
	    key => $canary{gigachat}, token => $canary{token}, quote => 'token',
	    log => $s->dir . '/log/model-provider.log');
	$s->restart_worker(1, OPENAI_AUTH => 'gigachat',
	    OPENAI_API_KEY => $canary{gigachat},
	    OPENAI_AUTH_URL => $giga->url('/api/v2/oauth'),
	    OPENAI_BASE_URL => $giga->url('/v1'));
	chat('GigaChat quotes the token', 500, '');
	like $giga->state->{refused}[0], qr/\Q$canary{token}\E/,
	    '... as simulated';
	$giga->set(quote => 'header');
	chat('... and a header', 500, '');
	$giga->set(token_status => 401, revoke => 1);
	$s->restart_worker(1);
	chat('GigaChat refuses the key', 500, '');
	%$settings = %was;
	$giga->stop;
}
for ("http://u:$canary{serverurl}\@127.0.0.1:1",
    "http://u:$canary{serverurl}\@nowhere.invalid") {
	$s->restart_worker(1, SERVER_HOST => $_);
	chat('SERVER_HOST leads nowhere', 200, '', user_context => undef)
	    for 1 .. 6;
}
$s->restart_worker(1);

my %postgres_before = map { $_->[0] => $_->[1] } $s->logs;

# The database refuses the row, and quotes it in its message.
$s->sql("alter table ai_chat_requests add constraint no_more
    check (telegram_id <> 3)");
chat('a row that is refused', 503, '', telegram_id => 3);
like join('', map { $_->[1] } grep { $_->[0] =~ /^postgres/ } $s->logs),
    qr/Failing row contains.*canarymessage/,
    '... which PostgreSQL wrote to its own log';
$s->sql('alter table ai_chat_requests drop constraint no_more');

# The tables are missing, the database is down, and it is up again.
$s->sql('alter table ai_chat_daily_limits rename to gone');
chat('no table', 503, '');
$s->sql('alter table gone rename to ai_chat_daily_limits');
$s->stop_pg;
chat('no database', 503, '') for 1, 2;
note_answer('not ready', $s->ready_with(503), 503);
note_answer('no limits', $s->get('/v1/chat/limits/1', %KEY), 503);
note_answer('no history', $s->post('/v1/chat/history', { telegram_id => 1 },
    %KEY), 503);
$s->start_pg;
wait_for(sub { $s->get('/health/ready')->{status} == 200 }, 20,
    'the worker to find the database again');
chat('the database is up again', 200, '');

# The database stops during the call of the model.
{
	my $sock = $s->connect;
	print $sock $s->chat_bytes(telegram_id => 4, %KEY,
	    message => "$canary{message} [[delay=300 id=away]]");
	wait_for(sub { $s->model_count('away') }, 20, 'the model');
	$s->stop_pg('immediate');
	my $got = do { local $/; <$sock> };
	note_answer('no database to save in', AIChat::Test::parse_answer($got),
	    503);
	$s->start_pg;
	wait_for(sub { $s->get('/health/ready')->{status} == 200 }, 20,
	    'the worker to find the database again');
}

# No worker, and no hint about the part that is missing.
$s->kill_worker(1);
chat('no worker', 502, '');
$s->start_worker(1);

# -- the search --------------------------------------------------------------

for (@seen) {
	my ($title, $headers, $body, $status) = @$_;
	my %may = $status != 200 ? () : $title eq 'history'
	    ? (message => 1, answer => 1) : (answer => 1);
	my @found = grep { !$may{$_} && "$headers\n$body" =~ /\Q$canary{$_}\E/ }
	    sort keys %canary;
	is "@found", '', "$title: nothing private in the response";
	unlike "$headers\n$body", qr{https?://|postgres(?:ql)?://|127\.0\.0\.1
	    |\.sock|\.c:\d|/v1/chat/completions}x, '... and no address'
	    if $status >= 400;
}

for ($s->logs) {
	my ($name, $text) = @$_;
	next if $name =~ /^(?:model|initdb)/;	# not the service's
	$text = $postgres_before{$name} if $name =~ /^postgres/;
	my @found = grep { $text =~ /\Q$canary{$_}\E/ } sort keys %canary;
	is "@found", '', "no canary in $name";
}
like $s->worker_log(1), qr/^level=debug /m, 'the log level was debug';
cmp_ok scalar(() = $s->worker_log(1) =~ /event=request/g), '>', 40,
    '... with a line a request';

# What the machine shows of a process to everybody.
my $pid = $s->worker_pid(1);
unlike slurp("/proc/$pid/cmdline"), qr/canary/, 'no canary in the command line';
is $s->value("select count(*) from pg_stat_activity
    where application_name ~ 'canary' or query ~ 'canary'
    and pid <> pg_backend_pid()"), 0, 'no canary in pg_stat_activity';

done_testing;
