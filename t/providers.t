# What real providers send as answers and instead of answers. Each response is
# recognized, and only an answer is stored and counted.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { OPENAI_API_KEY => 'sk-secret-zq51',
    AI_CHAT_BREAKER_FAILURES => 0, AI_CHAT_RETRY_FLOOR => 100000,
    AI_CHAT_ANSWER_FORMAT => 'plain' });
my $user = 0;

# Sends chats at once, each with a user and an id of its own. A case is [
# description, body, ... ]; further marks change the response. Returns { user,
# got, id } for each.
sub send_cases ($marks, @cases)
{
	my @chats = map { $user++; {
		telegram_id => $user,
		message => "вопрос [[id=p$user $marks " . raw($_->[1]) . ']]',
	} } @cases;
	my @got = $s->send_many(@chats);

	return map { { user => $chats[$_]{telegram_id}, got => $got[$_],
	    id => "p$chats[$_]{telegram_id}" } } 0 .. $#cases;
}

sub pays ($chat, $count, $what)
{
	is_deeply $s->ledger($chat->{user}),
	    { count => $count, rows => $count, leases => 0 }, $what;
}

sub content ($json, $more = '', $finish = 'stop')
{
	return '{"choices":[{"index":0,"message":{"role":"assistant",'
	    . qq("content":$json},"finish_reason":"$finish"}]$more});
}

