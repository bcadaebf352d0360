# What a caller may send: each invalid input with its response, valid inputs at
# the limits, and texts that are stored and returned unchanged.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { AI_CHAT_DAILY_LIMIT => 1000 },
    model_args => [ '--record' ]);
my ($SEND, $HISTORY, $RESET, $CLEAR) = map { "/v1/chat/$_" }
    qw(send history reset-limit clear);
my $HUGE = '9' x 400;

# A valid body of a chat; the arguments replace values, as JSON text.
sub chat (%o)
{
	my %f = (telegram_id => 1, message => '"Вопрос"', %o);
	return '{' . join(',', map { qq("$_":$f{$_}) }
	    grep { defined $f{$_} } sort keys %f) . '}';
}

sub bytes ($text)
{
	utf8::encode($text);
	return $text;
}

# Compares the faults as [ type, loc ... ]; a '#' stands for any position in a
# text.
sub is_422 ($got, $title, @faults)
{
	my $seen = $got->{json} && ref $got->{json}{detail} eq 'ARRAY'
	    ? $got->{json}{detail} : [];
	subtest $title => sub {
		is $got->{status}, 422, 'status';
		is_deeply [ map { [ $_->{type}, map {
			/^\d+$/ ? '#' : $_ } @{ $_->{loc} } ] } @$seen ],
		    [ map { [ map { /^\d+$/ ? '#' : $_ } @$_ ] } @faults ],
		    'type and loc' or diag $got->{content};
		is join(',', sort map { keys %$_ } @$seen),
		    join(',', sort map { qw(type loc msg) } @faults),
		    'these three fields';
		ok !(grep { ref $_->{msg} || $_->{msg} !~ /\S/ } @$seen),
		    'each has a text';
	};
}

# -- invalid JSON ------------------------------------------------------------

