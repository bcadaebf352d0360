# A worker that dies within its answer: the caller can tell, and the chat is kept.  So the
# seller is not told that it was not counted.

use v5.36;
use utf8;
use AIChat::Bot;
use AIChat::Test;

my $s = AIChat::Test->new(proxy => [ 'workers' ]);
my $proxy = $s->proxy('worker 1');
$s->expect_log(qr/upstream prematurely closed/,
    qr/upstream sent invalid header|upstream closed prematurely/,
    qr/recv\(\) failed/);

# To Nginx the proxy is the worker; it lets so many bytes of the answer pass: in
# the headers, just behind them, and in the text.
my %seen;
for my $bytes (0, 20, 105, 150, 400) {
	my $user = 1000 + $bytes;
	$proxy->fault(down => { cut => $bytes });
	my $got = $s->raw_request($s->chat_bytes(telegram_id => $user));
	$proxy->clear;
	if ($got->{status} == 502) {
		$seen{none}++;
		is ref $got->{json}, 'HASH',
		    "a worker that dies after $bytes bytes: 502, in JSON";
		like $got->{headers}{'retry-after'}, qr/^[1-9]/,
		    '... and when to come again';
		like $got->{json}{detail}{message}, qr/, вопрос мог быть засчитан\./,
		    '... and that it may have been counted';
	} else {
		$seen{part}++;
		is $got->{status}, 200,
		    "a worker that dies after $bytes bytes, within the text";
		cmp_ok $got->{headers}{'content-length'} // 0, '>',
		    length $got->{content},
		    '... the caller can tell by the Content-Length';
		ok !AIChat::Test::is_whole($got->{raw}), '... that it is cut';
	}
	wait_for(sub { $s->ledger($user)->{rows} == 1 }, 5, 'the save');
	is_deeply $s->ledger($user), { count => 1, rows => 1, leases => 0 },
	    '... it was kept before, and once';
	is $s->send(telegram_id => $user)->{status}, 200,
	    '... and the next one is answered';
}
ok $seen{none} && $seen{part}, 'both were seen';

# On the screens of both versions of the bot in production.
for my $version (qw(old new)) {
	my $user = $version eq 'old' ? 3000 : 3001;
	my $bot = AIChat::Bot->new(version => $version, url => $s->url,
	    key => $AIChat::Test::KEY);
	$proxy->fault(down => { cut => 0 });
	my $got = $bot->ask($user, 'Вопрос');
	$proxy->clear;
	is $got->{status}, 502, "a worker that dies after the save, $version bot";
	is scalar @{ $got->{screen} }, 1, '... one message';
	like $got->{screen}[0], $version eq 'old' ? qr/^Произошла ошибка/
	    : qr/\nСвязь с сервисом прервалась, вопрос мог быть засчитан\. Попробуйте ещё раз через минуту\.\z/,
	    '... that can be read, and is true';
	ok !$got->{left_chat}, '... and the chat goes on';
	is join(' ', @{ $bot->{refused} }), '', '... Telegram refused nothing';
	is_deeply $s->ledger($user), { count => 1, rows => 1, leases => 0 },
	    '... for it was counted';
}

# The same with a worker that closes in an orderly way.
{
	$proxy->fault(down => { truncate => 400 });
	my $got = $s->raw_request($s->chat_bytes(telegram_id => 2000));
	$proxy->clear;
	ok $got->{status} == 200 && !AIChat::Test::is_whole($got->{raw}),
	    'an answer that ends too early is seen as one';
	$proxy->fault(down => { truncate => 400 });
	$got = $s->send(telegram_id => 2000);
	$proxy->clear;
	is $got->{status}, 599, '... also by a client that looks for itself';
}

done_testing;
