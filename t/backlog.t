# More callers than the queue of a worker has room for: they are refused at
# once, in JSON, and nothing is counted.

use v5.36;
use utf8;
use AIChat::Test;
use Time::HiRes qw(time);

my $s = AIChat::Test->new(backlog => 4, env => { AI_CHAT_THREADS => 2 });
$s->expect_log(qr/connect\(\) to unix:\S+ failed \(11:/);

sub refused_well ($got)
{
	return $got->{status} =~ /^50[23]$/ && ref $got->{json} eq 'HASH'
	    && ($got->{headers}{'retry-after'} // '') =~ /^[1-9]/;
}

# -- both slots are in use ---------------------------------------------------

{
	my @busy = $s->start_chats(map { {
		telegram_id => $_, message => '[[delay=1500]]',
	} } 1, 2);
	wait_for(sub { $s->model_counts->{pending} == 2 }, 10, 'both slots');
	my $asked = $s->model_count;
	my @got = $s->send_many(map { { telegram_id => 100 + $_ } } 1 .. 50);
	is((grep { refused_well($_) } @got), 50,
	    'fifty callers, two slots, a queue of four: refused with '
	    . 'Retry-After');
	is((grep { $_->{seconds} > 1 } @got), 0, '... at once');
	is $s->model_count, $asked, '... the model is not called';
	is $s->value('select count(*) from ai_chat_daily_limits
	    where telegram_id > 100'), 0, '... and nothing is counted';
	my $health = $s->get('/health');
	is $health->{status}, 200, '... health is answered';
	cmp_ok $health->{seconds}, '<', 1, '... at once';
	is((grep { $_->{status} == 200 } finish_chats(@busy)), 2,
	    '... and the two chats in flight are answered');
}

# -- the queue is full -------------------------------------------------------

# A stopped worker accepts nothing from its queue.
{
	my $pid = $s->worker_pid(1);
	$s->kill_worker(1, 'STOP');
	my @socks = $s->start_chats(map { { telegram_id => 200 + $_ } }
	    1 .. 50);
	# Linux queues one connection more than the backlog.
	wait_for(sub { $s->queued(1) == 5 }, 10, 'the queue to be full');
	my $select = IO::Select->new(@socks);
	ok wait_for(sub { (() = $select->can_read(0)) == 45 }, 5, 'the refusals'),
	    'a full queue: the others are refused at once';
	is $s->get('/health')->{status}, 502,
	    '... and so is a request that comes later';
	$s->kill_worker(1, 'CONT');
	my @got = finish_chats(@socks);
	my @served = grep { $_->{status} == 200 } @got;
	is((grep { refused_well($_) } @got) + @served, 50,
	    '... each caller gets an answer or a refusal');
	is((grep { $_->{status} == 502 } @got), 45,
	    '... those that did not fit get a 502 from Nginx');
	ok scalar @served, '... some queued chats are answered';
	is $s->value('select coalesce(sum(request_count), 0)
	    from ai_chat_daily_limits where telegram_id > 200'),
	    scalar @served, '... and only these are counted';
	is $s->send(telegram_id => 300)->{status}, 200,
	    'then chats are answered as before';
	is $s->worker_pid(1), $pid, '... by the same worker';
}

done_testing;
