# A request leaves one line in the log of Nginx and one in the log of the
# worker, both with its id. Both are as docs/logs.md describes them, and contain
# nothing private.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Test;
use List::Util qw(min);

my $TOP = AIChat::Stack::top();
my %canary = map { $_ => "canary${_}z" } qw(message answer data rules caller
    wrongkey openai query repeat server);

my $s = AIChat::Test->new(own_pg => 1, workers => 0, server => 1, env => {
	API_SECRET_KEY => $canary{caller}, OPENAI_API_KEY => $canary{openai},
	OPENAI_FALLBACK_API_KEY => "$canary{openai}2",
	SERVER_API_KEY => $canary{server},
	AI_CHAT_DAILY_LIMIT => 20, AI_CHAT_DEADLINE_MS => 4000,
	AI_CHAT_DB_TIMEOUT_MS => 500, AI_CHAT_BREAKER_FAILURES => 0,
	LOG_LEVEL => 'debug' });
spew($s->dir . '/rules.txt', "Rules: $canary{rules}\n");
$s->stack->settings->{AI_CHAT_PROMPT_FILE} = $s->dir . '/rules.txt';
$s->stack->start_workers(1);
$s->stack->start_nginx;
$s->expect_log(qr/level=error/, qr/too large/, qr/connect\(\) to/, qr/FATAL/);

my %KEY = (headers => { 'X-API-KEY' => $canary{caller} });
my $ids = 0;

sub access_log { return slurp($s->dir . '/log/access.log') }

# The only line with this id, or undef.
sub line_of ($log, $id)
{
	my @lines = $log =~ /^(.* req=\Q$id\E .*)$/mg;
	die "$id has " . @lines . " lines\n" if @lines > 1;
	return $lines[0];
}

# The line as pairs; quoted values without their quotes.
sub pairs ($line)
{
	my @pairs = $line =~ /\G\s*(\w+)=("(?:[^"\\]|\\.)*"|\S*)/gc;

	isnt pos($line) // 0, 0, 'pairs' if !@pairs;
	is substr($line, pos $line), '', 'a line consists of pairs'
	    if pos($line) < length $line;
	return { map { s/^"(.*)"$/$1/r } @pairs };
}

# One request under an id of its own; returns both log lines.
sub both ($title, $status, $ask, $worker = 1)
{
	my $id = 'log-' . ++$ids;
	my $got = $ask->($id);
	my ($nginx, $line);

	wait_for(sub {
		$nginx = line_of(access_log(), $id);
		$line = line_of($s->worker_log(1), $id);
		return $nginx && ($line || !$worker);
	}, 10, "the lines of $id");
	$nginx = pairs($nginx);
	$line &&= pairs($line);
	if ($got) {
		is $got->{status}, $status, "$title: $status";
		is $got->{headers}{'x-request-id'}, $id, '... with its id';
	}
	is $nginx->{status}, $status, "... in the log of Nginx" if $title;
	is $line->{status}, $status,
	    "... and in the log of the worker" if $worker;
	is $line, undef, '... and in the log of no worker' if !$worker;
	return ($nginx, $line);
}

