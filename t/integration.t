# The code in docs/integration.md works as printed there: the client of a bot
# with the running service, the bot that uses it, and the example of the
# seller-data API with what the model receives of it.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew);
use AIChat::Stack;
use AIChat::Test;
use Encode qw(decode encode);
use JSON::PP ();

my $doc = decode('UTF-8',
    slurp(AIChat::Stack::top() . '/docs/integration.md'));
my %block;
push @{ $block{$1} }, $2 while $doc =~ /^```(\w+)\n(.*?)^```$/msg;

my $s = AIChat::Test->new(server => 1, env => { AI_CHAT_DAILY_LIMIT => 4,
    AI_CHAT_THREADS => 1 });
my $dir = $s->dir;
for my $file (@{ $block{python} }) {
	my ($name) = $file =~ /\A# (\w+\.py)\n/ or die "a file without a name\n";
	spew("$dir/$name", encode('UTF-8', $file));
}
ok -s "$dir/$_", "$_ is there" for qw(ai_chat.py bot.py);

# Runs some lines of Python that print JSON.
sub python ($lines)
{
	spew("$dir/run.py", encode('UTF-8', "import logging\n"
	    . "logging.basicConfig(filename='$dir/bot.log')\n$lines"));
	return JSON::PP->new->decode(run([ 'python3', "$dir/run.py" ], env => {
		AIChat::Proc::base_env(), PYTHONPATH => $dir,
		PYTHONDONTWRITEBYTECODE => 1, AI_CHAT_URL => $s->stack->url,
		AI_CHAT_KEY => $AIChat::Test::KEY, BOT_TOKEN => 'none' }));
}

# -- the client --------------------------------------------------------------

my $LONG = '[[id=long repeat=100 text=' . 'абзац%20**важно**%0a%0a' x 5 . ']]';
my $got = python(<<"END");
import asyncio, json
from ai_chat import AIChat, Refused
import os

async def main():
    ai = AIChat(os.environ["AI_CHAT_URL"], os.environ["AI_CHAT_KEY"])
    said = {}
    said["short"] = await ai.ask(1, "[[id=short text=*да*]]", "1-1")
    said["again"] = await ai.ask(1, "[[id=short text=*да*]]", "1-1")
    said["long"] = await ai.ask(1, "$LONG", "1-2")
    await ai.new_conversation(1)
    await ai.ask(1, "[[id=new]]", "1-3")
    async def refused(name, who, question, key, asks=ai):
        try:
            await asks.ask(who, question, key)
        except Refused as why:
            said[name] = str(why)
    await refused("bad", 1, "[[id=bad status=400]]", "1-4")
    await refused("too long", 1, "я" * 4001, "1-7")
    await refused("blank", 1, " ", "1-8")
    stranger = AIChat(os.environ["AI_CHAT_URL"], "wrong")
    await refused("stranger", 1, "x", "1-9", stranger)
    try:
        await stranger.new_conversation(1)
    except Refused as why:
        said["not new"] = str(why)
    await stranger.close()
    await ai.ask(1, "x", "1-5")
    await refused("used", 1, "y", "1-6")
    both = await asyncio.gather(*[
        ai.ask(2, "[[id=both delay=300 text=оба]]", f"2-{n}") for n in (1, 2)])
    said["both"] = both
    await ai.close()
    print(json.dumps(said))

asyncio.run(main())
END
is_deeply $got->{short}, [ '<i>да</i>' ], 'the client gets an answer';
is_deeply $got->{again}, $got->{short}, '... the same for the same message';
is $s->model_count('short'), 1, '... which is paid for once';
cmp_ok scalar @{ $got->{long} }, '>', 1, '... a long one in parts';
is((grep { $_ !~ m{<b>важно</b>} } @{ $got->{long} }), 0, '... for HTML');
is scalar @{ $s->model_last('new')->{body}{messages} }, 2,
    'a new conversation has the rules and the question';
ok defined((split_question($s->model_last('new')->{body}{messages}[-1]{content}))[1]),
    '... with the data';
like $got->{bad}, qr/^ИИ-ассистент не смог ответить, вопрос не засчитан\./,
    'a failure shows the text of the service';
is $got->{'too long'}, 'Вопрос длиннее 4000 знаков (сейчас 4001). Сократите его, пожалуйста.',
    'for a question that is too long the text has its length';
like $got->{$_}, qr/^Не получилось/,
    "... and for a fault of the bot it says so: $_"
    for qw(blank stranger), 'not new';
like slurp("$dir/bot.log"), qr/ERROR:ai_chat:AI Chat: HTTP $_->[0]: .*$_->[1]/,
    "... and the log has the reason: $_->[0]"
    for [ 422, 'string_blank|blank' ], [ 403, 'Invalid or missing API key' ];
like $got->{used}, qr/^Лимит на сегодня/, 'a used-up day has its own text';
is_deeply $got->{both}, [ [ 'оба' ], [ 'оба' ] ],
    'a refused chat is repeated at the time of Retry-After';

# -- the bot -----------------------------------------------------------------

# aiogram is in no package of Debian, so this is the part of it that the bot
# uses, and a record of what Telegram would have received.
make_aiogram("$dir/aiogram");

sub make_aiogram ($at)
{
	mkdir $at or die "$at: $!\n";
	spew("$at/__init__.py", <<'END');
class Bot:
    def __init__(self, token):
        self.token = token

class Dispatcher:
    def __init__(self):
        self.handlers = []

    def message(self, wanted):
        def keep(handler):
            self.handlers.append((wanted, handler))
            return handler
        return keep

    async def feed(self, message):
        for wanted, handler in self.handlers:
            if wanted(message):
                return await handler(message)

class F:
    text = staticmethod(lambda message: bool(message.text))
END
	spew("$at/filters.py", <<'END');
def Command(name):
    return lambda message: (message.text or "").startswith("/" + name)
END
}

$got = python(<<'END');
import asyncio, json
from types import SimpleNamespace as Thing
import bot

sent = []

class Message(Thing):
    async def answer(self, text, parse_mode=None):
        sent.append([text, parse_mode])

def message(number, text):
    return Message(message_id=number, text=text, chat=Thing(id=3),
                   from_user=Thing(id=3))

async def main():
    await bot.dp.feed(message(1, "[[id=bot text=**ответ**]]"))
    await bot.dp.feed(message(1, "[[id=bot text=**ответ**]]"))
    await bot.dp.feed(message(2, "/new"))
    await bot.dp.feed(message(3, "[[id=bot3 status=400]]"))
    await bot.ai.close()
    print(json.dumps(sent))

asyncio.run(main())
END
is_deeply $got->[0], [ '<b>ответ</b>', 'HTML' ], 'the bot sends the answer';
is_deeply $got->[1], $got->[0],
    '... and again when Telegram repeats the update';
is $s->model_count('bot'), 1, '... which is paid for once';
like $got->[2][0], qr/сначала/, 'it begins a new conversation';
like $got->[3][0], qr/^ИИ-ассистент не смог/, 'and says what went wrong';
is $s->ledger(3)->{count}, 1, 'one chat is counted';

# -- the seller-data API
# ---------------------------------------------------------

{
	$s->server_set(9, body => encode('UTF-8', $block{json}[0]));
	$s->send(telegram_id => 9, message => '[[id=example]]');
	my (undef, $told) = split_question(
	    $s->model_last('example')->{body}{messages}[-1]{content});
	is "$told\n", $block{text}[0],
	    'the example of the seller-data API reaches the model as printed';
}

done_testing;
