# Responses of any size arrive complete while Nginx is reloaded, workers are
# restarted one after another, and their number changes.  ./dev whole N repeats
# this with N chats.

use v5.36;
use utf8;
use AIChat::FastCGI;
use AIChat::Test;
use JSON::PP ();

my $chats = $ENV{AIC_WHOLE_CHATS} // 1200;

# No context: exchanges of 300 KB in each prompt would be most of the work.
my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DAILY_LIMIT => 1_000_000,
	AI_CHAT_CONTEXT_MESSAGES => 0,
	AI_CHAT_DEADLINE_MS => 20_000,
});

# A worker that is being restarted refuses connections, and Nginx takes another.
$s->expect_log(qr/connect\(\) to unix:\S+ failed/);

# -- where a worker's writes end ---------------------------------------------

# Nginx loses the timer of a request when the end of a write of the worker is
# also the end of one of Nginx' buffers.  So no write may end there.
{
	my $text = 'Проверьте%20остатки.%20';
	my $json = JSON::PP->new->utf8;
	my $raw = AIChat::FastCGI::exchange($s->stack->socket_of(1), {
		REQUEST_METHOD => 'POST', DOCUMENT_URI => '/v1/chat/send',
		HTTP_X_API_KEY => $AIChat::Test::KEY, X_REQUEST_ID => 'ends',
	    }, $json->encode({ telegram_id => 1, format => 'plain',
		message => "[[text=$text repeat=20000]]" }));
	my ($at, %at) = (0);
	while ($at < length $raw) {
		my ($length, $padding) = unpack 'x4 n C', substr $raw, $at, 8;
		$at += 8 + $length + $padding;
		$at{$at}++;
	}
	my @ends = sort { $a <=> $b } keys %at;
	# The last three records end the body, its stream and the request.
	splice @ends, -3;
	cmp_ok scalar @ends, '>=', 80,
	    'a response of 700 KB is sent in many writes';
	is join(' ', grep { $_ % 4096 == 0 } @ends), '',
	    '... none of which ends where a buffer of Nginx can end';
	my %rest;
	is join(' ', grep { $rest{ $_ % 16384 }++ } @ends), '',
	    '... and no two end a multiple of 16 KB apart';
}

# -- under load ---------------------------------------------------------------

my $load = $s->start_load(callers => 14, users => [ 1 .. 40 ],
    message => '[[delay=10]]',
    sizes => [ (map { $_ * 1000 } 1 .. 20), (11_000) x 10,
	map { $_ * 10_000 } 3 .. 30 ]);
my $stack = $s->stack;
my @steps = ((sub { $stack->reload_nginx }) x 5, sub { $s->restart_worker(1) },
    (sub { $stack->reload_nginx }) x 5, sub { $s->restart_worker(2) },
    sub { $s->scale(4) }, sub { $stack->reload_nginx }, sub { $s->scale(2) });
my %done = (reloads => 0);
for (my $i = 0; $i < @steps || $load->count(200) < $chats; $i++) {
	$steps[ $i % @steps ]->();
	$done{reloads}++;
	die "no answers\n" if $i > 60 && !$load->count(200);
}
my @got = $load->stop;
note scalar @got, " chats, $done{reloads} steps";

is join(' ', map { $_->{status} } grep { $_->{status} != 200 } @got), '',
    'answers of 1 to 300 KB under reloads, restarts and scaling: no failure';
is((grep { !$_->{whole} || !$_->{json} } @got), 0, '... no response is cut');
my ($row) = $s->sql('select (select count(*) from ai_chat_requests
    where telegram_id <= 40), (select sum(request_count) from
    ai_chat_daily_limits where telegram_id <= 40)');
my $all = @got + 1;
is "@$row", "$all $all", '... all are saved and counted';

done_testing;
