# The network drops all packets to one address of the database without an error,
# and serves another address.  Data that is not acknowledged ends the connection
# early enough for the batch to be run again.

use v5.36;
use utf8;
use AIChat::Hosts;
use Test::More ();

BEGIN {
	my $why = AIChat::Hosts::enter();
	Test::More::plan(skip_all => $why) if $why;
}

use AIChat::Proc qw(spew);
use AIChat::Test;

my $ETC = AIChat::Proc::temp_dir('ai-chat-silent');
my $RANGE = AIChat::Hosts::range();
my $FIRST = $RANGE =~ s/\.0\/24/.200/r;

spew("$ETC/hba.conf", "local all all trust\nhost all ai_chat $RANGE trust\n");
my $hosts = AIChat::Hosts->new($ETC, 'database');

# Adds or removes a second address.  Without the address, the host drops the
# packets for it.
sub first_address ($what)
{
	$hosts->run_on('database', 'ip', 'addr', $what, "$FIRST/32", 'dev', 'eth0');
}

first_address('add');
my $s = AIChat::Test->new(workers => 0, pg_net => $hosts->net('database'),
    pg_conf => { listen_addresses => '*', hba_file => "$ETC/hba.conf" });
my ($db) = $s->db_url =~ m{^postgresql:///(\w+)};
$s->stack->settings->{DATABASE_URL} = "postgresql://ai_chat@"
    . "$FIRST,@{[ $hosts->address('database') ]}/$db";
$s->stack->start_workers(1);
$s->stack->start_nginx;

sub connections
{
	return AIChat::Proc::run([ qw(ss -Htno state established dport = :5432) ]);
}

is $s->send(telegram_id => 1)->{status}, 200, 'a chat';
like connections(), qr/\b\Q$FIRST\E:5432/, '... over the first address';
ok wait_for(sub {
	connections() =~ /timer:\(keepalive,(?:10|\d(?:\.\d+)?)?(?:\d+m)?s/;
}, 10, 'the timer'), 'the worker probes idle connections within ten seconds';

for my $user (11, 12) {
	first_address('del');
	my $got = $s->send(telegram_id => $user);
	is $got->{status}, 200,
	    'an address of the database falls silent: no chat fails';
	cmp_ok $got->{seconds}, '<', 6, '... in the time of two stages';
	is $s->send(telegram_id => $user)->{status}, 200, '... nor the next one';
	is_deeply $s->ledger($user), { count => 2, rows => 2, leases => 0 },
	    '... each is counted once';
	first_address('add');
	$s->restart_worker(1);
	is $s->send(telegram_id => $user)->{status}, 200, 'the address is back';
}
$s->expect_log(qr/FATAL:  (?:terminating|connection to client)/,
    qr/could not receive data from client/);
done_testing;
