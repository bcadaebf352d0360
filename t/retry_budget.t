# A model that is down for all chats is not flooded: above a floor, retries stay
# under a tenth of the calls.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { AI_CHAT_THREADS => 200,
    AI_CHAT_BREAKER_FAILURES => 0 });
my $user = 0;

# So many chats at once, all of which fail; returns the number of calls.
sub fail_together ($n)
{
	my $before = $s->model_count;
	my $first = $user + 1;
	my @got = $s->send_many(map { {
		telegram_id => ++$user, message => '[[status=503]]',
	} } 1 .. $n);

	is((grep { $_->{status} == 500 } @got), $n, "$n chats fail together");
	is_deeply $s->ledger($_), { count => 0, rows => 0, leases => 0 },
	    '... and cost nothing' for $first, $user;
	return $s->model_count - $before;
}

# -- the floor ---------------------------------------------------------------

# Without the budget they would have twenty retries.
is fail_together(10), 10 + 10,
    'with few calls there are as many retries as the floor';
cmp_ok fail_together(190), '<', 190 + 20 - 10,
    '... and then fewer than a tenth of all calls';

$s->restart_worker(1);
{
	my $calls = fail_together(200);
	cmp_ok $calls, '>=', 200 + 10, 'with many calls the floor is available';
	cmp_ok $calls, '<=', 200 + 10 + 20,
	    '... and above it a tenth of the calls';
}

# -- other floors ------------------------------------------------------------

$s->restart_worker(1, AI_CHAT_RETRY_FLOOR => 0);
is fail_together(5), 5, 'without a floor, few calls have no retry';
{
	my $got = $s->send(telegram_id => ++$user, message => '[[status=503]]');
	is $got->{status}, 500, 'with the budget spent: fails';
	ok wait_for(sub {
		$s->worker_log(1) =~ /user=$user .*attempts=1 /
	}, 10, 'its line in the log'), '... after one call';
	is $s->send(telegram_id => ++$user)->{status}, 200,
	    '... and other chats are answered';
}
{
	my $calls = fail_together(190);
	cmp_ok $calls, '>', 190, '... and many calls have some';
	cmp_ok $calls, '<', 190 + 20, '... under a tenth';
}

$s->restart_worker(1, AI_CHAT_RETRY_FLOOR => 1000);
is fail_together(50), 3 * 50,
    'with a high floor each chat has all its attempts';

done_testing;
