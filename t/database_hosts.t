# A URL with several servers: the service finds the one that answers, whatever the
# others do.

use v5.36;
use utf8;
use AIChat::Test;
use IO::Socket::INET;

my $s = AIChat::Test->new(env => { AI_CHAT_DB_TIMEOUT_MS => 4000,
	AI_CHAT_DB_POOL => 2 });
my ($socket) = $s->db_url =~ /host=([^&]+)/;
$s->expect_log(qr/code=EDB/);

# It takes connections, and says nothing on them.
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
	'one that refuses, then the right one' =>
	    url_of([ '127.0.0.1', $closed ], $good),
	'one that is silent, then the right one' =>
	    url_of([ '127.0.0.1', $silent->sockport ], $good),
	'the right one, then one that is silent' =>
	    url_of($good, [ '127.0.0.1', $silent->sockport ]),
	'one that refuses, one that is silent, then the right one' =>
	    url_of([ '127.0.0.1', $closed ],
		[ '127.0.0.1', $silent->sockport ], $good),
);

my $user = 1;
for my $what (sort keys %urls) {
	$s->restart_worker(1, DATABASE_URL => $urls{$what});
	my $got = $s->send(telegram_id => ++$user);
	is $got->{status}, 200, $what;
	cmp_ok $got->{seconds}, '<', 5, '... is found in time';
	is $s->send(telegram_id => $user)->{json}{remaining_requests}, 28,
	    '... and stays found';
}
done_testing;
