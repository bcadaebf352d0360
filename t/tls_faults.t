# Faults of TLS at a model: its certificate, a handshake that hangs, a server
# without ALPN, connections that end while idle.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::Test;
use Time::HiRes qw(time);

# The workers call another model than the stand-in, $m.
my $s = AIChat::Test->new(tls => 'h2', second_model => 1,
    idle => [ 'model' ]);
my $m = AIChat::HTTP2->start($s);
my %FALLBACK = (OPENAI_FALLBACK_MODEL => 'm[[text=second]]',
    map { ($_ => $s->stack->settings->{$_}) } map { "OPENAI_FALLBACK_$_" }
    qw(BASE_URL API_KEY CA_FILE));
my %ALONE = map { ($_ => undef) } keys %FALLBACK;
my $user = 0;

my %USUAL = (cert => 'good', alpn => [ 'h2', 'http/1.1' ], hang => 0,
    max_version => 'TLSv1.3');

sub restart (%settings)
{
	$s->restart_worker(1, $m->settings, %ALONE, AI_CHAT_RETRY_FLOOR => 1000,
	    AI_CHAT_DEADLINE_MS => 55000, AI_CHAT_UPSTREAM_CONNECTIONS => 0,
	    %settings);
	delete @{ $s->stack->settings }{
	    grep { !defined $s->stack->settings->{$_} }
	    keys %{ $s->stack->settings } };
	$m->forget;
}

sub ask
{
	$user++;
	return $s->send(telegram_id => $user, message => "вопрос [[text=T$user]]");
}

sub log_line
{
	return wait_for(sub {
		($s->worker_log(1) =~ /^(.* event=request .*user=$user .*)/m)[0];
	}, 10, 'the line of a chat');
}

sub costs ($n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 }, $what;
}

# -- certificates ------------------------------------------------------------

for my $case ([ expired => 'that has expired' ],
    [ other_host => 'of another host' ],
    [ other_ca => 'of a CA that is not trusted' ]) {
	my ($cert, $what) = @$case;
	$m->set(%USUAL, cert => $cert);
	restart();
	my $got = ask();
	is $got->{status}, 500, "a certificate $what: fails";
	like why($got), qr/^AI service error: /, '... in JSON';
	unlike $got->{content}, qr/127\.0\.0\.1/, '... without the address';
	cmp_ok $got->{seconds}, '<', 1, '... at once';
	like log_line(), qr/certificate.*attempts=1|attempts=1 .*certificate/,
	    '... the log says that it is the certificate';
	note log_line();
	is $m->seen->{connections}, 1, '... after one connection';
	is scalar($m->requests), 0, '... without a request';
	costs(0, '... and costs nothing');

	restart(%FALLBACK);
	my $before = $s->second_count;
	$got = ask();
	is $got->{status}, 200,
	    "a certificate $what: the fallback model answers";
	cmp_ok $got->{seconds}, '<', 1, '... at once';
	is $s->second_count, $before + 1, '... after one call';
	is $m->seen->{connections}, 1,
	    '... after one connection to the primary model';
	costs(1, '... and the chat is counted once');

	# The certificate is replaced: no restart is needed.
	$m->set(%USUAL);
	is ask()->{json}{response}, "T$user", '... until the certificate is right';
}

# -- a handshake that hangs --------------------------------------------------

