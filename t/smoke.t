# One question through all parts, and the data that it leaves.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 2, env => { AI_CHAT_DAILY_LIMIT => 3 });

my $got = $s->get('/health', headers => { 'X-API-KEY' => undef });
is $got->{status}, 200, 'health needs no key';
is_deeply $got->{json}, { status => 'ok', service => 'ai_chat',
    version => '1.0.0' }, '... and has name and version';

$got = $s->get('/health/ready', headers => { 'X-API-KEY' => undef });
is $got->{status}, 200, 'the worker is ready';
is $got->{json}{checks}{database}, 'ok', '... with its database';

$got = $s->send(headers => { 'X-API-KEY' => 'wrong' });
is $got->{status}, 403, 'a wrong key is refused';
is_deeply $got->{json}, { detail => 'Invalid or missing API key' },
    '... with an error text';

$got = $s->send(telegram_id => 7,
    message => 'Почему упали заказы? [[text=Проверьте%20остатки tokens=42]]');
is $got->{status}, 200, 'a question is answered';
is_deeply $got->{json}, { response => 'Проверьте остатки',
    remaining_requests => 2, tokens_used => 42 },
    '... with the text of the model';
is $s->model_count, 1, '... which was called once';

$got = $s->send(telegram_id => 7, message => 'А дальше? [[id=next]]');
is $got->{status}, 200, 'the next question is answered';
like $s->model_last('next')->{body}{messages}[1]{content},
    qr/^Почему упали заказы/, '... with the first one as context';

$got = $s->post('/v1/chat/history', { telegram_id => 7, limit => 1 });
is $got->{status}, 200, 'history has the exchanges';
is $got->{json}{total}, 2, '... both of them';
like $got->{json}{items}[0]{message}, qr/^А дальше/, '... the newest first';

$got = $s->get('/v1/chat/limits/7');
is $got->{status}, 200, 'limits has the numbers';
is $got->{json}{requests_today}, 2, '... with two used';
is $got->{json}{requests_remaining}, 1, '... and one left';

is $s->send(telegram_id => 7)->{status}, 200, 'the last one of the day';
$got = $s->send(telegram_id => 7);
is $got->{status}, 429, 'one more chat is refused';
like $got->{headers}{'retry-after'}, qr/^\d+$/, '... with Retry-After';
is $s->model_count, 3, '... without a call of the model';

is $s->value('select request_count from ai_chat_daily_limits
    where telegram_id = 7'), 3, 'the counter agrees';
is $s->value('select count(*) from ai_chat_requests where telegram_id = 7'),
    3, 'and so do the rows';

done_testing;
