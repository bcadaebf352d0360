# /health/ready needs no key, so many may ask it: they share one look at the database a
# second, and take no place from chats.

use v5.36;
use utf8;
use AIChat::Test;
use POSIX ();

my $s = AIChat::Test->new(own_pg => 1, env => {
	AI_CHAT_THREADS => 4,
	AI_CHAT_DB_POOL => 2,
}, pg_conf => { log_statement => 'all' });
my $test = $$;
my @callers;

# Should the test die, its callers must not outlive it.
END { kill KILL => @callers if $$ == ($test // 0) }

# Callers without a key, as fast as they are answered; each notes the answers that are
# not 200.
sub start_crowd ($n)
{
	return map {
		my $file = $s->dir . "/crowd$_";
		my $pid = fork // die "could not fork: $!\n";
		if (!$pid) {
			my %said;
			$SIG{TERM} = sub {
				AIChat::Proc::spew($file, join ' ', %said);
				POSIX::_exit(0);
			};
			while (getppid == $test) {
				my $got = $s->get('/health/ready',
				    headers => { 'X-API-KEY' => undef });
				$said{ $got->{status} }++;
			}
			POSIX::_exit(1);
		}
		push @callers, $pid;
		[ $pid, $file ];
	} 1 .. $n;
}

# How often they were answered, by status.
sub stop_crowd (@crowd)
{
	my %all;

	kill TERM => map { $_->[0] } @crowd;
	@callers = ();
	for (@crowd) {
		my ($pid, $file) = @$_;
		waitpid $pid, 0;
		my %said = split ' ', AIChat::Proc::slurp($file);
		$all{$_} += $said{$_} for keys %said;
	}
	return \%all;
}

# How often a worker has looked whether a chat could be kept.  The chats of this test have
# no key, so that only a look runs the statement of one that has.
sub looks
{
	return scalar grep { /execute queue:/ }
	    split /\n/, AIChat::Proc::slurp($s->stack->pg->log_path);
}

{
	my @crowd = start_crowd(16);
	my @got = map { $s->send_many(map { { telegram_id => $_,
	    message => '[[delay=20]]' } } 1 .. 4) } 1 .. 15;
	my $said = stop_crowd(@crowd);
	is((grep { $_->{status} == 200 } @got), 60,
	    'sixteen callers of readiness without a key: all chats are answered');
	is join(' ', keys %$said), '200', '... and so are they';
}

{
	my $before = looks();
	my @crowd = start_crowd(4);
	wait_for(sub { looks() >= $before + 3 }, 10, 'three looks');
	my $said = stop_crowd(@crowd);
	cmp_ok $said->{200}, '>=', 100, 'hundreds of answers';
	cmp_ok looks() - $before, '<=', 5, '... are a few looks at the database';
}

# It is still the truth.
$s->expect_log(qr/status=503/, qr/terminating connection/,
    qr/the database system is/, qr/could not connect/);
$s->stop_pg;
is $s->ready_with(503, 3)->{status}, 503,
    'the database is away: known within two seconds';
$s->start_pg;
is $s->ready_with(200, 5)->{status}, 200, '... and that it is back';

done_testing;
