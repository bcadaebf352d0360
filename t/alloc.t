# Each allocation of a request fails once.  The response is then correct, or
# an error that says that the service cannot answer; the worker does not exit;
# no chat is counted twice, counted without an answer, or lost; and no memory
# leaks.
#
# With a model behind HTTPS/2 there are some thousand allocations more, by
# OpenSSL and nghttp2.  A random sample of these fails: AIC_SEED repeats a
# sample, AIC_ALLOC_SAMPLE is its size.
#
# Allocations of libfcgi are left out, because libfcgi exits when one fails.
# So are those of libcurl that t/tools/alloc.c lists.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::Proc qw(slurp spew temp_dir remove_dir);
use AIChat::Provider;
use AIChat::Stack;
use AIChat::TLS;
use AIChat::Test;
use List::Util qw(max shuffle);

my $build = AIChat::Stack::find_build();
# Sanitizers have a malloc() of their own.
plan skip_all => 'a sanitizer is built in'
    if qx(ldd '$build/ai-chat-worker') =~ /lib(?:asan|tsan)/;

# struct control of t/tools/alloc.c: the number of the allocation that has to
# fail, the number of allocations so far, the blocks in use, and the caller of
# the allocation that failed.
my $CONTROL = 'q3 Z104';
my $LIMIT = 5;
my $TIMEOUT_S = 1;

# The number of threads that wait for a request at once, and take turns.
my $ACCEPTING = 4;

# More allocations than any request makes.
my $MOST = 2000;

my $dir = temp_dir('ai-chat-alloc');
spew("$dir/control", pack $CONTROL, 0, 0, 0, '');

# Its tokens have expired when they arrive, so each call of the model needs a
# new one.
my $giga = AIChat::Provider->start(rules => 'gigachat', key => 'test-openai-key',
    token_life_ms => 1);

my $s = AIChat::Test->new(server => 1, redis => 1, tls => 0,
	env => { OPENAI_AUTH => 'gigachat',
	    OPENAI_AUTH_URL => $giga->url('/api/v2/oauth'),
	    AI_CHAT_DAILY_LIMIT => $LIMIT, AI_CHAT_THREADS => 1,
	    AI_CHAT_DB_POOL => 1, AI_CHAT_DB_TIMEOUT_MS => 1000 * $TIMEOUT_S,
	    AI_CHAT_DEADLINE_MS => 10000 },
	wrap => [ '/usr/bin/env', "LD_PRELOAD=$build/t/alloc.so",
	    "AIC_ALLOC=$dir/control" ]);
# When an allocation fails within a statement, the worker leaves the statement
# half sent, or closes the connection.  PostgreSQL waits for the rest, or
# reports the loss, or has finished before.
$s->expect_log(qr/\bcode=(?:ENOMEM|EDB)\b/,
    qr/terminating connection due to administrator command/,
    qr/connection to client lost/, qr/canceling statement due to statement timeout/);

sub arm ($n)
{
	open my $fh, '+<:raw', "$dir/control" or die "$dir/control: $!\n";
	syswrite $fh, pack 'q2', $n, 0;
}

# Returns the caller of the allocation that failed; nothing when none failed.
sub disarm
{
	my ($at, $count, undef, $who) = unpack $CONTROL,
	    slurp("$dir/control");

	arm(0);
	return $count >= $at ? $who : ();
}

sub blocks { return (unpack $CONTROL, slurp("$dir/control"))[2] }

# -- the requests ------------------------------------------------------------

# Each kind of request has a thousand users of its own.
my $QUESTION = 'Как поднять карточку "в поиске"? ' x 4;
my $MARKDOWN = '[[repeat=400 text=%23%20a%0a*b*%20%5bc%5d(http://d)%20%26lt;%0a'
    . '-%20%60e%60%0a%0a]]';
my $STREAM = '[[' . raw(join '', (map { qq(data: {"choices":[{"delta":{"content":)
    . qq("$_"}}]}\n\n) } '<think>да</think>', 'При', 'вет'), "data: [DONE]\n\n") . ']]';
my $DATA = 'Выручка: 120 000 ₽ ' x 20;

sub send_to ($user, %o) { return $s->send(telegram_id => $user, %o) }

sub send_all ($user)
{
	return send_to($user, message => "$QUESTION\[[id=u$user]]",
	    user_context => $DATA);
}

