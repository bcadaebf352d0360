# /metrics is correct with several workers at every scrape, and across restarts.

use v5.36;
use utf8;
use AIChat::Proc qw(spew);
use AIChat::Test;
use IO::Socket::INET;

my $s = AIChat::Test->new(workers => 2, own_pg => 1, server => 1, env => {
	AI_CHAT_DAILY_LIMIT => 3,
	AI_CHAT_DEADLINE_MS => 3000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
	AI_CHAT_BREAKER_FAILURES => 3,
	AI_CHAT_BREAKER_OPEN_MS => 60000,
	AI_CHAT_THREADS => 16,
});
$s->expect_log(qr/upstream prematurely closed/, qr/connect\(\) to unix:\S+ failed/,
    qr/access forbidden by rule/);

# One scrape: { 'name{labels}' => value }, without the common prefix.
sub scrape
{
	my $got = $s->get('/metrics', headers => { 'X-API-KEY' => undef });

	die "/metrics: $got->{status}\n" if $got->{status} != 200;
	return { map { /^ai_chat_(\S+) (\S+)$/ ? ($1 => $2) : () }
	    split /\n/, $got->{content} };
}

# The sum over all series of a name that have these labels.
sub total ($m, $name, $labels = '')
{
	my $sum = 0;

	for my $series (keys %$m) {
		my ($is, $has) = $series =~ /^(\w+)\{(.*)\}$/;
		next if $is ne $name
		    || grep { index($has, $_) < 0 } split /,/, $labels;
		$sum += $m->{$series};
	}
	return $sum;
}

sub chats ($m, $outcome) { return total($m, 'chats_total', "outcome=\"$outcome\"") }

# -- the endpoint ------------------------------------------------------------

{
	my $got = $s->get('/metrics', headers => { 'X-API-KEY' => undef });
	is $got->{status}, 200, '/metrics needs no key';
	is $got->{headers}{'content-type'},
	    'text/plain; version=0.0.4; charset=utf-8', '... and is text';
	spew($s->dir . '/metrics', $got->{content});
	my $said = qx(promtool check metrics <'@{[ $s->dir ]}/metrics' 2>&1);
	is $?, 0, '... that promtool accepts' or diag $said;
	is $said, '', '... without a warning';

	my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
	    PeerPort => $s->metrics_port, LocalAddr => '127.0.0.2');
	print $sock "GET /metrics HTTP/1.0\r\n\r\n";
	like scalar(<$sock>), qr/ 403 /,
	    '... but from another address it is refused';

	my $m = scrape();
	is $m->{"worker_up{worker=\"$_\"}"}, 1, "worker $_ is up" for 1, 2;
	is total($m, 'build_info', 'version="1.0.0"'), 2, '... of this version';
	is chats($m, $_), 0, "... with no chat $_ yet"
	    for qw(answered limited model_failed database_failed);
	is total($m, 'slots'), 32, '... with sixteen slots each';
}

# -- what is counted ---------------------------------------------------------