my @broken = (
	[ 'a word', 'hello' ],
	[ 'an open object', '{"telegram_id":1,"message":"x"' ],
	[ 'an open string', '{"telegram_id":1,"message":"x' ],
	[ 'an open escape', '{"telegram_id":1,"message":"\\' ],
	[ 'blanks alone', " \r\n\t " ],
	[ 'a BOM', "\xef\xbb\xbf" . bytes(chat()) ],
	[ 'two documents', chat() . chat() ],
	[ 'a word after the document', chat() . ' x' ],
	[ 'a comma after the document', chat() . ',' ],
	[ 'a closing brace too many', chat() . '}' ],
	[ 'a NUL after the document', chat() . "\0" ],
	[ 'a NUL within the document', "{\0" . '"telegram_id":1}' ],
	[ 'a form feed as a blank', "\f" . chat() ],
	[ 'a no-break space as a blank', "\xc2\xa0" . bytes(chat()) ],
	[ 'a comma before the brace', '{"telegram_id":1,"message":"x",}' ],
	[ 'a comma in an array', chat(x => '[1,]') ],
	[ 'no comma', '{"telegram_id":1 "message":"x"}' ],
	[ 'no colon', '{"telegram_id" 1}' ],
	[ 'a bare key', '{telegram_id:1,"message":"x"}' ],
	[ 'a key in single quotes', q({'telegram_id':1,"message":"x"}) ],
	[ 'a string in single quotes', q({"telegram_id":1,"message":'x'}) ],
	[ 'a line comment', chat() . "// x\n" ],
	[ 'a comment', '{/* x */"telegram_id":1,"message":"x"}' ],
	[ 'a hash comment', "# x\n" . chat() ],
	(map { [ "$_ as a value", chat(x => $_) ] } qw(NaN Infinity -Infinity
	    nan TRUE True None undefined tru nul 01 -01 +1 .5 1. - -- 1e 1e+ 0x10
	    1_000 - "\x" "\u12" "\u12g4" "\'" "\a")),
	[ 'NaN as the id', chat(telegram_id => 'NaN') ],
	[ 'a leading zero', chat(telegram_id => '007') ],
	[ 'a plus sign', chat(telegram_id => '+7') ],
	[ 'a hexadecimal id', chat(telegram_id => '0x7') ],
	[ 'U+0000', chat(message => '"a\u0000b"') ],
	[ 'U+0000 in a key', chat('a\u0000b' => 1) ],
	[ 'U+0000 in a field nobody reads', chat(x => '"\u0000"') ],
	[ 'U+0000 in the data', chat(user_context => '"\u0000"') ],
	[ 'a high surrogate alone', chat(message => '"\ud83d"') ],
	[ 'a low surrogate alone', chat(message => '"\ude00"') ],
	[ 'surrogates the wrong way round', chat(message => '"\ude00\ud83d"') ],
	[ 'two high surrogates', chat(message => '"\ud83d\ud83d"') ],
	[ 'a surrogate and a letter', chat(message => '"\ud83dx"') ],
	[ 'a surrogate and another escape', chat(message => '"\ud83d\n"') ],
	[ 'a surrogate in a key', chat('\ud83d' => 1) ],
	(map { [ "a raw control byte $_", chat(message => '"a' . chr($_) . 'b"') ] }
	    0, 1, 8, 9, 10, 13, 27, 31),
	[ 'a raw newline in a key', chat("a\nb" => 1) ],
	(map { my $b = $_; [ 'malformed UTF-8 ' . unpack('H*', $b),
	    '{"telegram_id":1,"message":"a' . $b . 'b"}' ] } "\xff", "\x80",
	    "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
	    "\xed\xb0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
	    "\xf8\x88\x80\x80\x80", "\xe2\x82", "\xf0\x9f\x98", "\xc3\xc3",
	    "\xed\xa0\xbd\xed\xb8\x80"),
	[ 'malformed UTF-8 in a key', '{"telegram_id":1,"message":"x","' . "\xff"
	    . '":1}' ],
	[ 'malformed UTF-8 outside', "\xff" . chat() ],
	[ 'UTF-16', join '', map { "\0$_" } split //, '{"telegram_id":1}' ],
	[ 'a nesting of 33', chat(x => '[' x 32 . ']' x 32) ],
	[ 'a nesting of 33 objects', chat(x => '{"a":' x 32 . '1' . '}' x 32) ],
	[ 'a nesting of 10,000', chat(x => '[' x 10000 . ']' x 10000) ],
	[ 'a nesting of 100,000 that never closes', '[' x 100000 ],
	[ 'a form', 'telegram_id=1&message=x' ],
	[ 'XML', '<telegram_id>1</telegram_id>' ],
	[ 'a long run of digits and a slip', chat(x => "${HUGE}x") ],
);
for (@broken) {
	my ($what, $body) = @$_;
	$body = bytes($body) if utf8::is_utf8($body);
	is_422($s->post($SEND, $body), $what, [ 'json_invalid', 'body', 0 ]);
}
for my $path ($HISTORY, $RESET, $CLEAR) {
	is_422($s->post($path, '{"telegram_id":1'), "$path, an open object",
	    [ 'json_invalid', 'body', 0 ]);
	is_422($s->post($path, ''), "$path, no body", [ 'missing', 'body' ]);
	is_422($s->post($path, '{"telegram_id":1,"x":"\u0000"}'), "$path, U+0000",
	    [ 'json_invalid', 'body', 0 ]);
}
{
	my $got = $s->post($SEND, bytes('{"message":"Привет",}'));
	is $got->{json}{detail}[0]{loc}[1], 20,
	    'the place of the error is counted in characters';
}

# -- JSON of another shape ---------------------------------------------------

for my $path ($SEND, $HISTORY, $RESET) {
	is_422($s->post($path, $_), "$path: $_ is no object",
	    [ 'model_attributes_type', 'body' ])
	    for 'null', 'true', '1', '1.5', '"x"', '[]', '[{"telegram_id":1}]';
}
is_422($s->post($SEND, ''), 'no body', [ 'missing', 'body' ]);

my @ids = (
	(map { [ $_, 'int_type' ] } '"1"', '1.0', '1.5', '1e2', '1E2', '-1.0',
	    'true', 'false', 'null', '[]', '[1]', '{}', '""', '1e999'),
	(map { [ $_, 'greater_than_equal' ] } '0', '-0', '-1',
	    '-9223372036854775808', '-9223372036854775809', "-$HUGE"),
	(map { [ $_, 'less_than_equal' ] } '9223372036854775808',
	    '18446744073709551615', '18446744073709551616', $HUGE),
);
for (@ids) {
	my ($value, $type) = @$_;
	my $brief = length $value > 40 ? 'a number of 400 digits' : $value;
	my @fault = ([ $type, 'body', 'telegram_id' ]);
	is_422($s->post($SEND, bytes(chat(telegram_id => $value))),
	    "send, telegram_id $brief", @fault);
	is_422($s->post($HISTORY, qq({"telegram_id":$value})),
	    "history, telegram_id $brief", @fault);
	is_422($s->post($RESET, qq({"telegram_id":$value})),
	    "reset-limit, telegram_id $brief", @fault);
	is_422($s->post($CLEAR, qq({"telegram_id":$value})),
	    "clear, telegram_id $brief", @fault);
}
for my $path ($HISTORY, $RESET, $CLEAR) {
	is_422($s->post($path, '{}'), "$path, an empty object",
	    [ 'missing', 'body', 'telegram_id' ]);
}

my @blank = ("\x{85}", "\x{a0}", "\x{1680}", "\x{2000}\x{200a}", "\x{2028}",
    "\x{2029}", "\x{202f}", "\x{205f}", "\x{3000}");
my @fields = (
	[ 'nothing', { telegram_id => undef, message => undef },
	    [ 'missing', 'body', 'telegram_id' ],
	    [ 'missing', 'body', 'message' ] ],
	[ 'no message', { message => undef },
	    [ 'missing', 'body', 'message' ] ],
	[ 'another case', { message => undef, Message => '"x"' },
	    [ 'missing', 'body', 'message' ] ],
	(map { [ "message $_", { message => $_ },
	    [ 'string_type', 'body', 'message' ] ] }
	    'null', '1', '1.5', 'true', '[]', '["x"]', '{}'),
	[ 'an empty message', { message => '""' },
	    [ 'string_too_short', 'body', 'message' ] ],
	(map { [ "a message of blanks $_", { message => $_ },
	    [ 'value_error', 'body', 'message' ] ] }
	    '" "', '"\t\n\r\f"', '"\u000b"', '"\u3000"'),
	(map { [ sprintf('a message of U+%04X', ord),
	    { message => qq(" $_ ") }, [ 'value_error', 'body', 'message' ] ] }
	    @blank),
	[ 'a message of 4,001', { message => '"' . 'x' x 4001 . '"' },
	    [ 'string_too_long', 'body', 'message' ] ],
	[ 'a message of 4,001 emoji', { message => '"' . '📦' x 4001 . '"' },
	    [ 'string_too_long', 'body', 'message' ] ],
	[ 'a message of 4,001 escapes', { message => '"' . '\n' x 4000 . 'x"' },
	    [ 'string_too_long', 'body', 'message' ] ],
	[ 'blanks over the length', { message => '"' . ' ' x 4001 . '"' },
	    [ 'string_too_long', 'body', 'message' ] ],
	(map { [ "user_context $_", { user_context => $_ },
	    [ 'string_type', 'body', 'user_context' ] ] }
	    '1', 'false', '[]', '{"a":1}'),
	[ 'user_context of 16,001', { user_context => '"' . 'ж' x 16001 . '"' },
	    [ 'string_too_long', 'body', 'user_context' ] ],
	[ 'three faults at once', { telegram_id => '"1"', message => 'null',
	    user_context => '0' }, [ 'int_type', 'body', 'telegram_id' ],
	    [ 'string_type', 'body', 'message' ],
	    [ 'string_type', 'body', 'user_context' ] ],
);
for (@fields) {
	my ($what, $fields, @faults) = @$_;
	is_422($s->post($SEND, bytes(chat(%$fields))), $what, @faults);
}

my @pages = (
	(map { [ limit => $_, 'int_type' ] } '"10"', '1.5', 'true', 'null', '[]'),
	(map { [ limit => $_, 'greater_than_equal' ] } '0', '-1', "-$HUGE"),
	(map { [ limit => $_, 'less_than_equal' ] } '101', $HUGE),
	(map { [ offset => $_, 'int_type' ] } '"0"', '0.0', 'false', 'null', '{}'),
	(map { [ offset => $_, 'greater_than_equal' ] } '-1', "-$HUGE"),
	[ offset => '9223372036854775808', 'less_than_equal' ],
);
for (@pages) {
	my ($name, $value, $type) = @$_;
	is_422($s->post($HISTORY, qq({"telegram_id":1,"$name":$value})),
	    'history, ' . substr("$name $value", 0, 40),
	    [ $type, 'body', $name ]);
}
is_422($s->post($HISTORY, '{"limit":0,"offset":-1}'), 'history, all wrong',
    [ 'missing', 'body', 'telegram_id' ],
    [ 'greater_than_equal', 'body', 'limit' ],
    [ 'greater_than_equal', 'body', 'offset' ]);

# -- paths and queries -------------------------------------------------------

for my $where (qw(limits stats)) {
	is_422($s->get("/v1/chat/$where/$_"), "$where/" . substr($_, 0, 30),
	    [ 'int_parsing', 'path', 'telegram_id' ])
	    for qw(x 1x x1 1.5 1e3 0x1 - -- null %20 1%201 %D9%A1 1_0 1%27--
	    1;drop ..7 1%0A), '1' x 300 . 'x';
	is_422($s->get("/v1/chat/$where/$_"), "$where/" . substr($_, 0, 30),
	    [ 'greater_than_equal', 'path', 'telegram_id' ])
	    for qw(0 -1 -0 -9223372036854775809 000), "-$HUGE";
	is_422($s->get("/v1/chat/$where/$_"), "$where/" . substr($_, 0, 30),
	    [ 'less_than_equal', 'path', 'telegram_id' ])
	    for qw(9223372036854775808 18446744073709551617), $HUGE;
}
is_422($s->get("/v1/chat/stats/1?days=$_"), 'days=' . substr($_, 0, 30),
    [ 'int_parsing', 'query', 'days' ])
    for '', '7,8', qw(x 7x 1.5 1e2 - seven %D9%A7 7%27 [7]), '7' x 100 . 'x',
    '1&days=x', '%00', '7%00';
is_422($s->get('/v1/chat/stats/1?days'), 'days without a value',
    [ 'int_parsing', 'query', 'days' ]);
for my $days (qw(0 -1 366 1000 -0 99999999999999999999), $HUGE) {
	my $got = $s->get("/v1/chat/stats/1?days=$days");
	is $got->{status}, 400, 'days=' . substr($days, 0, 30);
	is $got->{content},
	    '{"detail":"Days parameter must be between 1 and 365"}', '... in words';
}
is_422($s->get('/v1/chat/stats/x?days=0'), 'the schema comes before the range',
    [ 'int_parsing', 'path', 'telegram_id' ]);
is_422($s->get('/v1/chat/stats/0?days=x'), 'a path and a query, both wrong',
    [ 'greater_than_equal', 'path', 'telegram_id' ],
    [ 'int_parsing', 'query', 'days' ]);
is $s->get("/v1/chat/stats/1?$_")->{status}, 200, "stats?$_ is taken"
    for 'days=1', 'days=365', 'days=007', 'days=x&days=3', 'Days=x', 'xdays=x',
    'd%61ys=3', 'days=%33', 'x&&=&days=3&', 'x=days%3Dx', '';

# -- bodies of another length than announced
# ------------------------------------

{
	my $head = join "\r\n", "POST $SEND HTTP/1.1", 'Host: a',
	    'Connection: close', "X-API-KEY: $AIChat::Test::KEY", '';
	my $body = bytes(chat(message => '"Длина"'));
	my $got = $s->raw_request($head . "Content-Length: 5\r\n\r\n" . $body);
	is_422($got, 'a body longer than its length is cut there',
	    [ 'json_invalid', 'body', 0 ]);
	$got = $s->raw_request("$head\r\n");
	is_422($got, 'no length is no body', [ 'missing', 'body' ]);
	$got = $s->raw_request($head . "Content-Length: -1\r\n\r\n");
	is $got->{status}, 400, 'a negative length is not HTTP';
}

# -- no effects
# ------------------------------------------------------------------

is $s->model_count, 0, 'the model was called for none of these';
is $s->value("select count(*) from $_"), 0, "... and $_ is empty"
    for qw(ai_chat_requests ai_chat_daily_limits);

# -- valid inputs
# -----------------------------------------------------------------

my $max = '9223372036854775807';
is $s->post($SEND, bytes(chat(telegram_id => $max)))->{status}, 200,
    'the largest id chats';
is $s->value("select count(*) from ai_chat_requests
    where telegram_id = $max"), 1, '... is stored unchanged';
for my $got ($s->get("/v1/chat/limits/$max"), $s->get("/v1/chat/stats/$max")) {
	is $got->{status}, 200, '... and has limits and statistics';
	like $got->{content}, qr/"telegram_id":$max,/, '... under its number';
}
is $s->post($RESET, qq({"telegram_id":$max}))->{json}{message},
    "Лимит пользователя $max успешно сброшен", '... and can be reset';
is $s->post($HISTORY, qq({"telegram_id":$max,"limit":100,"offset":$max}))
    ->{status}, 200, '... and the largest offset is no error';

my @good = (
	[ '4,000 emoji', { message => '"' . '📦' x 4000 . '"' }, '📦' x 4000 ],
	[ '4,000 emoji as escapes', { message => '"' . '\ud83d\udce6' x 4000
	    . '"' }, '📦' x 4000 ],
	[ 'one letter', { message => '"x"' }, 'x' ],
	[ 'blanks around', { message => '"  x\n "' }, "  x\n " ],
	[ 'a zero width space', { message => '"\u200b"' }, "\x{200b}" ],
	[ 'every escape', { message => '"\"\\\\\/\b\f\n\r\tA\u0416"' },
	    "\"\\/\b\f\n\r\tAЖ" ],
	[ 'an escaped control byte', { message => '"\u0001\u001f\u007f"' },
	    "\1\x1f\x7f" ],
	[ 'SQL', { message => q("'; DROP TABLE ai_chat_requests; --$1 %s %n") },
	    q('; DROP TABLE ai_chat_requests; --$1 %s %n) ],
	[ 'HTML', { message => '"<b>&amp;</b><script>alert(1)</script>"' },
	    '<b>&amp;</b><script>alert(1)</script>' ],
	[ 'quotes', { message => q("\"«‘'`\"\\\\") }, q("«‘'`"\\) ],
	[ 'right to left, joiners, marks', { message =>
	    '"שלום \u202eمرحبا 👨‍👩‍👧 e\u0301"' }, "שלום \x{202e}مرحبا 👨‍👩‍👧 e\x{301}" ],
	[ 'CR LF', { message => '"a\r\nX-Injected: 1\r\n\r\nb"' },
	    "a\r\nX-Injected: 1\r\n\r\nb" ],
	[ 'non-characters', { message => '"\uffff\ufffe\udbff\udfff"' },
	    "\x{ffff}\x{fffe}\x{10ffff}" ],
	[ 'raw non-characters', { message => qq("a\x{7f}\x{80}\x{feff}") },
	    "a\x{7f}\x{80}\x{feff}" ],
	[ 'a text like a line of COPY', { message => '"\\\\N\\\\."' }, '\N\.' ],
	[ 'a key written in escapes', { message => undef,
	    '\u006dessage' => '"x"' }, 'x' ],
	[ 'no data', { user_context => 'null' }, 'Вопрос' ],
	[ 'empty data', { user_context => '""' }, 'Вопрос' ],
	[ '16,000 of data', { user_context => '"' . '📦' x 16000 . '"' },
	    'Вопрос' ],
	[ 'unknown fields', { x => '{"a":[1,null,1e999,-0.0e-0]}',
	    '' => '""', limit => '"x"' }, 'Вопрос' ],
	[ 'a number of 400 digits in an unknown field', { x => $HUGE },
	    'Вопрос' ],
	[ 'a nesting of 32', { x => '[' x 31 . ']' x 31 }, 'Вопрос' ],
	[ 'a nesting of 32 around a number', { x => '[' x 31 . '1' . ']' x 31 },
	    'Вопрос' ],
	[ 'a nesting of 32 objects', { x => '{"a":' x 31 . '""' . '}' x 31 },
	    'Вопрос' ],
);
for (@good) {
	my ($what, $fields, $stored) = @$_;
	my $got = $s->post($SEND, bytes(chat(%$fields)));
	is $got->{status}, 200, "$what is accepted" or diag $got->{content};
	is $s->value('select encode(convert_to(message, \'UTF8\'), \'hex\')
	    from ai_chat_requests order by id desc limit 1'),
	    unpack('H*', bytes($stored)), '... and stored unchanged';
	my ($asked) = split_question(
	    $s->model_last->{body}{messages}[-1]{content});
	is $asked, $stored,
	    '... and sent to the model unchanged';
	is $s->post($HISTORY, { telegram_id => 1, limit => 1 })
	    ->{json}{items}[0]{message}, $stored, '... and returned unchanged';
}

for (
	[ 'the last one of a field that comes twice',
	    '{"telegram_id":"x","message":1,"telegram_id":1,"message":"second"}' ],
	[ 'blanks between everything',
	    " \t\r\n{ \"telegram_id\" : 1 ,\n\"message\"\t:\r\"second\" } \n" ],
) {
	my ($what, $body) = @$_;
	is $s->post($SEND, $body)->{status}, 200, "$what is accepted";
	is $s->value('select message from ai_chat_requests order by id desc
	    limit 1'), 'second', '... with the last value';
}
is_422($s->post($SEND, '{"telegram_id":1,"message":"x","message":""}'),
    'the last one of a field that comes twice, which is invalid,',
    [ 'string_too_short', 'body', 'message' ]);

{
	my $start = '{"telegram_id":1,"message":"full","x":"';
	my $body = $start . 'y' x (262144 - length($start) - 2) . '"}';
	is length $body, 262144, 'a body of exactly the largest size';
	is $s->post($SEND, $body)->{status}, 200, '... is';
	$body = '{"telegram_id":1,"message":"full","x":['
	    . join(',', (1) x 100_000) . ']}';
	is $s->post($SEND, $body)->{status}, 200,
	    '100,000 numbers are accepted';
}

for my $type (undef, 'application/json; charset=utf-8', 'text/plain',
    'application/x-www-form-urlencoded', 'nonsense') {
	my $got = $s->request('POST', $SEND, content => bytes(chat()),
	    headers => { 'Content-Type' => $type });
	is $got->{status}, 200, 'JSON is accepted as ' . ($type // 'no type');
}

# The answer of a model is returned unchanged, too.
{
	my $text = "<b>Ответ</b> \"'\\\r\n\t📈 שלום %s &amp;";
	my $mark = join '', map { sprintf '%%%02X', ord } split //, bytes($text);
	my $got = $s->send(message => "[[text=$mark]]", format => 'plain');
	is $got->{json}{response}, $text, 'an answer is returned unchanged';
	is $s->value('select encode(convert_to(response, \'UTF8\'), \'hex\')
	    from ai_chat_requests order by id desc limit 1'),
	    unpack('H*', bytes($text)), '... and stored unchanged';
}

done_testing;
