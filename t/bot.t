# The bot in production changes a URL and nothing else.  Whatever happens in the
# service, the bot shows the seller a readable text, and a question is counted
# only when it was answered.  Tested with both versions of the bot, see
# AIChat::Bot.

use v5.36;
use utf8;
use AIChat::Bot;
use AIChat::Test;

my $LIMIT = 30;
my $s = AIChat::Test->new(workers => 2, own_pg => 1, env => {
	AI_CHAT_DAILY_LIMIT => $LIMIT,
	AI_CHAT_DB_TIMEOUT_MS => 500,
	AI_CHAT_DEADLINE_MS => 4000,
	AI_CHAT_TIMEZONE => 'Europe/Moscow',
});
$s->expect_log(qr/status=50[03]/, qr/connect\(\) to unix:\S+ failed/,
    qr/upstream prematurely closed/, qr/recv\(\) failed/,
    qr/terminating connection/, qr/the database system is/);
my %bot = map { $_ => AIChat::Bot->new(version => $_, url => $s->url,
    key => $AIChat::Test::KEY) } qw(old new);
my $user = 0;

# A question that the model answers with the text, repeated.
sub saying ($text, $times = 1)
{
	utf8::encode($text);
	return "Вопрос [[repeat=$times text="
	    . $text =~ s/([^A-Za-z0-9])/sprintf '%%%02x', ord $1/ger . ']]';
}

# Asks a question by each version of the bot, each time as a new user.
sub each_bot ($text, $check)
{
	for my $version (sort keys %bot) {
		my $got = $bot{$version}->ask(++$user, $text);
		$check->($got, "$version bot", $user, $version);
	}
}

sub is_counted ($user, $n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 }, $what;
}

# -- answers -----------------------------------------------------------------

for ([ 'a short answer', 'Да, можно.', 1, qr/^Да, можно\./ ],
    [ 'a comparison', '1 < 2 & 3 > 2', 1, qr/^1 < 2 & 3 > 2/ ],
    [ 'tags', '<b>жирный <i>оба</b> </u> <script>', 1,
	qr/жирный .*оба.*<script>/s ],
    [ 'Markdown', "## Итог\n**Продажи** `A<B` [тут](https://wb.ru/?a=1&b=2)", 1,
	qr/^Итог\nПродажи A<B тут/ ],
    [ 'a table', "| Товар | Шт |\n|---|---|\n| Юбка | 5 |\n| Платье | 7 |\n", 1,
	qr/Юбка.*5.*Платье.*7/s ],
    [ 'tables of 5,600 characters', "| Товар | Шт |\n|---|---|\n| Юбка | 5 |\n\n", 150,
	qr/^(?:Товар \| Шт\s+Юбка \| 5\s+){100,}Ответ не поместился .*«продолжи»/ ],
    [ 'code', "```\nx = a < b\n```", 1, qr/x = a < b/ ],
    [ 'an open tag', 'Цена <', 1, qr/^Цена </ ],
    [ 'emoji', '📦📊', 1000, qr/^(?:📦📊){1000}/ ],
    [ '5,400 characters', "Проверьте остатки товара.\n\n", 200,
	qr/^(?:Проверьте остатки товара\.\s+)+Ответ не поместился .*«продолжи»/ ],
    [ '5,400 characters of tags', '**a<b** ', 1500, qr/^a<b .*«продолжи»/s ],
    [ 'a megabyte', '&', 1000000, qr/^&+\s+Ответ .*«продолжи»/ ]) {
	my ($what, $text, $times, $shown) = @$_;
	each_bot(saying($text, $times), sub ($got, $bot, $user, $version) {
		is scalar @{ $got->{screen} }, 1, "$what, $bot: one message";
		like $got->{screen}[0], $shown, '... which is readable';
		like $got->{screen}[0], qr/Осталось: 29\/30\z/,
		    '... with the number of chats left' if $version eq 'old';
		ok !$got->{left_chat}, '... and the bot stays in its chat';
		is_counted($user, 1, '... and the question is counted');
	});
}

