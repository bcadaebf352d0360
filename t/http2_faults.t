# An HTTP/2 server allows few streams, refuses or resets streams, sends GOAWAY,
# and ends connections under load.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::Test;
use Time::HiRes qw(time);

# The workers call the model $m instead of the usual one.
my $s = AIChat::Test->new(tls => 'h2', idle => [ 'model' ]);
my $m = AIChat::HTTP2->start($s);
my $user = 0;

# A worker without connections, and a model without recorded requests.
sub restart (%settings)
{
	$m->set(settings => {}, settings_late_ms => 0);
	$s->restart_worker(1, $m->settings, AI_CHAT_RETRY_FLOOR => 1000,
	    AI_CHAT_UPSTREAM_CONNECTIONS => 0, %settings);
	$m->forget;
}

# The same with one open connection, which all chats share.
sub restart_with_one (%settings)
{
	restart(AI_CHAT_UPSTREAM_CONNECTIONS => 1, %settings);
	is $s->send(telegram_id => ++$user, message => '[[text=first]]')->{status},
	    200, 'a first chat opens a connection';
	$m->forget;
}

# That many chats of new users, each with an answer of its own.
sub chats ($n, $marks = '')
{
	return map { $user++; { telegram_id => $user, text => "T$user-$_",
	    message => "вопрос [[text=T$user-$_ $marks]]" } } 1 .. $n;
}

sub start_chats (@chats)
{
	return $s->start_chats(map { my %c = %$_; delete $c{text}; \%c } @chats);
}

sub next_are_answered ($n = 5)
{
	$m->forget;
	my @next = chats($n);
	is $m->add_up(\@next, [ finish_chats(start_chats(@next)) ],
	    'the next chats'), $n, '... and they are answered';
}

# -- how many streams --------------------------------------------------------

for my $streams (1, 3) {
	restart();
	$m->set(settings => { maxConcurrentStreams => $streams });
	my @chats = chats(20, 'delay=100');
	is $m->add_up(\@chats, [ finish_chats(start_chats(@chats)) ],
	    "a server that allows $streams streams a connection, 20 at once",
	    refused => 1), 20,
	    '... all answered';
	@chats = chats(20, 'delay=100');
	$m->forget;
	is $m->add_up(\@chats, [ finish_chats(start_chats(@chats)) ],
	    'once more, on connections that are open', refused => 1), 20,
	    '... all answered';
}

restart_with_one();
{
	my @chats = chats(20, 'delay=1000');
	my @socks = start_chats(@chats);
	$m->wait_pending(20);
	$m->do('settings', settings => { maxConcurrentStreams => 2 });
	push @chats, my @more = chats(20, 'delay=50');
	push @socks, start_chats(@more);
	is $m->add_up(\@chats, [ finish_chats(@socks) ],
	    'a server that lowers its limit to 2 with 20 in flight',
	    refused => 1), 40,
	    '... all answered, 20 later ones, too';
}

for my $ms (100, 300) {
	restart();
	$m->set(settings_late_ms => $ms, settings => { maxConcurrentStreams => 5 });
	my @chats = chats(30, 'delay=50');
	# Streams that began before the SETTINGS came are refused.  libcurl
	# reports that as it reports the end of a connection, so on a busy
	# machine a chat can use up its three attempts.
	cmp_ok $m->add_up(\@chats, [ finish_chats(start_chats(@chats)) ],
	    "SETTINGS that come $ms ms after the handshake", refused => 1), '>=', 15,
	    '... most of them answered';
}

# The server did not process a stream that it refused, so libcurl sends the
# request again within the same attempt.
restart_with_one();
for my $times (1, 3) {
	$m->forget;
	my @chats = chats(1, "rst=7 times=$times");
	is $m->add_up(\@chats, [ finish_chats(start_chats(@chats)) ],
	    "a stream that is refused, refusals: $times", again => 1), 1,
	    '... the chat is answered';
	is scalar($m->requests), $times + 1, '... after one request more';
	# Three attempts of one request each would not make four requests.
	like $s->worker_log(1), qr/user=$chats[0]{telegram_id} .*attempts=[12] /,
	    '... within two attempts';
}

# -- GOAWAY ------------------------------------------------------------------

restart_with_one();
{
	my @chats = chats(40, 'delay=700 times=1');
	my @socks = start_chats(@chats);
	$m->wait_pending(40);
	$m->do('goaway');
	push @chats, my @more = chats(10);
	push @socks, start_chats(@more);
	my @got = finish_chats(@socks);
	is $m->add_up(\@chats, \@got, 'GOAWAY with 40 streams in flight'), 50,
	    '... all answered';
	is((grep { $m->requests($_->{text}) != 1 } @chats), 0,
	    '... each by its first request');
	cmp_ok $m->seen->{connections}, '>', 0,
	    '... later chats use a new connection';
}

restart_with_one();
{
	my @chats = chats(40, 'delay=700 times=1');
	my @socks = start_chats(@chats);
	$m->wait_pending(40);
	$m->do('goaway', half => 1);
	is $m->add_up(\@chats, [ finish_chats(@socks) ],
	    'GOAWAY that refuses half of 40 streams'), 40, '... all answered';
	is((grep { $m->requests($_->{text}) > 1 } @chats) > 0, 1,
	    '... the refused ones by another request');
}