# Only the worker's own connections: pg_stat_activity also lists autovacuum
# workers of this database, and only a superuser may end these.
sub lose_connection
{
	$s->sql('select pg_terminate_backend(pid) from pg_stat_activity
	    where datname = current_database() and pid <> pg_backend_pid()
	    and usename = current_user'); # not an autovacuum worker
}

#   what     the kind of request
#   status   the status when no allocation fails
#   ask      sends the request; the argument is a number that is used once
#   before   called before it
#   got      whether the decoded body of a response with that status is right
#   user     the number before that of its first user
#   ledger   count, rows and leases of its user after that status, and after
#            any other; and when the database has done its work but the reply
#            was lost
my @kinds = (
	{ what => 'a chat', status => 200,
	    ask => sub ($n) { send_all(1000 + $n) },
	    got => \&is_whole_chat, user => 1000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat in the HTML of Telegram', status => 200,
	    ask => sub ($n) { send_to(7000 + $n, message => $MARKDOWN,
		format => 'telegram-html') },
	    got => sub ($j, @) { is_whole_html($j) }, user => 7000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat as a rich message', status => 200,
	    ask => sub ($n) { send_to(9000 + $n, message => $MARKDOWN,
		format => 'telegram-rich') },
	    got => sub ($j, @) { is_whole_rich($j) }, user => 9000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat that has to connect to the database', status => 200,
	    before => \&lose_connection,
	    ask => sub ($n) { send_all(2000 + $n) },
	    got => \&is_whole_chat, user => 2000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat with a model that fails', status => 500,
	    ask => sub ($n) {
		send_to(3000 + $n,
		    message => '[[status=500 retry_after_ms=1]]');
	    },
	    got => sub ($j, @) { $j->{detail}{error} =~ /^(?:AI service|Internal)/ },
	    user => 3000,
	    ledger => [ [ 0, 2, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat whose answer is streamed', status => 200,
	    ask => sub ($n) { send_to(8000 + $n, message => $STREAM) },
	    got => sub ($j, @) { $j->{response} eq 'Привет' }, user => 8000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat with or without the seller\'s data', status => 200,
	    before => sub { $s->server_set(0) },
	    ask => sub ($n) {
		send_to(6000 + $n, message => "$QUESTION\[[id=u@{[ 6000 + $n ]}]]");
	    },
	    got => \&is_told_or_not, user => 6000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat with a list in the seller\'s data', status => 200,
	    before => sub { $s->server_set(0, body => { reviews => [ 'a', 'b' ] }) },
	    ask => sub ($n) { my $id = 10000 + $n;
		send_to($id, message => "[[id=u$id]]") },
	    got => \&is_told_list_or_not, user => 10000,
	    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ] },
	{ what => 'a chat over the limit', status => 429,
	    ask => sub ($n) { send_all(4000 + $n) },
	    got => sub ($j, @) { $j->{detail}{requests_today} == $LIMIT },
	    user => 4000, ledger => [ ([ $LIMIT, 2, 0 ]) x 3 ] },
	{ what => 'a chat with invalid input', status => 422,
	    ask => sub ($n) {
		send_to("x$n", message => 1, user_context => []);
	    },
	    got => sub ($j, @) { @{ $j->{detail} } == 3 } },
	{ what => 'a body that is not JSON', status => 422,
	    ask => sub ($n) { $s->post('/v1/chat/send', '{"a":') },
	    got => sub ($j, @) { $j->{detail}[0]{type} eq 'json_invalid' } },
	{ what => 'a history', status => 200,
	    ask => sub ($n) {
		$s->post('/v1/chat/history', { telegram_id => 1000,
		    limit => 50, offset => 0 });
	    },
	    got => sub ($j, @) {
		"@{[ map { $_->{message} } @{ $j->{items} } ]} $j->{total}"
		    eq 'вопрос 2 вопрос 1 2';
	    } },
	{ what => 'limits', status => 200,
	    ask => sub ($n) { $s->get('/v1/chat/limits/4000') },
	    got => sub ($j, @) {
		"$j->{requests_today} $j->{requests_remaining}" eq "$LIMIT 0";
	    } },
	{ what => 'statistics', status => 200,
	    ask => sub ($n) { $s->get('/v1/chat/stats/4000?days=30') },
	    got => sub ($j, @) { "$j->{total_requests} $j->{total_tokens}"
		eq '2 14' } },
	{ what => 'a reset', status => 200,
	    ask => sub ($n) {
		$s->post('/v1/chat/reset-limit', { telegram_id => 5000 + $n });
	    },
	    got => sub ($j, @) { $j->{success} }, user => 5000,
	    ledger => [ [ 0, 2, 0 ], [ $LIMIT, 2, 0 ], [ 0, 2, 0 ] ] },
	{ what => 'a new conversation', status => 200,
	    ask => sub ($n) {
		$s->post('/v1/chat/clear', { telegram_id => 4000 });
	    },
	    got => sub ($j, @) { $j->{success} } },
	{ what => 'readiness', status => 200,
	    ask => sub ($n) { $s->get('/health/ready') },
	    got => sub ($j, @) { $j->{checks}{database} eq 'ok' } },
	{ what => 'the OpenAPI document', status => 200,
	    ask => sub ($n) { $s->get('/openapi.json') },
	    got => sub ($j, @) { $j->{openapi} } },
	{ what => 'health', status => 200,
	    ask => sub ($n) { $s->get('/health') },
	    got => sub ($j, @) { $j->{status} eq 'ok' } },
);

sub is_whole_html ($j)
{
	return $j->{response} =~ /^<b>a<\/b>\n<i>b<\/i> <a href="http:\/\/d">c</
	    && @{ $j->{parts} } > 1 && $j->{parts}[-1] =~ /<code>e<\/code>$/
	    && $j->{remaining_requests} == $LIMIT - 1;
}

sub is_whole_rich ($j)
{
	my $one = '<h1>a</h1><p><i>b</i> <a href="http://d">c</a> &lt;</p>'
	    . '<ul><li><code>e</code></li></ul>';

	return $j->{response} eq $one x 400
	    && $j->{response} eq join('', @{ $j->{parts} })
	    && $j->{remaining_requests} == $LIMIT - 1;
}

# The answer, the request to the model, and the stored exchange.
sub is_whole_chat ($j, $user)
{
	my @asked = @{ $s->model_last("u$user")->{body}{messages} };
	my ($question, $data) = split_question($asked[-1]{content});
	my ($kept) = $s->sql("select message, response, tokens_used
	    from ai_chat_requests where telegram_id = $user
	    order by id desc limit 1");

	return $j->{response} =~ /^📊.*подробнее\.$/s
	    && $j->{remaining_requests} == $LIMIT - 1 && @asked == 6
	    && "@{[ map { $_->{content} } @asked[1 .. 4] ]}"
	    eq 'вопрос 1 ответ вопрос 2 ответ'
	    && $data eq $DATA && $question eq $kept->[0]
	    && $kept->[0] eq "$QUESTION\[[id=u$user]]"
	    && $kept->[1] eq $j->{response}
	    && $kept->[2] == $j->{tokens_used} && $kept->[2] > 0;
}

# All of the seller's data, or none.
sub is_told_or_not ($j, $user)
{
	my @asked = @{ $s->model_last("u$user")->{body}{messages} };

	my (undef, $data) = split_question($asked[-1]{content});

	return $j->{response} =~ /^📊/ && @asked == 6
	    && ($data // 'Заказы:«Маломерит, и нитки торчат»')
	    =~ /^Заказы:.*«Маломерит, и нитки торчат»\z/ms;
}

sub is_told_list_or_not ($j, $user)
{
	my (undef, $data) = split_question(
	    $s->model_last("u$user")->{body}{messages}[-1]{content});

	return ($data // 'Отзывы: «a», «b»') eq 'Отзывы: «a», «b»';
}

# All users have two exchanges; the users of two kinds have used up their day.
$s->sql("insert into ai_chat_requests (telegram_id, chat_id, message, response,
    tokens_used, request_date) select u, gen_random_uuid(), 'вопрос ' || i,
    'ответ', 7, (now() at time zone 'UTC')::date
    from generate_series(1000, 13999) u, generate_series(1, 2) i");
$s->sql("insert into ai_chat_daily_limits (telegram_id, request_count,
    last_reset_date) select u, $LIMIT, (now() at time zone 'UTC')::date
    from generate_series(4000, 5999) u");

# -- one after another -------------------------------------------------------

my $pid = $s->worker_pid(1);
my $others = 100000;

# Plain chats, one for each thread that may take the next request, so that all
# threads are in the same state before the next failure.
sub plain_chats
{
	return grep { $_ != 200 }
	    map { send_to(++$others)->{status} } 1 .. $ACCEPTING;
}

# What is wrong with an answer, if anything.
sub wrong_answer ($kind, $n, $got)
{
	my $j = $got->{json};

	return 'no JSON' if ref $j ne 'HASH';
	if ($got->{status} == $kind->{status}) {
		return $kind->{got}->($j, ($kind->{user} // 0) + $n) ? ()
		    : 'not the right answer';
	}
	return if $kind->{what} eq 'readiness' && $got->{status} == 503
	    && $j->{status} eq 'unready';
	return 'an error without a message' if !length why($got);
	return if $got->{status} == 500
	    && why($got) eq 'Internal Server Error';
	return if $got->{status} == 500 && $kind->{blames}
	    && why($got) =~ $kind->{blames};
	return if $got->{status} == 503 && $got->{headers}{'retry-after'}
	    && why($got) =~ /^Database/;
	return 'neither the answer nor one of the errors allowed';
}

# Count, rows and leases of each user, by telegram_id.
sub ledgers ($user, $n)
{
	return map { $_->[0] => [ @$_[1 .. 3] ] } $s->sql("select u,
	    coalesce((select request_count from ai_chat_daily_limits
		where telegram_id = u), 0),
	    (select count(*) from ai_chat_requests where telegram_id = u),
	    coalesce((select cardinality(leases) from ai_chat_daily_limits
		where telegram_id = u), 0)
	    from generate_series($user + 1, $user + $n) u");
}

# The ledgers that are right after a response.  When libpq 15 gets no memory
# for the end of a batch, it waits for that end until the timeout.  The caller
# then gets a 503 for the database, and the reservation lapses.
sub right_ledgers ($kind, $got)
{
	my $failed = $got->{status} != $kind->{status};
	my $late = $got->{status} == 503 && $got->{seconds} >= $TIMEOUT_S;

	return map { "@$_" } $kind->{ledger}[$failed],
	    $late ? $kind->{ledger}[2] : ();
}

sub wrong_ledgers ($kind, @all)
{
	my %ledger = ledgers($kind->{user}, scalar @all);

	return map {
		my ($n, $who, $got) = @$_;
		my $is = $ledger{ $kind->{user} + $n };
		grep({ $_ eq "@$is" } right_ledgers($kind, $got)) ? ()
		    : "$n, " . ($who // 'nobody') . ": $got->{status}, ledger @$is";
	} @all;
}

# Lets the n-th allocation of a request fail, the i-th request of its kind.
# Returns its chats, [ number, caller of the allocation, response ] each, and
# then what is wrong.
sub fail_at ($kind, $i, $n)
{
	my @wrong = map { "$n: a plain chat got $_" } plain_chats();

	$kind->{before}->() if $kind->{before};
	arm($n);
	my @got = $kind->{ask}->($i);
	my ($who) = disarm();
	my @all = map { [ @got * ($i - 1) + $_ + 1, $who, $got[$_] ] } 0 .. $#got;
	for (@all) {
		my ($number, undef, $got) = @$_;
		push @wrong, map {
			"$n, " . ($who // 'nobody')
			    . ": $got->{status} $got->{content}: $_"
		} wrong_answer($kind, $number, $got);
		push @wrong, "$n: $got->{status} though no allocation failed"
		    if !defined $who && $got->{status} != $kind->{status};
	}
	return \@all, @wrong;
}

sub wrong_worker
{
	return $s->worker_pid(1) == $pid && $s->stack->worker(1)->alive ? ()
	    : 'the worker was replaced';
}

# Lets the first, second, third ... allocation of a kind of request fail, until
# there are no more.
sub fail_each ($kind)
{
	my (@all, @wrong);

	for my $n (1 .. $MOST) {
		my ($got, @this) = fail_at($kind, $n, $n);
		push @all, @$got;
		push @wrong, @this;
		last if !defined $got->[0][1] || @wrong > 10;
	}
	push @wrong, wrong_ledgers($kind, @all) if $kind->{ledger};
	push @wrong, 'the number of allocations has no end' if @all == $MOST;
	# Without the preloaded library no allocation would fail.  The simplest
	# kinds may need no memory beyond what the worker keeps.
	push @wrong, 'no allocation failed' if @all < 2 && $kind->{user};
	push @wrong, wrong_worker();
	is join("\n", @wrong), '', "$kind->{what}: " . (@all - 1)
	    . ' allocations, each fails once, and each response is right';
}

# -- nothing stays behind ----------------------------------------------------

# The number of blocks in use when a worker has exited.
sub blocks_at_the_end
{
	is $s->kill_worker(1, 'TERM'), 0, 'the worker exits on SIGTERM';
	return blocks();
}

sub left_without_failure (@of)
{
	for my $kind (@of) {
		for (1 .. $ACCEPTING) {
			$kind->{before}->() if $kind->{before};
			$kind->{ask}->($kind->{spare} // 999);
		}
	}
	is join(' ', plain_chats()), '',
	    'a worker whose allocations all succeed';
	return blocks_at_the_end();
}

my $left = left_without_failure(@kinds);

$s->start_worker(1);
$pid = $s->worker_pid(1);
fail_each($_) for @kinds;
is blocks_at_the_end(), $left, 'the failures leak no memory';

# -- a model behind HTTPS/2 ----------------------------------------------------

# The number of allocations of a kind that fail.
my $SAMPLE = $ENV{AIC_ALLOC_SAMPLE} // 100;

my $seed = $ENV{AIC_SEED} // int rand 1e6;
srand $seed;

my $certs = $ENV{AIC_TEST_CERTS} // "$dir/certs";
AIChat::TLS::make_certificates($certs) if !$ENV{AIC_TEST_CERTS};
my $m = AIChat::HTTP2->start($s, certs => $certs);
delete @{ $s->stack->settings }{qw(OPENAI_AUTH OPENAI_AUTH_URL)};
%{ $s->stack->settings } = (%{ $s->stack->settings }, $m->settings,
    AI_CHAT_UPSTREAM_CONNECTIONS => 1, AI_CHAT_THREADS => 4,
    AI_CHAT_RETRY_FLOOR => 100000);

# Each question names the text of its answer, so that a response to another
# question is recognized.
sub ask_model (@users)
{
	return $s->send_many(map { { telegram_id => $_, message => "[[text=T$_]]" } }
	    @users);
}

# When OpenSSL gets no memory for the names in a certificate, it rejects the
# certificate, and libcurl reports a certificate of another host; a TLS
# connection may also stop without an error.  The worker cannot tell these from
# the failures that they look like.
my $BLAMES = qr/^AI\ service\ error:\ the\ model(?:'s\ certificate\ was\ not\ accepted
    |\ did\ not\ answer\ in\ time)$/x;

my @tls_kinds = map { { status => 200, blames => $BLAMES,
    got => sub ($j, $user) { $j->{response} eq "T$user" },
    ledger => [ [ 1, 3, 0 ], [ 0, 2, 0 ], [ 0, 2, 1 ] ], %$_ } } (
	{ what => 'a chat over HTTPS/2', user => 11000,
	    ask => sub ($i) { ask_model(11000 + $i) } },
	{ what => 'a chat that has to connect to the model', user => 12000,
	    before => sub { $m->do('reset') },
	    ask => sub ($i) { ask_model(12000 + $i) } },
	{ what => 'four chats that share a connection', user => 13000, spare => 249,
	    ask => sub ($i) { ask_model(map { 13000 + 4 * $i - $_ } 3, 2, 1, 0) } },
);

# The model may receive one request for each attempt.
sub wrong_requests
{
	my $log = $s->worker_log(1);
	my (%asked, %attempts);

	$asked{ $_->{text} // '' }++ for $m->requests;
	$attempts{"T$1"} += $2
	    while $log =~ /event=request .*user=(\d+) .*attempts=(\d+)/g;
	return map { "$_: $asked{$_} requests in " . ($attempts{$_} // 0) . ' attempts' }
	    grep { /^T/ && $asked{$_} > ($attempts{$_} // 0) } sort keys %asked;
}

sub count_allocations ($kind, $i)
{
	my $most = 1e6;

	$kind->{before}->() if $kind->{before};
	arm($most);
	$kind->{ask}->($i);
	my $count = (unpack $CONTROL, slurp("$dir/control"))[1];
	arm(0);
	return $count;
}

sub fail_some ($kind)
{
	# The first requests also open connections, and the number of
	# allocations in a handshake varies.
	my @counts = map { count_allocations($kind, $SAMPLE + $_) } 1 .. 6;
	my $count = max(@counts[3 .. 5]);
	my @at = shuffle(1 .. max($count, $SAMPLE));
	my (@all, @wrong);
	my $failed = 0;

	$m->forget;
	for my $i (1 .. $SAMPLE) {
		my ($got, @this) = fail_at($kind, $i, $at[$i - 1]);
		push @all, @$got;
		push @wrong, @this;
		$failed++ if defined $got->[0][1];
		last if @wrong > 10;
	}
	push @wrong, wrong_ledgers($kind, @all), wrong_requests(), wrong_worker();
	is join("\n", @wrong), '', "$kind->{what}: $SAMPLE of $count allocations, seed "
	    . "$seed, each fails once, and each response is right";
	cmp_ok $failed, '>', $SAMPLE / 4,
	    '... and at least a quarter of these did fail';
	note "$failed failed; ", join ', ', map { my $status = $_;
	    "$status: " . grep { $_->[2]{status} == $status } @all } 200, 500, 503;
}

$s->start_worker(1);
$left = left_without_failure(@tls_kinds);
$s->start_worker(1);
$pid = $s->worker_pid(1);
fail_some($_) for @tls_kinds;
is blocks_at_the_end(), $left, 'with HTTPS/2, too, the failures leak no memory';

$m->stop;
remove_dir($dir);
done_testing;
