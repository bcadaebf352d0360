# /health/ready needs no key, so anybody may request it often: all requests of a
# second share one check of the database, and they occupy no slot.

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

# The callers must not outlive the test.
END { kill KILL => @callers if $$ == ($test // 0) }

# Callers without a key, as fast as they are answered; each records the
# responses other than 200.
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

# The number of responses, by status.
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

# How often a worker has checked whether a chat could be saved. The chats of
# this test have no key, so only this check runs the statement of a chat with a
# key.
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
	is join(' ', keys %$said), '200', '... and so are these callers';
}

{
	my $before = looks();
	my @crowd = start_crowd(4);
	wait_for(sub { looks() >= $before + 3 }, 10, 'three checks');
	my $said = stop_crowd(@crowd);
	cmp_ok $said->{200}, '>=', 100, 'hundreds of responses';
	cmp_ok looks() - $before, '<=', 5,
	    '... need a few checks of the database';
}

# The result is current.
$s->expect_log(qr/status=503/, qr/terminating connection/,
    qr/the database system is/, qr/could not connect/);
$s->stop_pg;
is $s->ready_with(503, 3)->{status}, 503,
    'the database is down: reported within two seconds';
$s->start_pg;
is $s->ready_with(200, 5)->{status}, 200, '... and so is its return';

done_testing;