sub chunk ($text, $finish = 'null')
{
	return 'data: {"choices":[{"index":0,"delta":{"content":"' . $text
	    . qq("},"finish_reason":$finish}]}\n\n);
}

# -- answers -----------------------------------------------------------------

{
	my $usage = ',"usage":{"prompt_tokens":5,"completion_tokens":7,'
	    . '"total_tokens":12}';
	# [ what, body, text, tokens ]
	my @cases = (
		[ 'a list of parts', content('[{"type":"thinking","thinking":['
		    . '{"type":"text","text":"тайна"}]},{"type":"text","text":'
		    . '"Итог: 4"}]', $usage), 'Итог: 4', 12 ],
		[ 'reasoning at the start', content('"<think>\nтайна\n</think>'
		    . '\n\nЦена: 990 ₽"', $usage), 'Цена: 990 ₽', 12 ],
		[ 'reasoning without its first tag',
		    content('"тайна</think>Цена"', $usage), 'Цена', 12 ],
		[ 'reasoning beside the answer', '{"choices":[{"message":{'
		    . '"reasoning_content":"тайна","reasoning":"тайна",'
		    . '"content":"Цена"}}]}', 'Цена', 0 ],
		[ 'a byte order mark', "\x{feff}" . content('"Готово"'),
		    'Готово', 0 ],
		[ 'white space before it', " \r\n" . content('"Готово"'),
		    'Готово', 0 ],
		[ 'a stream that was not requested', chunk('При')
		    . chunk('вет', '"stop"') . "data: {\"choices\":[]$usage}\n\n"
		    . "data: [DONE]\n\n", 'Привет', 12 ],
		[ 'a stream with other line ends', ": x\r\n\r\n"
		    . (chunk('Привет', '"stop"') =~ s/\n/\r\n/gr), 'Привет', 0 ],
		[ 'tokens as floats', content('"ок"', ',"usage":{'
		    . '"prompt_tokens":5.0,"completion_tokens":7.0,'
		    . '"total_tokens":12.0}'), 'ок', 12 ],
		[ 'tokens without a total', content('"ок"', ',"usage":{'
		    . '"prompt_tokens":5,"completion_tokens":7}'), 'ок', 12 ],
		[ 'tokens that are null', content('"ок"', ',"usage":{'
		    . '"prompt_tokens":null,"total_tokens":null}'), 'ок', 0 ],
	);
	for my $chat (send_cases('', @cases)) {
		my ($what, undef, $text, $tokens) = @{ shift @cases };
		my $got = $chat->{got};
		is $got->{status}, 200, "$what: is an answer";
		is $got->{json}{response}, $text, '... with this text';
		is $got->{json}{tokens_used}, $tokens,
		    '... and this number of tokens';
		is $s->model_count($chat->{id}), 1, '... after one call';
		pays($chat, 1, '... counted once');
		is $s->value("select response from ai_chat_requests where
		    telegram_id = $chat->{user}"), $text,
		    '... stored in this form';
		$s->send(telegram_id => $chat->{user},
		    message => "дальше [[id=n$chat->{user}]]");
		is $s->model_last("n$chat->{user}")->{body}{messages}[2]{content},
		    $text, '... and sent back in this form';
	}
}

# -- temporary failures ------------------------------------------------------

{
	my @cases = (
		[ 'an error with a number', '{"error":{"code":502,'
		    . '"message":"Provider returned error"}}' ],
		[ 'an error with a number in quotes',
		    '{"error":{"code":"429"}}' ],
		[ 'an error with a name', '{"error":{"code":null,'
		    . '"type":"rate_limit_exceeded"}}' ],
		[ 'an error in a list', '[{"error":{"code":503,'
		    . '"status":"UNAVAILABLE"}}]' ],
		[ 'an error in a choice', '{"choices":[{"message":{"content":'
		    . '"Чтобы поднять карто"},"finish_reason":"error","error":{'
		    . '"code":502,"message":"Provider disconnected"}}]}' ],
		[ 'an answer that broke off',
		    content('"Чтобы"', '', 'network_error') ],
		[ 'no choices', '{"choices":[]}' ],
		[ 'a stream without its end', chunk('Чтобы') ],
		[ 'a stream with an error in it', chunk('Чтобы')
		    . "data: {\"error\":{\"code\":502}}\n\n" ],
	);
	for (send_cases('times=1 retry_after_ms=1 text=да', @cases)) {
		my ($what) = @{ $cases[$_->{user} - $user + $#cases] };
		is $_->{got}{status}, 200, "$what: tried again";
		is $_->{got}{json}{response}, 'да', '... and answered';
		is $s->model_count($_->{id}), 2, '... by the second call';
		pays($_, 1, '... counted once');
	}
	for (send_cases('retry_after_ms=1', @cases)) {
		my ($what) = @{ $cases[$_->{user} - $user + $#cases] };
		is $_->{got}{status}, 500, "$what, each time: fails";
		is $s->model_count($_->{id}), 3, '... after three calls';
		pays($_, 0, '... and costs nothing');
	}
}

# -- permanent failures ------------------------------------------------------

{
	my @cases = (
		(map { [ "finish_reason $_", content('"Вот как"', '', $_) ] }
		    qw(content_filter sensitive SAFETY PROHIBITED_CONTENT
		    RECITATION blacklist)),
		[ 'no visible text', content('"\u200b\u200b\ufeff"') ],
		[ 'only reasoning', content('"<think>тайна"') ],
		[ 'parts without text',
		    content('[{"type":"reasoning","text":"тайна"}]') ],
		[ 'a stream that is filtered', chunk('Вот')
		    . chunk('', '"content_filter"') . "data: [DONE]\n\n" ],
		[ 'a permanent error', '{"error":{"code":401,'
		    . '"message":"sk-secret-zq51 is wrong"}}' ],
		[ 'an unknown error',
		    '{"error":"sk-secret-zq51 is wrong"}' ],
		[ 'an error about the balance', '{"error":{"code":402}}' ],
	);
	for (send_cases('retry_after_ms=1', @cases)) {
		my ($what) = @{ $cases[$_->{user} - $user + $#cases] };
		is $_->{got}{status}, 500, "$what: fails";
		unlike $_->{got}{content}, qr/zq51|тайна|Вот/,
		    '... and nothing of it is in the error';
		is $s->model_count($_->{id}), 1, '... after one call';
		pays($_, 0, '... and costs nothing');
	}
}
unlike $s->worker_log(1), qr/zq51|тайна|Provider|disconnected/,
    'no text of a provider is in the log';

done_testing;