# GOAWAY many times, under load.
restart();
{
	my @chats = chats(120, 'delay=30');
	my @socks;
	for my $i (0 .. 5) {
		push @socks, start_chats(@chats[20 * $i .. 20 * $i + 19]);
		wait_for(sub { $m->requests >= 20 * $i + 10 }, 20, 'requests');
		$m->do('goaway');
	}
	cmp_ok $m->add_up(\@chats, [ finish_chats(@socks) ],
	    'GOAWAY again and again under load', refused => 1), '>=', 118,
	    '... nearly all are answered';
}

# -- a reset -----------------------------------------------------------------

restart_with_one();
{
	my @chats = chats(50, 'delay=60000 times=1');
	my @socks = start_chats(@chats);
	$m->wait_pending(50);
	is scalar(keys %{ { map { $_->{connection} => 1 } $m->requests } }), 1,
	    '50 streams share a connection';
	$m->do('reset');
	my @got = finish_chats(@socks);
	is $m->add_up(\@chats, \@got, 'a reset with 50 streams in flight'), 50,
	    '... all answered';
	is scalar($m->requests), 100, '... with one retry each';
}

restart_with_one(AI_CHAT_RETRY_FLOOR => 5);
{
	my @chats = chats(50, 'delay=60000 times=1');
	my @socks = start_chats(@chats);
	$m->wait_pending(50);
	$m->do('reset');
	my @got = finish_chats(@socks);
	my $n = $m->add_up(\@chats, \@got, 'a reset with few retries left');
	cmp_ok $n, '>=', 5, '... as many are answered as there are retries';
	cmp_ok $n, '<=', 11, '... and the others fail';
}
next_are_answered();

# -- streams -----------------------------------------------------------------

restart_with_one();
for my $case ([ 'REFUSED_STREAM', 'rst=7' ], [ 'INTERNAL_ERROR', 'rst=2' ],
    [ 'CANCEL', 'rst=8' ], [ 'ENHANCE_YOUR_CALM', 'rst=11' ],
    [ 'HTTP_1_1_REQUIRED', 'rst=13' ],
    [ 'INTERNAL_ERROR in the answer', 'mid=2' ],
    [ 'CANCEL in the answer', 'mid=8' ], [ 'NO_ERROR in the answer', 'mid=0' ],
    [ 'an end of the stream before the announced length', 'short=1' ],
    [ 'an end of the connection within the answer', 'fin=1' ]) {
	my ($what, $marks) = @$case;
	$m->forget;
	my @chats = (chats(1, "$marks times=1"), chats(4, 'delay=100'));
	my @got = finish_chats(start_chats(@chats));
	is $m->add_up(\@chats, \@got, $what), 5, '... all answered';
	is scalar($m->requests($chats[0]{text})), 2,
	    '... the chat of that stream with a retry';
}
for my $code (7, 2) {
	$m->forget;
	my @chats = chats(1, "rst=$code");
	# 7 is REFUSED_STREAM: libcurl may send the request again within an
	# attempt.
	is $m->add_up(\@chats, [ finish_chats(start_chats(@chats)) ],
	    "RST_STREAM $code for each attempt", again => $code == 7), 0,
	    '... the chat fails';
	cmp_ok scalar($m->requests), $code == 7 ? '>=' : '==', 3,
	    '... after three attempts';
}
next_are_answered();

# -- a caller that hangs up --------------------------------------------------

restart_with_one();
{
	my @chats = chats(10, 'delay=5000');
	my @socks = start_chats(@chats);
	$m->wait_pending(10);
	close shift @socks;
	my $left = shift @chats;
	wait_for(sub { $s->worker_log(1) =~ /user=$left->{telegram_id} .*EGONE/ }, 10,
	    'the chat to end');
	my $is_cancelled = sub {
		grep { $_->{ended} =~ /^rst [58]$/ } $m->requests($left->{text});
	};
	# libcurl leaves the RST_STREAM in a buffer until it sends something
	# else (its issue 17611), so the engine makes libcurl send it.
	ok eval { wait_for($is_cancelled, 2, 'it') },
	    'a caller hangs up: its stream is cancelled at once';
	my $next = $s->send(telegram_id => ++$user, message => '[[text=next]]');
	is $next->{json}{response}, 'next',
	    'a caller hangs up: the next chat on the connection is answered';
	is $m->pending, 9, '... and no other stream is cancelled';
	my @got = finish_chats(@socks);
	is((grep { $got[$_]{status} != 200
	    || $got[$_]{json}{response} ne $chats[$_]{text} } 0 .. $#chats), 0,
	    '... the nine others get their answers');
	is $m->seen->{connections}, 0, '... on the same connection';
	is_deeply $s->ledger($left->{telegram_id}),
	    { count => 0, rows => 0, leases => 0 },
	    '... and the cancelled chat is not counted';
}

# -- idle connections --------------------------------------------------------

for my $how (qw(goaway fin reset)) {
	restart_with_one();
	$m->do($how);
	next_are_answered(1);
	is scalar($m->requests), 1,
	    "an idle connection that the server ended ($how): one request";
}

$m->stop;
done_testing;