sub chat ($title, $status, $marks, %o)
{
	return both($title, $status, sub ($id) {
		my %headers = (%{ $KEY{headers} }, 'X-Request-Id' => $id,
		    %{ delete $o{headers} // {} });
		return $s->send(telegram_id => 7, user_context => $canary{data},
		    message => "$canary{message} [[text=$canary{answer} $marks]]",
		    headers => \%headers, %o);
	}, delete $o{worker} // 1);
}

sub get ($title, $status, $path, $worker = 1)
{
	return both($title, $status, sub ($id) {
		return $s->get($path, headers => { 'X-Request-Id' => $id,
		    'X-API-KEY' => $canary{caller} });
	}, $worker);
}

# What a chat took beside its stages.
sub rest_ms ($line)
{
	return $line->{ms} - $line->{limit_ms} - $line->{ai_ms} - $line->{save_ms};
}

# -- requests of every kind --------------------------------------------------

{
	my ($nginx, $line) = chat('a chat', 200, 'delay=50');
	is $line->{user}, 7, '... with its user';
	cmp_ok $line->{ai_ms}, '>=', 50, '... with the time of the model';
	cmp_ok $line->{limit_ms}, '>', 0, '... of the limit';
	cmp_ok $line->{save_ms}, '>', 0, '... of the save';
	cmp_ok rest_ms($line), '>=', -0.2, '... which add up to no more than the whole';
	cmp_ok min(rest_ms($line), map { rest_ms((chat('one more', 200,
	    'delay=50', telegram_id => 70))[1]) } 1 .. 5), '<', 40, '... and nearly all of it';
	cmp_ok $nginx->{worker_s}, '>=', 0.05, '... which Nginx measured, too';
	like $nginx->{worker}, qr/^unix:\S+worker-1\.sock$/, '... of this worker';
	cmp_ok $nginx->{out}, '>', 100, '... with its bytes';
}
{
	my (undef, $line) = chat('an answer with its tokens', 200, raw(
	    '{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":5.0,'
	    . '"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}'));
	is join(' ', @$line{map { "tokens$_" } '', qw(_prompt _completion _cached)}),
	    '12 5 7 4', '... in total, prompt, completion and cache';
	(undef, $line) = chat('an answer without tokens', 200, 'body=nousage');
	is join(' ', @$line{map { "tokens$_" } '', qw(_prompt _completion _cached)}),
	    '0 0 0 0', '... has 0 of each';
}
{
	my (undef, $line) = chat('data of the seller-data API', 200, '',
	    user_context => undef);
	is $line->{server}, 'told', '... says so';
	cmp_ok $line->{server_ms}, '>', 0, '... with the time';
}
chat('the fallback model answers', 200,
    'status=429 code=insufficient_quota times=1 id=second');
for (1, 2) {
	my (undef, $line) = chat('a key', 200, '',
	    headers => { 'Idempotency-Key' => "$canary{repeat}" });
	is $line->{replayed}, $_ == 2 ? 'yes' : undef,
	    $_ == 2 ? '... replayed' : '... the first time';
}
{
	my ($trace, $parent) = ('c' x 32, 'd' x 16);
	my (undef, $line) = chat('a trace of the caller', 200, '', headers => {
	    traceparent => "00-$trace-$parent-01" });
	is $line->{trace_id}, $trace, '... is in the line';
	like $line->{span_id}, qr/\A[0-9a-f]{16}\z/, '... with a span';
}
{
	my (undef, $line) = chat('a model that fails', 500, 'status=400');
	is $line->{level}, 'warn', '... is a warning';
	is $line->{doing}, 'calling the model', '... with its stage';
	is $line->{save_ms}, undef, '... and without a time of saving';
}
{
	my (undef, $line) = chat('not a message', 422, '', message => '');
	is $line->{level}, 'info', '... is no warning';
	is $line->{limit_ms}, undef, '... and does not reach the limit';
}
chat('a wrong key', 403, '', headers => { 'X-API-KEY' => $canary{wrongkey} });
get('a query', 200, "/v1/chat/stats/7?days=7&x=$canary{query}");
get('no such path', 404, '/v1/nothing');
get('health', 200, '/health');
get('readiness', 200, '/health/ready');
my ($too_large) = chat('too large a body', 413, '',
    message => $canary{message} x 20000, worker => 0);
is $too_large->{method}, 'POST', '... with the method of the caller';
is $too_large->{path}, '/v1/chat/send', '... and the path';
is $too_large->{worker}, '-', '... and no worker';
chat('a chat of another user', 200, '', telegram_id => 42);

# An id made by Nginx is in both logs, too.
{
	my $id = $s->send(%KEY)->{headers}{'x-request-id'};
	ok wait_for(sub { line_of(access_log(), $id) }, 10, 'its line')
	    && wait_for(sub { line_of($s->worker_log(1), $id) }, 10, 'its line'),
	    'an id that Nginx made is in both logs';
}

# A caller that disconnects.
{
	my (undef, $line) = both('a caller that disconnects', 499, sub ($id) {
		my $sock = $s->connect;
		print $sock $s->chat_bytes(telegram_id => 8,
		    message => "$canary{message} [[delay=3000 id=left]]",
		    headers => { 'X-Request-Id' => $id, %{ $KEY{headers} } });
		wait_for(sub { $s->model_count('left') }, 20, 'the model');
		close $sock;
		return;
	});
	is $line->{code}, 'EGONE', '... is logged as gone';
	is $line->{sent}, 'no', '... without a response';
}

$s->sql('update ai_chat_daily_limits set request_count = 20');
chat('a day that is used up', 429, '');
$s->stop_pg;
{
	my (undef, $line) = chat('no database', 503, '');
	is $line->{level}, 'error', '... is an error';
	is $line->{code}, 'EDB', '... of the database';
}
$s->ready_with(503);
both('not ready', 503, sub ($id) {
	$s->get('/health/ready', headers => { 'X-Request-Id' => $id });
});
$s->start_pg;
wait_for(sub { $s->get('/health/ready')->{status} == 200 }, 20,
    'the worker to find the database again');

# -- long and unusual requests -----------------------------------------------

{
	my %strange = ('a path of 8,000' => '/' . 'a' x 7900,
	    'bytes that are no text' => '/%ff%fe%80' . '%d0' x 300,
	    'quotes and line breaks' => '/%22%0alevel=error%20req=x%22%5c',
	    'words' => '/' . '%D0%AF' x 200);
	# U+0085, U+2028, U+009B, U+202E: line ends, a control sequence of
	# terminals, and a change of the writing direction.
	$strange{'bytes that forge a line'} =
	    '/%C2%85%E2%80%A8level=error%C2%9B2J%E2%80%AE';
	for my $title (sort keys %strange) {
		my (undef, $line) = get($title, 404, $strange{$title});
		is $line->{code}, 'ENOROUTE', '... with a complete line';
	}
	my $log = $s->worker_log(1);
	like $log, qr/path="\/\\xc2\\x85\\xe2\\x80\\xa8level/,
	    'characters that could forge a line are escaped';
	unlike $log . access_log(), qr/[\x{80}-\x{9f}\x{2028}-\x{202e}]/,
	    '... in both logs';
	both('a long method', 405, sub ($id) {
		$s->raw_request(join "\r\n", 'A' x 7000 . ' /health HTTP/1.1',
		    'Host: a', "X-Request-Id: $id", 'Connection: close',
		    "X-API-KEY: $canary{caller}", '', '');
	});
}

# -- no worker ---------------------------------------------------------------

$s->kill_worker(1, 'TERM');
my ($nobody) = chat('no worker', 502, '', worker => 0);
is $nobody->{worker_status}, 502, '... in the log of Nginx';

# -- levels ------------------------------------------------------------------

{
	my %seen = (debug => 'start debug info warn', info => 'start info warn',
	    warn => 'warn', error => '');
	for my $level (qw(debug info warn error)) {
		my $from = length $s->worker_log(1);
		$s->stack->settings->{LOG_LEVEL} = $level;
		$s->start_worker(1);
		$s->get('/health');
		$s->get('/v1/chat/limits/1', %KEY);
		$s->send(telegram_id => 9, message => '[[status=400]]', %KEY);
		# After its end it has written every line.
		$s->kill_worker(1, 'TERM');
		my $log = substr $s->worker_log(1), $from;
		my @is = $log =~ /event=start/ ? ('start') : ();
		push @is, grep { $log =~ /^level=$_ event=request/m }
		    qw(debug info warn error);
		is "@is", $seen{$level}, "lines with LOG_LEVEL=$level";
	}
}

# -- an answer from the cache ------------------------------------------------

{
	$s->start_redis;
	$s->restart_worker(1, AI_CHAT_ANSWER_CACHE_S => 60, LOG_LEVEL => 'info',
	    SERVER_HOST => '');
	wait_for(sub { $s->get('/health/ready')->{json}{checks}{cache} eq 'ok' },
	    10, 'Redis');
	my $user = 700;
	my $line;
	wait_for(sub {
		(undef, $line) = chat('', 200, '', telegram_id => ++$user,
		    user_context => undef);
		return $line->{recalled};
	}, 10, 'the answer to be cached');
	is $line->{recalled}, 'yes', 'an answer from Redis is marked';
	is $line->{attempts}, undef, '... and no call of the model';
}

# -- the commands in the documentation ---------------------------------------

{
	my ($part) = slurp("$TOP/docs/logs.md") =~ /^## Examples\n(.*)/ms;
	my @commands = map { s/ {2,}# .*//r } $part =~ /^ {4}(\S.*)$/mg;
	cmp_ok scalar @commands, '>=', 9, 'logs.md has commands';
	my $bin = $s->dir . '/bin';
	my ($access, $log) = map { $s->dir . "/log/$_.log" } qw(access worker-1);
	my ($id) = access_log() =~ / req=(log-\S+) .* worker_status="200"/;
	mkdir $bin or die "$bin: $!\n";
	# The lines of the worker as the journal prints them.
	spew("$bin/journalctl", <<"END");
#!/bin/sh
case \$* in
*'-u ai-chat-worker\@*'*) sed 's/^/Nov 28 12:00:00 host ai-chat-worker[7]: /' '$log' ;;
*) exit 1 ;;
esac
END
	chmod 0755, "$bin/journalctl";
	for my $command (@commands) {
		# No request of this test takes 10 s, or a reservation 100 ms.
		my $run = $command =~ s/ ms=\[0-9\]\{5,\}/ ms=[0-9]{3,}/r
		    =~ s/_ms=\[0-9\]\{3,\}/_ms=[0-9]{1,}/r
		    =~ s/took_s=\[0-9\]\{2,\}/took_s=[0-9]{1,}/r
		    =~ s/id=3f2a\.\.\./id=$id/r
		    =~ s{/var/log/nginx/ai-chat\.log}{$access}r;
		local $ENV{PATH} = "$bin:$ENV{PATH}";
		my @found = split /\n/, qx($run);
		cmp_ok scalar @found, '>', 0, "it finds lines: $command";
		is scalar @found, 2, '... one in each log' if $command =~ /^id=/;
		ok grep({ / 1? ?status=413$/ } @found)
		    && grep({ / status=502$/ } @found),
		    '... those with 413 and 502' if $command =~ /50\[24\]/;
	}
}

# -- the documentation is complete -------------------------------------------

# The code in the first cells of the table under a heading.
sub documented ($heading, $table)
{
	my ($part) = slurp("$TOP/docs/logs.md") =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms
	    or die "no $heading\n";
	my @tables = $part =~ /((?:^\|.*\n)+)/mg;
	my @names = map { my ($cell) = /^\| ([^|]*)\|/; $cell =~ /`(\w+)`/g }
	    split /\n/, $tables[$table];
	return join ' ', sort @names;
}

sub keys_of (@lines)
{
	my %seen = map { %{ pairs($_) } } @lines;
	return join ' ', sort keys %seen;
}

{
	my @lines = split /\n/, $s->worker_log(1);
	my @requests = grep { / event=request / } @lines;
	cmp_ok scalar @requests, '>', 25, 'there are lines to look at';
	is keys_of(@requests), documented('The line of a request', 0),
	    'fields of a request: exactly the documented ones';
	is keys_of(grep { !/ event=request / } @lines), 'event level text',
	    'fields of other events';
	is keys_of(split /\n/, access_log()),
	    documented("Nginx's access log", 0), "fields of Nginx's line";

	my $sources = join '', map { slurp($_) } glob "$TOP/app/*/*.c";
	my %events = map { $_ => 1 } $sources
	    =~ /\baic_log_(?:event|begin)\([^"]*?"(\w+)"/g;
	is join(' ', sort keys %events), documented('Events', 0), 'events';
	my ($names) = slurp("$TOP/lib/err.c") =~ /names\[\] = \{(.*?)\};/s;
	is join(' ', sort $names =~ /"(\w+)"/g),
	    documented('The line of a request', 1), 'codes';
	is documented('Levels', 0), 'debug error info warn', 'levels';
}

# -- what no log may contain
# -----------------------------------------------------

for my $name ('worker-1.log', 'access.log') {
	my $bytes = slurp($s->dir . "/log/$name");
	my @found = grep { $bytes =~ /\Q$canary{$_}\E/ } sort keys %canary;
	is "@found", '', "no canary in $name";
	ok utf8::decode(my $text = $bytes), '... it is UTF-8';
	unlike $bytes, qr/[^\n\x20-\x7e\x80-\xff]/, '... without control bytes';
	my @long = grep { length > 2047 } split /\n/, $bytes;
	is scalar @long, 0, '... in lines that the journal does not split';
}
cmp_ok length((sort { length $b <=> length $a } split /\n/,
    $s->worker_log(1))[0]), '>', 400, 'long lines among them';

done_testing;
