# Formats of answers: text that Telegram accepts, in parts when it is too long
# for a message.  The text of the model is saved unchanged.

use v5.36;
use utf8;
use AIChat::Test;

my $user = 0;
my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 1000,
});

# A question that the model answers with this text, repeated; other options are
# members of the body.
sub said ($text, %o)
{
	my $times = delete $o{times} // 1;
	utf8::encode($text);
	$text =~ s/([^A-Za-z0-9])/sprintf '%%%02x', ord $1/ge;
	return (telegram_id => ++$user, %o,
	    message => "Вопрос [[text=$text repeat=$times tokens=5]]");
}

sub answer ($text, %o)
{
	my $got = $s->send(said($text, %o));
	is $got->{status}, 200, 'an answer' or diag $got->{content};
	return $got->{json};
}

sub html ($text, %o)
{
	return answer($text, format => 'telegram-html', %o);
}

# The text that Telegram shows for a message in HTML; dies where Telegram would
# refuse the message.
sub shown ($html)
{
	my (@open, $text);

	$text = '';
	pos($html) = 0;
	while (pos $html < length $html) {
		if ($html =~ m{\G</(\w+)>}gc) {
			my $last = pop @open // 'none';
			die "</$1> closes $last\n" if $last ne $1;
		} elsif ($html =~ m{\G<(b|i|u|s|code|pre|blockquote)>}gc
		    || $html =~ m{\G<(a)[ ]href="https?://[^"<>&\s]
			(?:[^"<>&\s]|&(?:amp|lt|gt|quot);)*">}gcx
		    || $html =~ m{\G<(code) class="language-[^"<>&\s]+">}gc) {
			my $tag = $1;
			die "<$tag> in code\n" if "@open" =~ /\b(?:code|pre)$/
			    && !($tag eq 'code' && $open[-1] eq 'pre');
			die "<$tag> in <$tag>\n" if grep { $_ eq $tag } @open;
			push @open, $tag;
		} elsif ($html =~ m{\G&(amp|lt|gt|quot);}gc) {
			$text .= { amp => '&', lt => '<', gt => '>',
			    quot => '"' }->{$1};
		} elsif ($html =~ m{\G([^<>&]+)}gc) {
			$text .= $1;
		} else {
			die 'odd at ' . substr($html, pos $html, 40) . "\n";
		}
	}
	die "open at the end: @open\n" if @open;
	die "nothing to see\n" if $text !~ /\S/;
	return $text;
}

sub units ($text)
{
	return length($text) + (() = $text =~ /[\x{10000}-\x{10ffff}]/g);
}

sub letters ($text) { return $text =~ s/\s+//gr }

# Each part is a message that Telegram accepts, and the parts together show the
# whole answer.
sub are_parts ($json, $limit, $html, $what)
{
	my @parts = @{ $json->{parts} // [] };
	my $seen = $html ? \&shown : sub ($text) { $text };
	my @shown = map { eval { $seen->($_) } // "refused: $@" } @parts;

	cmp_ok scalar @parts, '>', 1, "$what: in parts";
	is join("\n", grep { /^refused/ } @shown), '',
	    '... which Telegram accepts';
	is scalar(grep { units($_) > $limit || !/\S/ } @shown), 0,
	    "... of at most $limit units";
	cmp_ok scalar(grep { units($_) < $limit / 4 } @shown[0 .. $#shown - 1]),
	    '==', 0, '... none shorter than a quarter of that';
	ok letters(join '', @shown) eq letters($seen->($json->{response})),
	    '... and nothing is lost';
	return @parts;
}

my $MARKDOWN = "## Итог\nПродажи **выросли** на *10%* & `A<B`\n\n- раз\n"
    . "- [два](https://wb.ru/?a=1&b=2)\n\n<b>не тег</b>";
my $HTML = "<b>Итог</b>\nПродажи <b>выросли</b> на <i>10%</i> &amp;"
    . " <code>A&lt;B</code>\n\n• раз\n"
    . "• <a href=\"https://wb.ru/?a=1&amp;b=2\">два</a>\n\n"
    . '&lt;b&gt;не тег&lt;/b&gt;';

# -- formats -----------------------------------------------------------------

is_deeply answer($MARKDOWN, format => 'plain'), { response => $MARKDOWN,
    remaining_requests => 999, tokens_used => 5 },
    'plain: the answer is what the model wrote';
for ([ 'no format' ], [ 'null', format => undef ],
    [ 'telegram-html', format => 'telegram-html' ]) {
	my ($what, @format) = @$_;
	is_deeply answer($MARKDOWN, @format), { response => $HTML,
	    remaining_requests => 999, tokens_used => 5 },
	    "$what: the HTML of Telegram";
}
is_deeply answer($MARKDOWN, format => 'telegram-rich'), {
    response => '<h2>Итог</h2><p>Продажи <b>выросли</b> на <i>10%</i> &amp; '
	. '<code>A&lt;B</code></p><ul><li>раз</li><li><a href="https://wb.ru/'
	. '?a=1&amp;b=2">два</a></li></ul><p>&lt;b&gt;не тег&lt;/b&gt;</p>',
    remaining_requests => 999, tokens_used => 5 },
    'telegram-rich: the HTML of a rich message';
for my $nothing ('[a]: http://x.ru', '```' . "\n" . '```', '#') {
	is html($nothing)->{response}, $nothing,
	    "Markdown that would show nothing is sent as it is: $nothing";
}

for my $bad ('html', '', 'Plain', 'telegram-html ') {
	my $got = $s->send(format => $bad);
	is $got->{status}, 422, "format '$bad' is refused";
	is_deeply $got->{json}, { detail => [ { type => 'literal_error',
	    loc => [ 'body', 'format' ],
	    msg => 'Input should be \'plain\', \'telegram-html\' or '
		. '\'telegram-rich\'' } ] },
	    '... in the form of FastAPI';
}
for my $bad (1, [], {}, \1) {
	my $got = $s->send(format => $bad);
	is $got->{status}, 422, 'a format that is not a string is refused';
	is $got->{json}{detail}[0]{type}, 'string_type',
	    '... with the type of the fault';
	is_deeply $got->{json}{detail}[0]{loc}, [ 'body', 'format' ],
	    '... and the name of the member';
}
is $s->ledger(1)->{rows}, 1, 'a refused request is not counted as a chat';

# -- what is saved -----------------------------------------------------------

{
	my %ask = said($MARKDOWN, format => 'telegram-html');
	my @key = (headers => { 'Idempotency-Key' => 'html' });
	my $first = $s->send(%ask, @key);
	is $first->{json}{response}, $HTML, 'an answer in HTML';

	my $history = $s->post('/v1/chat/history',
	    { telegram_id => $ask{telegram_id} });
	is $history->{json}{items}[0]{response}, $MARKDOWN,
	    '... is in the history as the model wrote it';
	$s->send(telegram_id => $ask{telegram_id}, message => '[[id=next]]');
	is $s->model_last('next')->{body}{messages}[2]{content}, $MARKDOWN,
	    '... and in the context, too';

	my $again = $s->send(%ask, @key);
	is $again->{content}, $first->{content}, 'a repeat gets the same HTML';
	is $again->{headers}{'idempotent-replayed'}, 'true', '... as a replay';
	my @others = ([ format => 'plain' ], [ format => undef ]);
	for (@others) {
		my $got = $s->send(%ask, @$_, @key);
		is $got->{status}, 422, 'the same key with another format: 422';
		is $got->{json}{detail}[0]{type}, 'idempotency_key_reused',
		    '... because the key was used for another request';
	}
	delete $ask{format};
	is $s->send(%ask, @key)->{status}, 422, '... without a format, too';
	is $s->ledger($ask{telegram_id})->{rows}, 2,
	    '... and nothing is counted';
}

# A repeat of a chat that a version without formats saved: that version made the
# digest of key, message and data.
{
	my %ask = said('да');
	my @key = (headers => { 'Idempotency-Key' => 'old' });
	$s->send(%ask, @key);
	is $s->value("select key_digest = sha256(convert_to('old', 'UTF8')
	    || '\\x00'::bytea || convert_to(message, 'UTF8') || '\\x0000'::bytea)
	    from ai_chat_requests where telegram_id = $user"), 't',
	    'without a format the digest is the one of earlier versions';
	my $got = $s->send(%ask, format => undef, @key);
	is $got->{headers}{'idempotent-replayed'}, 'true',
	    '... and with null as well';
}

# -- parts -------------------------------------------------------------------

is html('а' x 40, times => 100)->{parts}, undef,
    '4,000 characters fit into a message';
{
	my $json = html("Абзац **первый** из [многих](https://wb.ru).\n\n",
	    times => 300);
	my @parts = are_parts($json, 4032, 1, 'paragraphs');
	is scalar(grep { !/многих<\/a>\.$/ } @parts), 0,
	    '... each ends at the end of a paragraph';
	is scalar(grep { !/^Абзац/ } @parts), 0,
	    '... and begins at the beginning of one';
}
are_parts(answer("Абзац из многих.\n\n", times => 600, format => 'plain'),
    4032, 0, 'plain');
are_parts(answer('слово<', times => 1000, format => 'plain'), 4032, 0,
    'plain that looks like tags');
are_parts(html('😀', times => 5000), 4032, 1, 'surrogate pairs');
are_parts(html('&<', times => 5000), 4032, 1, 'entities');
{
	my ($got) = $s->send(said("```python\nx = 1 < 2\n" . 'y = "да"' . "\n",
	    times => 1, format => 'telegram-html'));
	is $got->{json}{response}, '<pre><code class="language-python">'
	    . "x = 1 &lt; 2\ny = \"да\"</code></pre>",
	    'a code block that the model did not close is closed';
	my $json = html('**жирный `код` и дальше ', times => 300);
	are_parts($json, 4032, 1, 'emphasis that is never closed');
	$json = html("> цитата с *курсивом* и текстом\n", times => 300);
	my @parts = are_parts($json, 4032, 1, 'a long quotation');
	is scalar(grep { !/^<blockquote>.*<\/blockquote>$/s } @parts), 0,
	    '... each part is a quotation';
}

# The largest answers: 1 MiB of JSON from the model.
for ([ 'text', 'слово ', 80000 ], [ 'all of it to be escaped', '&', 1000000 ],
    [ 'no place to cut', 'я', 500000 ], [ 'Markdown', '*a* ', 250000 ]) {
	my ($what, $text, $times) = @$_;
	my $json = html($text, times => $times);
	are_parts($json, 4032, 1, "1 MiB, $what");
	$json = answer($text, times => $times, format => 'plain');
	is length $json->{response}, $times * length $text,
	    '... plain: complete';
	are_parts($json, 4032, 0, '... plain');
}

# -- rich messages -----------------------------------------------------------

{
	my $json = answer("Абзац.\n\n", times => 400, format => 'telegram-rich');
	is $json->{parts}, undef, 'a rich message has room for 400 paragraphs';
	$json = answer("Абзац.\n\n", times => 600, format => 'telegram-rich');
	is_deeply $json->{parts}, [ '<p>Абзац.</p>' x 500,
	    '<p>Абзац.</p>' x 100 ], '... but for 500 blocks at most';
	is $json->{response}, '<p>Абзац.</p>' x 600,
	    '... and the response is complete';
	$json = answer('я', times => 40000, format => 'telegram-rich');
	is_deeply [ map { length } @{ $json->{parts} } ],
	    [ 32768 - 64 + 7, 40000 - 32768 + 64 + 7 ],
	    '... and for 32,768 units less the reserve';
}

# -- a caller that names no format -------------------------------------------

# The note at the end of the first part, when the bot shows only this part.
my $NOTE = qr/\n\nОтвет не поместился [^\n]*«продолжи»[^\n]*\z/;

sub is_one_message ($json, $whole, $limit, $what)
{
	my $shown = eval { shown($json->{response}) } // "refused: $@";

	cmp_ok units($shown), '<=', $limit, "$what: one message";
	cmp_ok units($shown) / $limit, '>', 0.5, '... a long one'
	    if (() = $json->{response} =~ /<\w/g) < 90;
	ok $shown =~ s/$NOTE//, '... with a note that the answer is longer';
	ok index(letters($whole), letters($shown)) == 0,
	    '... after the beginning of the answer';
}
for ([ 'paragraphs', "Абзац **первый** из [многих](https://wb.ru).\n\n", 300 ],
    [ 'no place to cut', 'я', 5000 ], [ 'entities', '&<', 5000 ],
    [ 'pairs of surrogates', '😀', 5000 ],
    [ 'a quotation', "> цитата с *курсивом* и текстом\n", 300 ],
    [ 'code', "```\nx = 1 < 2\n```\n", 500 ]) {
	my ($what, $text, $times) = @$_;
	my $whole = html($text, times => $times);

	for (answer($text, times => $times),
	    answer($text, times => $times, format => undef)) {
		is_one_message($_, shown($whole->{response}), 4032, $what);
		is_deeply $_->{parts}, $whole->{parts},
		    '... and the parts are those of a caller with a format';
	}
}
{
	my $json = answer('а', times => 4032);
	is $json->{response}, 'а' x 4032, 'an answer that just fits has no note';
	is $json->{parts}, undef, '... and no parts';
	$json = answer('а', times => 4033);
	like $json->{response}, $NOTE,
	    '... an answer of one unit more has the note';
	is scalar @{ $json->{parts} }, 2, '... and two parts';
	my $again = $s->send(said('а', times => 4033),
	    headers => { 'Idempotency-Key' => 'long' });
	my %ask = said('а', times => 4033);
	$ask{telegram_id} = $user - 1;
	is $s->send(%ask, headers => { 'Idempotency-Key' => 'long' })->{content},
	    $again->{content}, 'a repeat gets the same response';
}

# -- settings ----------------------------------------------------------------

$s->restart_worker($_, AI_CHAT_ANSWER_FORMAT => 'plain',
    AI_CHAT_ANSWER_RESERVE => 2048) for 1, 2;
is answer($MARKDOWN)->{response}, $MARKDOWN,
    'AI_CHAT_ANSWER_FORMAT holds for a request without a format';
is answer($MARKDOWN, format => undef)->{response}, $MARKDOWN,
    '... or with null';
is answer($MARKDOWN, format => 'telegram-html')->{response}, $HTML,
    '... and the format of a request has precedence';
are_parts(html("Абзац.\n\n", times => 600), 2048, 1,
    'a reserve of half a message');
is answer('а', times => 2048)->{parts}, undef,
    '... an answer that fits is one message';
{
	my $json = answer('а<', times => 1500);
	like $json->{response}, $NOTE,
	    'plain without a format: one message with a note';
	cmp_ok units($json->{response}), '<=', 2048, '... that fits';
}

$s->restart_worker($_, AI_CHAT_ANSWER_RESERVE => 0) for 1, 2;
is answer('а', times => 4096)->{parts}, undef,
    'without a reserve 4,096 units fit';
is scalar @{ answer('а', times => 4097)->{parts} }, 2, '... and 4,097 do not';

done_testing;
