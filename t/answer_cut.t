# A worker that is killed while it sends a response.  The caller can see that
# the response is incomplete.  The chat was saved before, so no text for the
# seller may say that it was not counted.

use v5.36;
use utf8;
use AIChat::Bot;
use AIChat::Test;

my $s = AIChat::Test->new(proxy => [ 'workers' ]);
my $proxy = $s->proxy('worker 1');
$s->expect_log(qr/upstream prematurely closed/,
    qr/upstream sent invalid header|upstream closed prematurely/,
    qr/recv\(\) failed/);

# Nginx talks to the proxy as if it were the worker.  The proxy passes this many
# bytes of the response: a part of the headers, the headers, a part of the body.
my %seen;
for my $bytes (0, 20, 105, 150, 400) {
	my $user = 1000 + $bytes;
	$proxy->fault(down => { cut => $bytes });
	my $got = $s->raw_request($s->chat_bytes(telegram_id => $user));
	$proxy->clear;
	if ($got->{status} == 502) {
		$seen{none}++;
		is ref $got->{json}, 'HASH',
		    "a response that is cut after $bytes bytes: 502, in JSON";
		like $got->{headers}{'retry-after'}, qr/^[1-9]/,
		    '... with Retry-After';
		like $got->{json}{detail}{message}, qr/, вопрос мог быть засчитан\./,
		    '... and a text: the question may have been counted';
	} else {
		$seen{part}++;
		is $got->{status}, 200,
		    "a response that is cut after $bytes bytes of a 200";
		cmp_ok $got->{headers}{'content-length'} // 0, '>',
		    length $got->{content},
		    '... the Content-Length is larger than the body';
		ok !AIChat::Test::is_whole($got->{raw}),
		    '... so the caller can see that the response is cut';
	}
	wait_for(sub { $s->ledger($user)->{rows} == 1 }, 5, 'the save');
	is_deeply $s->ledger($user), { count => 1, rows => 1, leases => 0 },
	    '... the chat was saved before, and once';
	is $s->send(telegram_id => $user)->{status}, 200,
	    '... and the next chat is answered';
}
ok $seen{none} && $seen{part}, 'both cases occurred';

# What both versions of the bot in production show.
for my $version (qw(old new)) {
	my $user = $version eq 'old' ? 3000 : 3001;
	my $bot = AIChat::Bot->new(version => $version, url => $s->url,
	    key => $AIChat::Test::KEY);
	$proxy->fault(down => { cut => 0 });
	my $got = $bot->ask($user, 'Вопрос');
	$proxy->clear;
	is $got->{status}, 502,
	    "a worker that is killed after the save, $version bot";
	is scalar @{ $got->{screen} }, 1, '... one message';
	like $got->{screen}[0], $version eq 'old' ? qr/^Произошла ошибка/
	    : qr/\nСвязь с сервисом прервалась, вопрос мог быть засчитан\. Попробуйте ещё раз через минуту\.\z/,
	    '... which is readable and true';
	ok !$got->{left_chat}, '... and the bot stays in its chat';
	is join(' ', @{ $bot->{refused} }), '', '... Telegram refused nothing';
	is_deeply $s->ledger($user), { count => 1, rows => 1, leases => 0 },
	    '... and the question was counted';
}

# The same with a connection that is closed in an orderly way, not reset.
{
	$proxy->fault(down => { truncate => 400 });
	my $got = $s->raw_request($s->chat_bytes(telegram_id => 2000));
	$proxy->clear;
	ok $got->{status} == 200 && !AIChat::Test::is_whole($got->{raw}),
	    'a response that ends too early is recognized by its length';
	$proxy->fault(down => { truncate => 400 });
	$got = $s->send(telegram_id => 2000);
	$proxy->clear;
	is $got->{status}, 599,
	    '... and by an HTTP client that checks the length itself';
}

done_testing;
