# The token of GigaChat: one for all chats of a worker, renewed when it has
# expired or is refused; and failures of the token endpoint.

use v5.36;
use utf8;
use AIChat::Provider;
use AIChat::TLS;
use AIChat::Test;

my $KEY = 'canarykey1234567890==';
my $s = AIChat::Test->new(model => 0, workers => 0, with => 0, env => {
	AI_CHAT_BREAKER_FAILURES => 0, AI_CHAT_DEADLINE_MS => 8000,
	AI_CHAT_DB_TIMEOUT_MS => 500, AI_CHAT_RETRY_FLOOR => 1000 });
my $giga = AIChat::Provider->start(rules => 'gigachat', key => $KEY,
    token => 'canarytoken', log => $s->dir . '/log/provider.log');
my $user = 0;

my %GIGA = (OPENAI_API_KEY => $KEY, OPENAI_AUTH => 'gigachat',
    OPENAI_AUTH_URL => $giga->url('/api/v2/oauth'),
    OPENAI_BASE_URL => $giga->url('/v1'), OPENAI_MODEL => 'GigaChat-2');

%{ $s->stack->settings } = (%{ $s->stack->settings }, %GIGA);
$s->stack->start_second_model;
# At first without a fallback model.
my %FALLBACK = map { $_ => delete $s->stack->settings->{$_} }
    qw(OPENAI_FALLBACK_BASE_URL OPENAI_FALLBACK_API_KEY);
$s->stack->start_workers(1);
$s->stack->start_nginx;

# Sends that many chats at once, each as a new user; returns the number of each
# answer or status.
sub answers ($n)
{
	my %count;

	$count{ $_->{status} == 200 ? $_->{json}{response} : $_->{status} }++
	    for $s->send_many(map { { telegram_id => ++$user } } 1 .. $n);
	return \%count;
}

sub log_line ($user)
{
	my $line;

	wait_for(sub {
		($line) = $s->worker_log(1)
		    =~ /^(.* event=request .*user=$user .*)/m;
	}, 10, 'the line of a chat');
	return $line;
}

my $GIGA = 'Ответ gigachat';

# -- one for all ---------------------------------------------------------------

is $giga->state->{tokens}, 0, 'no token is requested before the first question';
$giga->set(token_delay_ms => 300, token_life_ms => 3000);
is_deeply answers(20), { $GIGA => 20 }, '20 first questions at once are answered';
is $giga->state->{tokens}, 1, '... with one token';

# -- the token expires -------------------------------------------------------

wait_for(sub { !$giga->state->{valid} }, 10, 'the token to expire');
$giga->set(token_life_ms => 1_800_000);
is_deeply answers(20), { $GIGA => 20 },
    '20 questions at once after it has expired are answered';
is $giga->state->{tokens}, 2, '... with one renewal';
is_deeply $giga->state->{refused}, [], '... before the model refused the old one';

# -- the model refuses the token ---------------------------------------------

$giga->set(revoke => 1);
is_deeply answers(20), { $GIGA => 20 },
    '20 questions at once with a token that is refused are answered';
is $giga->state->{tokens}, 3, '... with one renewal';
cmp_ok scalar @{ $giga->state->{refused} }, '>=', 1,
    '... after the model refused some of them';
like $s->worker_log(1), qr/ attempts=2 /, '... and these were sent again';

# -- the token endpoint fails --------------------------------------------------

$s->expect_log(qr/could not get a token/);
# A new worker, which has no token yet.
$giga->set(token_status => 503, token_delay_ms => 0);
$s->restart_worker(1);
is_deeply answers(1), { 500 => 1 }, 'without a token chats fail';
like log_line($user), qr/could not get a token: .* answered HTTP 503/,
    '... and the log has the reason';
like log_line($user), qr/ attempts=3 /, '... after three attempts';
unlike $s->get('/health/ready')->{content}, qr/"upstream":"ok"/,
    '... and readiness does not show the model as ok';

$giga->set(token_status => 401);
$s->restart_worker(1);
my $tokens = $giga->state->{tokens};
is_deeply answers(1), { 500 => 1 },
    'the token endpoint refuses the key: the chat fails';
like log_line($user), qr/could not get a token: .* HTTP 401/,
    '... and the log has the reason';
is_deeply answers(5), { 500 => 5 }, '... the next chats fail, too';
is $giga->state->{tokens}, $tokens + 1,
    '... without a token request for each of them';

# -- the token endpoint fails, with a fallback model -------------------------

my $NO_PORT = 'http://127.0.0.1:1/oauth';
for ([ 'fails', {}, token_status => 503 ], [ 'refuses the key', {}, token_status => 401 ],
    [ 'does not exist', { OPENAI_AUTH_URL => $NO_PORT }, token_status => 200 ],
    [ 'hangs', {}, token_status => 200, token_delay_ms => 60_000 ]) {
	my ($what, $settings, %rules) = @$_;

	$giga->set(%rules);
	$s->restart_worker(1, %GIGA, %FALLBACK, %$settings,
	    OPENAI_FALLBACK_MODEL => 'second[[text=Второй]]');
	is_deeply answers(5), { 'Второй' => 5 },
	    "the token endpoint $what: the fallback model answers";
	like log_line($user), qr/ model=fallback /, '... which the log shows';
}
$giga->set(token_status => 200, token_delay_ms => 0);
$s->restart_worker(1, %GIGA);
is_deeply answers(5), { $GIGA => 5 },
    'when the token endpoint works again, the primary model answers';

# A model that the provider does not have: a 404, which is not about the token.
$s->restart_worker(1, OPENAI_MODEL => 'Giga-none', OPENAI_FALLBACK_MODEL =>
    'GigaChat-2', map { $_ => undef } keys %FALLBACK);
is_deeply answers(1), { 500 => 1 },
    'a model name that is refused: the fallback model is not called';
is scalar(grep { /no such model: Giga-none/ } @{ $giga->state->{refused} }), 1,
    '... because the operator has to see the error';

# -- over HTTPS, with a root certificate in OPENAI_CA_FILE -------------------

my $certs = $s->dir . '/certs';
AIChat::TLS::make_certificates($certs);
my $end = AIChat::TLS->start(kind => 'h2', to => $giga->port, certs => $certs,
    dir => $s->stack->run_dir . '/tls', log => $s->dir . '/log/tls.log');
my %HTTPS = (%GIGA, OPENAI_AUTH_URL => $end->url . '/api/v2/oauth',
    OPENAI_BASE_URL => $end->url . '/v1', OPENAI_FALLBACK_MODEL => undef);
$s->expect_log(qr/certificate/);
$s->restart_worker(1, %HTTPS, OPENAI_CA_FILE => undef);
is_deeply answers(1), { 500 => 1 }, 'without the root certificate chats fail';
like log_line($user), qr/could not get a token: .*certificate/,
    '... because of the certificate of the token endpoint';
$tokens = $giga->state->{tokens};
$s->restart_worker(1, %HTTPS, OPENAI_CA_FILE => AIChat::TLS::ca_file($certs));
is_deeply answers(20), { $GIGA => 20 },
    'OPENAI_CA_FILE is used for the token endpoint and for the model';
is $giga->state->{tokens}, $tokens + 1, '... with one token for all of them';
$end->stop;

my $log = join '', map { $_->[1] } $s->logs;
unlike $log, qr/canarykey/, 'the key is in no log';
unlike $log, qr/canarytoken/, '... nor is a token';

$giga->stop;
done_testing;
