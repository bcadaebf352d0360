# A DATABASE_URL with several servers: the worker finds the one that answers,
# whatever the others do.

use v5.36;
use utf8;
use AIChat::Test;
use IO::Socket::INET;

my $s = AIChat::Test->new(env => { AI_CHAT_DB_TIMEOUT_MS => 4000,
	AI_CHAT_DB_POOL => 2 });
my ($socket) = $s->db_url =~ /host=([^&]+)/;
$s->expect_log(qr/code=EDB/);

# It accepts connections and sends nothing.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64)
    or die "could not listen: $!\n";
my $closed = AIChat::Proc::free_port();

sub url_of (@hosts)
{
	my $hosts = join ',', map { $_->[0] } @hosts;
	my $ports = join ',', map { $_->[1] } @hosts;
	return "postgresql:///$s->{db}?host=$hosts&port=$ports&user=ai_chat";
}

my $good = [ $socket, 5432 ];
my %urls = (
	'a server that refuses, then the right one' =>
	    url_of([ '127.0.0.1', $closed ], $good),
	'a server that is silent, then the right one' =>
	    url_of([ '127.0.0.1', $silent->sockport ], $good),
	'the right server, then one that is silent' =>
	    url_of($good, [ '127.0.0.1', $silent->sockport ]),
	'a server that refuses, a silent one, then the right one' =>
	    url_of([ '127.0.0.1', $closed ],
		[ '127.0.0.1', $silent->sockport ], $good),
);

my $user = 1;
for my $what (sort keys %urls) {
	$s->restart_worker(1, DATABASE_URL => $urls{$what});
	my $got = $s->send(telegram_id => ++$user);
	is $got->{status}, 200, "$what: a chat is answered";
	cmp_ok $got->{seconds}, '<', 5, '... in time';
	is $s->send(telegram_id => $user)->{json}{remaining_requests}, 28,
	    '... and so is the next one';
}
done_testing;