$m->set(%USUAL, hang => 1000);
restart(AI_CHAT_DEADLINE_MS => 8000);
{
	$user++;
	my @socks = $s->start_chats({ telegram_id => $user });
	wait_for(sub { ($m->seen->{hanging} // 0) > 0 }, 10, 'a connection');
	my $health = $s->get('/health/ready');
	is $health->{status}, 200, 'a handshake that hangs: health answers';
	cmp_ok $health->{seconds}, '<', 1, '... at once';
	my ($got) = finish_chats(@socks);
	is $got->{status}, 500, '... the chat fails';
	cmp_ok $got->{seconds}, '<', 8, '... before its deadline';
	cmp_ok $got->{seconds}, '>', 4.5, '... and not before the connect time';
	note log_line();
	costs(0, '... and costs nothing');
}
restart(AI_CHAT_DEADLINE_MS => 12000, %FALLBACK);
{
	my $got = ask();
	is $got->{status}, 200, '... or the fallback model answers';
	cmp_ok $got->{seconds}, '<', 12, '... within the deadline';
	note sprintf '%.1f s: %s', $got->{seconds}, log_line();
}
# A worker that drains answers the chats in flight.
restart(AI_CHAT_DEADLINE_MS => 8000);
{
	$user++;
	my @socks = $s->start_chats({ telegram_id => $user });
	wait_for(sub { ($m->seen->{hanging} // 0) > 0 }, 10, 'a connection');
	my $start = time;
	is $s->kill_worker(1, 'TERM'), 0,
	    'SIGTERM while a handshake hangs: the worker exits';
	cmp_ok time - $start, '<', 9, '... when the chat has ended';
	my ($got) = finish_chats(@socks);
	is $got->{status}, 500, '... and its caller gets a response';
	ok ref $got->{json}, '... in JSON';
	$s->start_worker(1);
}
# One handshake of eight.
$m->set(%USUAL, hang => 1);
restart(AI_CHAT_DEADLINE_MS => 15000);
{
	my @chats = map { $user++; { telegram_id => $user, text => "T$user" } } 1 .. 8;
	my @got = $s->send_many(map { { telegram_id => $_->{telegram_id},
	    message => "[[text=$_->{text}]]" } } @chats);
	is $m->add_up(\@chats, \@got, 'one handshake of several hangs',
	    refused => 1), 8, '... all are answered';
	is((grep { $_->{seconds} > 3 } @got) <= 1, 1,
	    '... seven of them without delay')
	    or diag join ' ', map { $_->{seconds} } @got;
	note join ' ', map { sprintf '%.2f', $_->{seconds} } @got;
}

# -- ALPN --------------------------------------------------------------------

for my $case ([ 'without ALPN', alpn => undef ],
    [ 'whose ALPN has HTTP/1.1 alone', alpn => [ 'http/1.1' ] ],
    [ 'of TLS 1.2', max_version => 'TLSv1.2' ],
    [ 'of TLS 1.2 without ALPN', max_version => 'TLSv1.2', alpn => undef ]) {
	my ($what, @set) = @$case;
	$m->set(%USUAL, @set);
	restart();
	my @chats = map { $user++; { telegram_id => $user, text => "T$user" } } 1 .. 20;
	for my $round (1, 2) {
		$_->{telegram_id} += 1000 * ($round - 1) for @chats;
		my @got = $s->send_many(map { { telegram_id => $_->{telegram_id},
		    message => "[[text=$_->{text} delay=100]]" } } @chats);
		is $m->add_up(\@chats, \@got, "a server $what, $round"), 20,
		    '... twenty at once are answered';
		$m->do('forget') if $round == 1;
	}
	# On a busy machine fewer of the first chats overlap, so fewer
	# connections stay open.
	cmp_ok $m->seen->{connections}, '<', 15,
	    '... the second time on kept connections';
}

# -- idle connections --------------------------------------------------------

for my $how (qw(fin reset)) {
	$m->set(%USUAL, alpn => undef);
	restart();
	is ask()->{status}, 200, 'a connection of HTTP/1.1 over TLS is kept';
	$m->do($how);
	$m->forget;
	is ask()->{json}{response}, "T$user",
	    "the server closed it while idle ($how): the next chat is answered";
	is scalar($m->requests), 1, '... by one request';
	like log_line(), qr/attempts=1 /, '... and one attempt';
	is $m->seen->{connections}, 1, '... on a new connection';
}

# -- sessions ----------------------------------------------------------------

# curl 7.88 offers its session with TLS 1.2, too, but Node.js does not resume
# that one.
$m->set(%USUAL);
restart();
is ask()->{status}, 200, 'a first connection';
$s->send_many(map { { telegram_id => ++$user, message => '[[delay=500]]' } } 1 .. 48);
cmp_ok $m->seen->{handshakes}, '>', 1, '... and more of them';
cmp_ok $m->seen->{resumed}, '>', 0, '... which resume the session of an earlier one';

$m->stop;
done_testing;