# "продолжи" is an ordinary question: its context has the whole answer.
{
	my $id = ++$user;
	$bot{new}->ask($id, saying('Совет. ', 800));
	$bot{new}->ask($id, 'продолжи [[id=more]]');
	my @messages = @{ $s->model_last('more')->{body}{messages} };
	is length $messages[-2]{content}, 800 * length 'Совет. ',
	    'the context has all of the answer that did not fit';
	like $messages[0]{content}, qr/«продолжи»/,
	    '... and the rules say how to continue it';
}

# -- failures ----------------------------------------------------------------

# The new bot shows the status and the whole sentence of the service.
sub is_failure ($got, $what, $version, $status, $sentence)
{
	is $got->{status}, $status, "$what: $status";
	is scalar @{ $got->{screen} }, 1, '... one message';
	like $got->{screen}[0], $version eq 'old' ? qr/^Произошла ошибка/
	    : qr/\n\nСтатус: $status\n$sentence\z/, '... which is readable';
	ok !$got->{left_chat}, '... and the bot stays in its chat';
}

for ([ 'the model refuses the key', 'status=401',
	qr/ИИ-ассистент не смог ответить, вопрос не засчитан\. Попробуйте ещё раз через пару минут\./ ],
    [ 'the model fails', 'status=500 retry_after_ms=1', qr/ИИ-ассистент не смог ответить, [^<>&]*\./ ],
    [ 'the model hangs', 'delay=20000', qr/ИИ-ассистент не смог ответить, [^<>&]*\./ ],
    [ 'the model closes its connection', 'close=headers', qr/ИИ-ассистент не смог ответить, [^<>&]*\./ ],
    [ 'the model sends an empty body', 'body=empty', qr/ИИ-ассистент не смог ответить, [^<>&]*\./ ],
    [ 'the model refuses', 'body=refusal', qr/ИИ-ассистент отказался отвечать, вопрос не засчитан\. Попробуйте задать его другими словами\./ ],
    [ 'the answer is filtered', 'body=filter', qr/ИИ-ассистент отказался отвечать, [^<>&]*\./ ]) {
	my ($what, $mark, $sentence) = @$_;
	each_bot("Вопрос [[$mark]]", sub ($got, $bot, $user, $version) {
		is_failure($got, "$what, $bot", $version, 500, $sentence);
		is_counted($user, 0, '... and nothing is counted');
	});
}

# -- a used-up day -----------------------------------------------------------

for my $version (sort keys %bot) {
	my $id = ++$user;
	$s->sql("insert into ai_chat_daily_limits (telegram_id, request_count,
	    last_reset_date) values ($id, $LIMIT,
	    (now() at time zone 'Europe/Moscow')::date)");
	my $day = $s->value("select to_char((now() at time zone 'Europe/Moscow')
	    + interval '1 day', 'DD.MM')");
	my $got = $bot{$version}->ask($id, 'Ещё вопрос');
	is $got->{status}, 429, "a used-up day, $version bot";
	is scalar @{ $got->{screen} }, $version eq 'new' ? 2 : 1,
	    '... is shown';
	like $got->{screen}[0], qr/^⛔ Лимит на сегодня — 30 вопросов\. Следующий можно будет задать \Q$day\E после 00:00 \(МСК\)\.\n/,
	    '... with the time of the next question';
	ok $got->{left_chat}, '... and the bot leaves its chat';
	is $bot{$version}->limits($id), '█' x 10, '... its bar is full';
	is $s->ledger($id)->{count}, $LIMIT,
	    '... and the question is not counted';
}
is $bot{new}->limits(1), '░' x 10, 'a bar of one chat is empty';

# -- failures of the service -------------------------------------------------

$s->stop_pg;
each_bot('Вопрос', sub ($got, $bot, $user, $version) {
	is_failure($got, "PostgreSQL is down, $bot", $version, 503,
	    qr/Сервис временно недоступен, вопрос не засчитан\. Попробуйте ещё раз через минуту\./);
});
$s->start_pg;
wait_for(sub { $s->get('/health/ready')->{status} == 200 }, 30, 'the database');
is_counted($_, 0, '... and nothing is counted') for $user - 1, $user;

$s->kill_worker($_) for 1, 2;
each_bot('Вопрос', sub ($got, $bot, $user, $version) {
	is_failure($got, "Nginx without workers, $bot", $version, 502,
	    qr/Сервис временно недоступен, вопрос не засчитан\. Попробуйте ещё раз через минуту\./);
	is_counted($user, 0, '... and nothing is counted');
});
$s->start_worker($_) for 1, 2;

