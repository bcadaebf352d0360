# Network faults during a call of the model: each chat ends by its deadline, is
# retried where that helps, and costs nothing unless it is answered.

use v5.36;
use utf8;
use AIChat::Test;

# The model's share of the deadline is 3000 - 600 - 600 ms, and an attempt needs
# one second of it. A seller-data API may take its 800 ms before.
my $MORE_MS = ($ENV{AIC_WITH} // '') =~ /server/ ? 800 : 0;
my $DEADLINE_S = (3000 + $MORE_MS) / 1000;
# Plain HTTP, because connections are cut after so many bytes of a response.
my $s = AIChat::Test->new(tls => 0, proxy => [ 'model' ], env => {
	AI_CHAT_DEADLINE_MS => 1000 * $DEADLINE_S,
	AI_CHAT_DB_TIMEOUT_MS => 600,
	AI_CHAT_BREAKER_FAILURES => 0,
	AI_CHAT_RETRY_FLOOR => 1000,
});
my $proxy = $s->proxy('model');
my $user = 0;

# One chat under these faults.
sub chat_under (%faults)
{
	$user++;
	$proxy->fault(%faults);
	my $got = $s->send(telegram_id => $user,
	    message => "вопрос [[id=u$user tokens=7]]");
	$proxy->clear;
	return $got;
}

sub calls { return $s->model_count("u$user") // 0 }

sub pays ($n, $what)
{
	is_deeply $s->ledger($user), { count => $n, rows => $n, leases => 0 },
	    $what;
}

# A response of the stand-in has 150 bytes of headers, and a body.
my @ends = map { my $how = $_; map { [ $how, $_ ] } 0, 60, 400 }
    qw(cut reset truncate);

# -- permanent faults
# ------------------------------------------------------------

for my $end (@ends[0, 4, 8]) {
	my ($how, $bytes) = @$end;
	my $got = chat_under(down => { $how => $bytes });
	is $got->{status}, 500,
	    "every answer ended after $bytes bytes ($how): fails";
	like why($got), qr/^AI service error: /, '... with an error text';
	cmp_ok $got->{seconds}, '<', $DEADLINE_S, '... in time';
	my ($attempts) = $s->worker_log(1) =~ /user=$user .*attempts=(\d+)/;
	is calls(), $attempts, '... after as many calls as attempts';
	pays(0, '... and costs nothing');
}

# -- one fault
# ---------------------------------------------------------------------

for my $end (@ends) {
	my ($how, $bytes) = @$end;
	my $got = chat_under(down => { $how => $bytes }, times => 1);
	is $got->{status}, 200,
	    "one answer ended after $bytes bytes ($how): answered by a retry";
	is calls(), 2, '... with two calls';
	is $got->{json}{tokens_used}, 7, '... and the tokens of the second';
	pays(1, '... counted once');
}

# The request does not reach the model.
{
	my $got = chat_under(up => { cut => 100 }, times => 1);
	is $got->{status}, 200, 'a request that is cut off is sent again';
	is calls(), 1, '... and arrives once';
	pays(1, '... counted once');
}

# -- slow connections
# --------------------------------------------------------------

{
	my $got = chat_under(latency_ms => 120, jitter_ms => 60);
	is $got->{status}, 200, 'a model behind a slow connection answers';
	is calls(), 1, '... after one call';

	for my $case ([ 'drips', down => { drip_ms => 50 } ],
	    [ 'is silent', stall => 1 ],
	    [ 'receives the request byte by byte', up => { drip_ms => 100 } ]) {
		my ($what, @faults) = @$case;
		$got = chat_under(@faults);
		is $got->{status}, 500, "a model that $what: fails";
		ok $got->{seconds} > $DEADLINE_S - 1.3
		    && $got->{seconds} < $DEADLINE_S,
		    '... when its share of the deadline is over'
		    or diag $got->{seconds};
		pays(0, '... and costs nothing');
		# A handle that is used again would read the rest of the earlier
		# response.
		my @next = $s->send_many(map { { telegram_id => 9000 + $_,
		    message => "[[text=n$_]]" } } 1 .. 8);
		is join(' ', map { $_->{json}{response} // $_->{status} }
		    @next), join(' ', map { "n$_" } 1 .. 8),
		    '... the next ones get their own answers';
	}
}

# -- no listener
# ---------------------------------------------------------------------

for my $how (qw(refuse hangup)) {
	$proxy->cut_all;
	my $got = chat_under($how => 1);
	is $got->{status}, 500, "no listener ($how): fails";
	cmp_ok $got->{seconds}, '<', $DEADLINE_S, '... in time';
	is calls(), 0, '... without a request at the model';
	pays(0, '... and costs nothing');
}

# -- an idle connection that was closed
# ------------------------------------------------

for my $how (qw(cut reset)) {
	$s->send(telegram_id => 9000);
	$proxy->cut_all($how);
	my $got = chat_under();
	is $got->{status}, 200,
	    "a kept connection that was closed ($how): answered";
	is calls(), 1, '... with one request';
}

# Many at once, and a third of their connections fail somewhere.
{
	$proxy->cut_all;
	$proxy->fault(chance => 0.3, down => { reset => 300 });
	my @got = $s->send_many(map { { telegram_id => 500 + $_,
	    message => "[[id=m$_ delay=30]]" } } 1 .. 60);
	$proxy->clear;
	is((grep { $_->{status} !~ /^(?:200|500)$/ } @got), 0,
	    'sixty at once, a third of the connections fail');
	cmp_ok scalar(grep { $_->{status} == 200 } @got), '>', 45,
	    '... nearly all are answered';
	my $wrong = 0;
	for (1 .. 60) {
		my $n = $got[$_ - 1]{status} == 200 ? 1 : 0;
		my $l = $s->ledger(500 + $_);
		$wrong++ if "@$l{qw(count rows leases)}" ne "$n $n 0";
	}
	is $wrong, 0, '... and exactly the answered chats are counted';
}

done_testing;