{
	$s->send_many(map { { telegram_id => $_,
	    message => '[[tokens=7 delay=60]]' } } 101 .. 120);
	$s->send(telegram_id => 101) for 1 .. 3;
	$s->send(telegram_id => 0);
	my %key = (headers => { 'Idempotency-Key' => 'k' });
	$s->send(telegram_id => 130, message => '[[tokens=7 delay=60]]', %key)
	    for 1, 2;
	$s->send(telegram_id => 131, message => '[[status=400]]');
	$s->send(telegram_id => 131, message => '[[body=null]]');
	$s->get('/nothing');
	$s->get('/v1/chat/limits/5');

	my $m = scrape();
	is chats($m, 'answered'), 20 + 2 + 1, 'answered chats';
	is chats($m, 'limited'), 1, 'refused chats';
	is chats($m, 'replayed'), 1, 'replays';
	is chats($m, 'invalid'), 1, 'invalid chats';
	is chats($m, 'model_failed'), 2,
	    'chats that failed because of the model';
	is total($m, 'tokens_total') >= 21 * 7, 1, 'tokens';
	cmp_ok total($m, "${_}_tokens_total", 'model="first"'), '>', 0,
	    "... with the tokens of the $_" for qw(prompt completion);
	is total($m, "${_}_tokens_total", 'model="fallback"'), 0,
	    '... none of them of the fallback model'
	    for qw(prompt completion cached);
	is total($m, 'cached_tokens_total'), 0, '... and none was cached';
	$s->send(telegram_id => 140, message => '[[' . raw('{"choices":[{'
	    . '"message":{"content":"x"}}],"usage":{"prompt_tokens":500.0,'
	    . '"completion_tokens":20,"total_tokens":520,'
	    . '"prompt_tokens_details":{"cached_tokens":400}}}') . ']]');
	my $next = scrape();
	for ([ tokens => 520 ], [ prompt_tokens => 500 ],
	    [ completion_tokens => 20 ], [ cached_tokens => 400 ]) {
		my ($name, $n) = @$_;
		is total($next, "${name}_total") - total($m, "${name}_total"),
		    $n, "$name are counted as the model reports them";
	}

	is total($m, 'model_calls_total', 'model="first",result="usable"'), 23,
	    'calls of the model';
	is total($m, 'model_calls_total', 'result="refused"'), 1, '... refused';
	is total($m, 'model_calls_total', 'result="useless"'), 1, '... useless';
	is total($m, 'requests_total', 'route="/v1/chat/send",status="200"'), 24,
	    'requests by route and status';
	is total($m, 'requests_total', 'route="other",status="404"'), 1,
	    '... of no route';
	is total($m, 'requests_total', 'route="/v1/chat/limits/"'), 1,
	    '... with an id in the path';
	is total($m, 'chat_duration_seconds_count'), 23, 'times of chats';
	is total($m, 'chat_duration_seconds_bucket', 'le="0.05"') <= 2, 1,
	    '... in their buckets';
	is total($m, 'chat_duration_seconds_bucket', 'le="+Inf"'), 23,
	    '... all of them';
	is total($m, 'overhead_seconds_count'), 23, 'times without the model';
	cmp_ok total($m, 'overhead_seconds_sum'), '<',
	    total($m, 'chat_duration_seconds_sum'), '... which are shorter';
	is total($m, 'stage_duration_seconds_count', 'stage="save"'), 23,
	    'times of saving';
	cmp_ok total($m, 'stage_duration_seconds_count', 'stage="limit"'), '>=',
	    24, '... of reserving';
	is total($m, 'stage_duration_seconds_count', 'stage="context"'), 25,
	    '... of the context';
	cmp_ok total($m, 'stage_duration_seconds_sum', 'stage="model"'), '>=',
	    21 * 0.06, '... of the model';
	cmp_ok total($m, 'server_calls_total', 'result="told"'), '>=', 23,
	    'results of the seller-data API';
	is total($m, 'server_calls_total'),
	    total($m, 'stage_duration_seconds_count', 'stage="server"')
	    + total($m, 'server_calls_total', 'result="dropped"'),
	    '... and their times';
	is total($m, 'server_breaker_open'), 0,
	    '... and its circuit breaker is closed';
	is total($m, 'reservations_held'), 0, 'nothing is reserved';
	ok !grep({ /1\d\d"/ && /user|telegram/ } keys %$m),
	    'no user is in any label';
}

{
	my @socks = $s->start_chats(map { { telegram_id => 200 + $_,
	    message => '[[delay=900]]' } } 1 .. 6);
	wait_for(sub { $s->model_counts->{pending} == 6 }, 10, 'six chats');
	my $m = wait_for(sub {
		my $m = scrape();
		return total($m, 'slots_used') == 6 && $m;
	}, 5, 'the gauges of all workers');
	ok $m, 'six chats in flight occupy six slots';
	is total($m, 'reservations_held'), 6, '... and six reservations';
	finish_chats(@socks);
}

# -- breaker -----------------------------------------------------------------

{
	wait_for(sub {
		$s->send(telegram_id => 300, message => '[[status=500]]');
		my $m = scrape();
		return total($m, 'breaker_open') > 0
		    && chats($m, 'model_open') > 0;
	}, 20, 'a circuit breaker to open');
	pass 'an open circuit breaker is exported';
	$s->restart_worker($_) for 1, 2;
	is total(scrape(), 'breaker_open'), 0, '... and a closed one';
}

# -- database ----------------------------------------------------------------

{
	is total(scrape(), 'database_up'), 2, 'the workers reach the database';
	$s->expect_log(qr/status=503/, qr/database/, qr/FATAL/);
	$s->stop_pg;
	wait_for(sub {
		$s->send(telegram_id => 500) for 1, 2;
		return total(scrape(), 'database_up') == 0;
	}, 20, 'both workers to detect it');
	pass '... and the gauge is 0 when they do not';
	$s->start_pg;
	wait_for(sub { total(scrape(), 'database_up') == 2 }, 20,
	    'both workers to reconnect');
	pass '... and 1 again without a chat';
}

# -- workers that exit
# ------------------------------------------------------------

{
	my $before = scrape();
	for (1 .. 20) {
		my $m = scrape();
		my @less = grep { /_(?:total|bucket|count)\{/
		    && $m->{$_} < ($before->{$_} // 0) } keys %$m;
		is "@less", '', 'no counter decreases' if @less;
		$before = $m;
	}

	my ($sock) = $s->start_chats({ telegram_id => 400,
	    message => '[[delay=2000 id=killed]]' });
	wait_for(sub { $s->model_count('killed') }, 10, 'a chat');
	my ($busy) = grep { $s->taken($_) } 1, 2;
	my $answered = chats(scrape(), 'answered');
	$s->kill_worker($busy);
	finish_chats($sock);
	my $m = scrape();
	is $m->{"worker_up{worker=\"$busy\"}"}, 0, 'a killed worker is down';
	is chats($m, 'answered'), $answered, '... its counters are kept';
	is $m->{"slots{worker=\"$busy\"}"}, undef, '... its gauges are not';
	is total($m, 'reservations_lapsed_total'), 0, 'nothing has lapsed yet';
	$s->start_worker($busy);
	$m = scrape();
	is $m->{"worker_up{worker=\"$busy\"}"}, 1, 'after a restart it is up';
	is chats($m, 'answered'), $answered, '... and its counters continue';
	is total($m, 'reservations_lapsed_total'), 1,
	    '... and the reservations at its death are counted as lapsed';

	$s->scale(1);
	$m = scrape();
	is $m->{'worker_up{worker="2"}'}, undef,
	    'a worker that exited normally is not exported as down';
	is chats($m, 'answered'), $answered, '... and its counters stay';
}

# A file of another layout, and a number that is in use.
{
	my $dir = $s->stack->run_dir . '/metrics';
	$s->kill_worker(1, 'TERM');
	spew("$dir/1.metrics", 'nonsense');
	spew("$dir/7.metrics", 'x' x 100);
	spew("$dir/x.metrics", '');
	$s->start_worker(1);
	is scrape()->{'chats_total{worker="1",outcome="answered"}'}, 0,
	    'a file of another layout is replaced';

	$s->expect_log(qr/belongs to another worker/);
	$s->stack->settings->{AI_CHAT_INSTANCE} = 1;
	ok !eval { $s->start_worker(3); 1 },
	    'a second worker with the same number does not start';
	like $@, qr/AI_CHAT_INSTANCE/, '... and names the setting';
	delete $s->stack->settings->{AI_CHAT_INSTANCE};
	$s->{killed}{3} = 1;
}

# Without a directory a worker reports only its own metrics.
$s->restart_worker(1, AI_CHAT_METRICS_DIR => undef);
is total(scrape(), 'worker_up'), 1,
    'without a directory one worker is exported';

done_testing;
