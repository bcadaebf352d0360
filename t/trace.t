# W3C Trace Context: the trace of the caller is in the log, and in the requests
# to the model and to the seller-data API.

use v5.36;
use utf8;
use AIChat::Test;

my $TRACE = '0af7651916cd43dd8448eb211c80319c';
my $SPAN = 'b7ad6b7169203331';
my $s = AIChat::Test->new(server => 1, with => 0);
my $next = 0;

# One chat with these headers: the response, the headers of the last request to
# the model, and the last log line about the chat.
sub ask ($headers, $marks = '')
{
	my $id = 't' . ++$next;
	my $got = $s->send(telegram_id => $next,
	    message => "Вопрос [[id=$id $marks]]",
	    headers => { %$headers, 'X-Request-Id' => $id });
	return ($got, $s->model_last($id)->{headers}, line_of($id));
}

sub line_of ($id)
{
	return wait_for(sub {
		$s->worker_log(1) =~ /^(.*event=request req=\Q$id\E .*)$/m && $1;
	}, 10, "the line about $id");
}

sub from_server { return $s->server_seen->{last}{headers} }

{
	my ($got, $asked, $line) = ask({});
	is $got->{status}, 200, 'a chat without a trace';
	is_deeply [ @$asked{qw(traceparent tracestate)} ], [ undef, undef ],
	    '... has none in the request to the model';
	is from_server()->{traceparent}, undef,
	    '... nor in that to the seller-data API';
	unlike $line, qr/trace_id|span_id/, '... nor in the log';
}

{
	my ($got, $asked, $line) = ask({ traceparent => "00-$TRACE-$SPAN-01",
	    tracestate => 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE' });
	is $got->{status}, 200, 'a chat with a trace';
	my ($span) = $line =~ / req=\S+ trace_id=$TRACE span_id=([0-9a-f]{16}) /;
	ok $span, '... the log has its id, and that of a span';
	isnt $span, $SPAN, '... which is not the span of the caller';
	for ([ 'the model', $asked ], [ 'the seller-data API', from_server() ]) {
		my ($to, $headers) = @$_;
		is $headers->{traceparent}, "00-$TRACE-$span-01",
		    "... the request to $to is below that span";
		is $headers->{tracestate}, 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE',
		    '... and has the tracestate, unchanged';
	}
}

{
	my ($got, $asked, $line) = ask({ traceparent => "00-$TRACE-$SPAN-00" },
	    'status=500 times=1');
	is $got->{status}, 200, 'a chat whose first call fails';
	like $line, qr/ attempts=2 /, '... is repeated';
	my ($span) = $line =~ / span_id=(\S+)/;
	is $asked->{traceparent}, "00-$TRACE-$span-00",
	    '... and the second call is in the trace, too';
}

for ("00-$TRACE-$SPAN", "00-\U$TRACE\E-$SPAN-01", "00-$TRACE-$SPAN-01-x",
    "ff-$TRACE-$SPAN-01", '00-' . '0' x 32 . "-$SPAN-01",
    "00-$TRACE-" . '0' x 16 . '-01', "$TRACE") {
	my ($got, $asked, $line) = ask({ traceparent => $_,
	    tracestate => 'a=b' });
	is $got->{status}, 200, "an invalid traceparent: $_";
	unlike $line, qr/trace_id/, '... is ignored';
	is_deeply [ @$asked{qw(traceparent tracestate)} ], [ undef, undef ],
	    '... and not passed on';
}

{
	my ($got) = $s->send_many({ telegram_id => 90, headers => {
	    traceparent => "00-$TRACE-$SPAN-01", 'X-Request-Id' => 'big',
	    tracestate => 'a=' . 'b' x 511 } });
	is $got->{status}, 200, 'a tracestate of 513 characters';
	is_deeply [ exists from_server()->{traceparent},
	    exists from_server()->{tracestate} ], [ 1, '' ],
	    '... is dropped, and the trace is passed on';
}

{
	$s->get('/v1/chat/limits/1', headers => { 'X-Request-Id' => 'limits',
	    traceparent => "00-$TRACE-$SPAN-01" });
	like line_of('limits'), qr/ trace_id=$TRACE span_id=\w{16} /,
	    'other requests log the trace, too';
	$s->get('/v1/chat/limits/1', headers => { 'X-Request-Id' => 'no',
	    'X-API-KEY' => 'wrong', traceparent => "00-$TRACE-$SPAN-01" });
	like line_of('no'), qr/ trace_id=$TRACE .*status=403/,
	    '... as do those that are refused';
}

done_testing;