# A worker that is killed during the chat: Nginx answers.  Nginx has no way to
# find out whether the chat was saved, see answer_cut.t.
for my $version (sort keys %bot) {
	my $id = ++$user;
	my $pid = fork // die "could not fork: $!\n";
	if (!$pid) {
		wait_for(sub { $s->model_count("dies$id") }, 20, 'the model');
		kill KILL => $s->worker_pid($_) for 1, 2;
		POSIX::_exit(0);
	}
	my $got = $bot{$version}->ask($id, "Вопрос [[delay=3000 id=dies$id]]");
	waitpid $pid, 0;
	ok $s->may_die($_), "worker $_ is killed" for 1, 2;
	is_failure($got, "a worker that is killed, $version bot", $version, 502,
	    qr/Связь с сервисом прервалась, вопрос мог быть засчитан\. Попробуйте ещё раз через минуту\./);
	$s->start_worker($_) for 1, 2;
	my $ledger = $s->ledger($id);
	is "$ledger->{count} $ledger->{rows}", '0 0', '... and nothing is counted';
}

# -- blank messages, and no limit ---------------------------------------------

each_bot('   ', sub ($got, $bot, $user, $version) {
	is $got->{status}, 422, "a blank message, $bot: refused";
	is_counted($user, 0, '... and not counted');
});
{
	my $got = $bot{new}->call(10, GET => '/v1/chat/health');
	is $got->{content}, $bot{new}->call(10, GET => '/health')->{content},
	    '/v1/chat/health answers as /health does';
	is $got->{json}{service}, 'ai_chat', '... with the name of the service';
}

$s->restart_worker($_, AI_CHAT_DAILY_LIMIT => 0,
    AI_CHAT_USER_CONCURRENCY => 2) for 1, 2;
{
	my $id = ++$user;
	for my $n (1 .. $LIMIT + 2) {
		my $got = $bot{old}->ask($id, saying('Да'));
		next if $n < $LIMIT + 2;
		is $got->{screen}[0], "Да\n\nОсталось: -1/30",
		    'without a limit 32 chats are answered, and -1 are left';
	}
	my $limits = $s->get("/v1/chat/limits/$id")->{json};
	is_deeply [ @$limits{qw(requests_today requests_remaining daily_limit)} ],
	    [ $LIMIT + 2, -1, 0 ], '... which the limits endpoint says, too';
	my $key = { 'Idempotency-Key' => 'no-limit' };
	my ($first, $again) = map { $s->send(telegram_id => $id,
	    headers => $key) } 1, 2;
	is $again->{content}, $first->{content},
	    '... a repeat gets the same response';
	is $again->{json}{remaining_requests}, -1, '... with -1, too';
	my @got = $s->send_many(map { { telegram_id => $id,
	    message => '[[delay=700]]' } } 1 .. 8);
	is join(' ', sort map { $_->{status} } @got),
	    '200 200 429 429 429 429 429 429',
	    '... chats at once are still limited';
	is((grep { why($_) eq 'Too many chats at once' } @got), 6,
	    '... and the error does not say that the day is used up');
}

# Another question while two are in flight: both bots treat any 429 as a used-up
# day and leave their chats, but the text that they show is true.
for my $version (sort keys %bot) {
	my $id = ++$user;
	my @socks = $s->start_chats(map { { telegram_id => $id,
	    message => "[[delay=3000 id=crowd$id]]" } } 1, 2);
	wait_for(sub { $s->model_count("crowd$id") == 2 }, 20, 'the model');
	my $got = $bot{$version}->ask($id, 'Ещё вопрос');
	is $got->{status}, 429, "one question too many at once, $version bot";
	like $got->{screen}[0], qr/^⛔ Предыдущий вопрос ещё обрабатывается, поэтому новый не засчитан\. Дождитесь ответа и задайте новый вопрос ещё раз\.\n/,
	    '... the bot shows the reason';
	finish_chats(@socks);
	is_counted($id, 2, '... and the question is not counted');
}

is join("\n", map { @{ $_->{refused} } } values %bot), '',
    'Telegram refused no message';

done_testing;
