package AIChat::Test;

# The base of every integration test: the real parts in a temporary directory,
# and functions to talk to each of them.
#
#	use v5.36;
#	use utf8;
#	use AIChat::Test;
#	my $s = AIChat::Test->new(workers => 2, env => { ... });
#	is $s->send(telegram_id => 7)->{status}, 200, 'a seller is answered';
#	done_testing;
#
# It exports Test::More, with a done_testing of its own, which stops everything
# and adds five tests to each file: no part was started and not used, every
# response is as the OpenAPI document says, no log has an error that was not
# announced, no sanitizer reports anything, and no worker died unexpectedly. The directory is kept when anything failed.
#
# AIC_WITH, a list such as "redis,server,dying", runs a test with parts that it
# did not request: Redis, the seller-data API, or both while they are killed all
# the time. All its assertions must hold in spite of that.

use v5.36;
use utf8;
use AIChat::Control;
use AIChat::Dying;
use AIChat::Load;
use AIChat::OpenAPI;
use AIChat::Postgres;
use AIChat::Proc qw(wait_for slurp temp_dir remove_dir keep_dir free_port
    unix_connections);
use AIChat::Stack;
use AIChat::TLS;
use File::Path qw(make_path);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket ();
use Storable ();
use Test::More ();
use Time::HiRes qw(time);

our $KEY = 'test-key';

# The protocol between workers and models where a test does not set it: 'h2' or
# 0.
our $TLS = $ENV{AIC_TLS} // 'h2';

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;
my @running;
my $databases = 0;

sub import ($class, @)
{
	my $caller = caller;

	Test::More->export_to_level(1, $class,
	    grep { $_ ne 'done_testing' } @Test::More::EXPORT);
	no strict 'refs';
	*{"${caller}::done_testing"} = \&done_testing;
	*{"${caller}::wait_for"} = \&wait_for;
	*{"${caller}::program"} = \&program;
	*{"${caller}::finish_chats"} = \&finish_chats;
	*{"${caller}::split_question"} = \&split_question;
	*{"${caller}::raw"} = \&raw;
	*{"${caller}::why"} = \&why;

	my $tap = Test::More->builder;
	binmode $_, ':encoding(UTF-8)' for $tap->output, $tap->failure_output,
	    $tap->todo_output;
}

# -- start and end -----------------------------------------------------------

#   workers      how many; default 1, 0 for none
#   env          settings, in addition to those of the harness
#   model        0 for none: OPENAI_BASE_URL then comes from env
#   model_args   arguments of the stand-in model
#   second_model 1 for a second stand-in, the fallback model of the workers
#   redis        1 for Redis, which the workers use; or its settings, as
#                [ '--maxmemory', '1mb' ]
#   server       1 for the stand-in seller-data API, which the workers call
#   with         0: without the parts that AIC_WITH would add
#   nginx        0 for none
#   read_timeout_s   of Nginx, when the test waits for it to pass
#   wrap         the command before that of a worker, as [ 'valgrind', ... ]
#   backlog      the length of the queue of a worker's socket
#   tls          the protocol of the models: "h2" or "http1", over TLS, by an
#                independent proxy, see AIChat::TLS; 0 for plain HTTP.  The
#                default is that of the run, AIC_TLS
#   proxy        [ qw(database model server workers redis) ]: the places of
#                fault proxies, controlled by $s->proxy('model') or
#                $s->proxy('worker 1'); model_plain is between the TLS end and
#                the model
#   migrate      0 for an empty database
#   own_pg       1 for a cluster of its own, which can be stopped
#   pg_conf      settings of that cluster; implies own_pg
#   pg_net       the network namespace of that cluster
#   idle         [ qw(model nginx) ]: parts that are started and not used, on
#                purpose
sub new ($class, %o)
{
	my $dir = temp_dir('ai-chat-t');
	my $self = bless { owner => $$, dir => $dir, expected => [],
	    deaths => [], from => {}, used => {}, idle => $o{idle} // [],
	    proxies => $o{proxy} // [] }, $class;
	push @running, $self;

	my $stack = $self->{stack} = AIChat::Stack->new(
	    dir => $dir, run => make_run_dir($dir), port => free_port(),
	    read_timeout_s => $o{read_timeout_s}, wrap => $o{wrap},
	    backlog => $o{backlog}, certificates($dir, $o{tls} // $TLS),
	    proxy => { map { $_ => 1 } @{ $o{proxy} // [] } });
	$self->start_database(%o);
	%{ $stack->settings } = (
		API_SECRET_KEY => $KEY,
		DATABASE_URL => $stack->database_door($self->{db_url}),
		OPENAI_API_KEY => 'test-openai-key',
		(map { exists $ENV{$_} ? ($_ => $ENV{$_}) : () }
		    qw(ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS)),
		%{ $o{env} // {} },
	);
	# An undef removes a setting.
	delete @{ $stack->settings }{
	    grep { !defined $stack->settings->{$_} }
	    keys %{ $stack->settings } };

	$stack->migrate if $o{migrate} // 1;
	if ($o{model} // 1) {
		my $base = $stack->settings->{OPENAI_BASE_URL};
		$stack->start_model(@{ $o{model_args} // [] });
		$stack->settings->{OPENAI_BASE_URL} = $base if defined $base;
	}
	$stack->start_second_model if $o{second_model};
	$stack->start_redis(ref $o{redis} ? @{ $o{redis} } : ()) if $o{redis};
	$stack->start_server if $o{server};
	$self->start_what_is_added(%o);
	$stack->start_workers(1 .. $o{workers} // 1);
	$stack->start_nginx if $o{nginx} // 1 and $o{workers} // 1;
	return $self;
}

# Which TLS ends the stack starts, with the certificates of prove or our own.
sub certificates ($dir, $tls)
{
	return () if !$tls;
	AIChat::TLS::make_certificates("$dir/certs") if !$ENV{AIC_TEST_CERTS};
	return (tls => $tls, certs => $ENV{AIC_TEST_CERTS} // "$dir/certs");
}

sub make_run_dir ($dir)
{
	make_path("$dir/run");
	chmod 0711, "$dir/run";
	return "$dir/run";
}

# The cluster that prove has started, or one of our own.
sub start_database ($self, %o)
{
	my $pg;

	if ($ENV{AIC_TEST_PG} && !$o{own_pg} && !$o{pg_conf}) {
		$pg = AIChat::Postgres->attach($ENV{AIC_TEST_PG});
	} else {
		$pg = AIChat::Postgres->new(dir => $self->{dir}, sync => 0,
		    run => $self->{stack}->run_dir, conf => $o{pg_conf},
		    net => $o{pg_net});
		$pg->start;
	}
	$self->{stack}{pg} = $pg;
	$self->{db} = "t_$$" . '_' . ++$databases;
	$self->{from}{ $pg->log_path } = -s $pg->log_path // 0;
	$pg->make_database($self->{db});
	$self->{db_url} = $pg->url($self->{db});
}

# Adds the parts of AIC_WITH, unless the test has its own or starts no worker.
sub start_what_is_added ($self, %o)
{
	my $stack = $self->{stack};
	my %with = map { $_ => 1 } split /,/, $ENV{AIC_WITH} // '';

	return if !($o{with} // 1) || !($o{workers} // 1);
	delete $with{redis} if $o{redis} || exists $o{env}{REDIS_URL};
	delete $with{server} if $o{server} || exists $o{env}{SERVER_HOST};
	my @parts = grep { $with{$_} } qw(redis server) or return;
	# It must get the same port again, which another process could have
	# taken.
	$stack->{server_port} = free_port() if $with{server};
	$self->{added} = \%with;
	if (!$with{dying}) {
		$stack->start_redis if $with{redis};
		$stack->start_server if $with{server};
		return;
	}
	$self->{seed} = $ENV{AIC_WITH_SEED} // int rand 1e6;
	$stack->{dying} = AIChat::Dying->start(stack => $stack,
	    parts => \@parts, seed => $self->{seed});
}

sub done_testing (@plan)
{
	$_->finish for @running;
	Test::More::done_testing(@plan);
}

# Stops everything and adds the five tests.
sub finish ($self)
{
	return if $self->{finished}++;
	my @idle = $self->idle_parts;
	my @died = (@{ $self->{deaths} }, $self->stop);

	Test::More::is(join(' ', @idle), '',
	    'no part was started and not used');
	Test::More::is(join("\n", $self->api_faults), '',
	    'every response is as the OpenAPI document says');
	Test::More::is(join("\n", $self->unannounced_errors), '',
	    'no error in a log that was not announced');
	Test::More::is(join("\n", $self->sanitizer_reports), '',
	    'no sanitizer report');
	Test::More::is(join("\n", @died), '', 'no worker died unexpectedly');
	$self->tidy;
}

# The parts that were started and that neither the test nor a worker has used:
# without them the assertions would hold as well. A part that does not answer
# counts as used, because the test has stopped it; so do parts of AIC_WITH.
sub idle_parts ($self)
{
	my $stack = $self->{stack};
	my $added = $self->{added} // {};
	my %on_purpose = map { $_ => 1 } @{ $self->{idle} };
	my %used = %{ $self->{used} };
	my %asked = (
		model => sub { $self->model_count },
		second => sub { $self->second_count },
		server => sub { $self->server_seen->{requests} },
		redis => sub { $stack->redis_cli(qw(info commandstats))
		    =~ /^cmdstat_(?:mget|set|del):/m },
		nginx => sub { 0 },
	);

	return grep { !$on_purpose{$_} }
	    (grep { $stack->{$_} && !$added->{$_} && !$used{$_}
		&& !(eval { $asked{$_}->() } // 1) } sort keys %asked),
	    (grep { !$used{$_} } map { "proxy $_" } @{ $self->{proxies} }),
	    map { "worker $_" } grep { !$self->worker_served($_) }
		$stack->worker_numbers;
}

# Any request except the /health that the harness sends when a worker starts.
sub worker_served ($self, $n)
{
	my ($status, $text) = AIChat::FastCGI::request(
	    $self->{stack}->socket_of($n),
	    { DOCUMENT_URI => '/metrics', X_REQUEST_ID => 'end' });

	return 1 if ($status // 0) != 200;
	return $text =~ m{^ai_chat_requests_total\{worker="$n",
	    route="(?!/health")[^"]*",[^\}]*\}\ [1-9]}mx;
}

# Returns the unexpected deaths, those during the shutdown included.
sub stop ($self)
{
	my $stack = $self->{stack};
	my %procs = map { $_ => $stack->worker($_) } $stack->worker_numbers;
	my @died;

	for my $n (sort keys %procs) {
		push @died, "worker $n " . $procs{$n}->how_it_ended
		    if !$procs{$n}->alive && !$self->{killed}{$n};
	}
	my @stuck = $stack->stop;
	push @died, map { "$_ did not end when asked to" } @stuck;
	for my $n (sort keys %procs) {
		push @died, "worker $n " . $procs{$n}->how_it_ended
		    . ' when asked to end'
		    if !@died && $procs{$n}->status && !$self->{killed}{$n};
	}
	$stack->pg->drop_database($self->{db})
	    if $stack->pg && $stack->pg->is_shared;
	return @died;
}

sub tidy ($self)
{
	if (Test::More->builder->is_passing) {
		remove_dir($self->{dir});
	} else {
		keep_dir($self->{dir});
		Test::More::diag("everything is kept in $self->{dir}");
		Test::More::diag("AIC_WITH=$ENV{AIC_WITH}"
		    . " AIC_WITH_SEED=$self->{seed}") if $self->{seed};
	}
}

# When a test dies half-way, nothing remains but the directory.
END {
	for my $self (@running) {
		next if $self->{finished} || $self->{owner} != $$;
		local ($?, $@, $!);
		eval { $self->stop } if $self->{stack};
		keep_dir($self->{dir});
		Test::More::diag("everything is kept in $self->{dir}");
	}
}

# -- logs --------------------------------------------------------------------

# Announces that matching lines of a log are expected.
sub expect_log ($self, @patterns)
{
	push @{ $self->{expected} }, @patterns;
}

# All log files of this test: name, and text from its start on.
sub logs ($self)
{
	my $stack = $self->{stack};
	my @paths = glob "$self->{dir}/log/*.log";
	push @paths, $stack->pg->log_path
	    if $stack->pg && $stack->pg->is_shared;

	return map {
		my $path = $_;
		my $text = -e $path ? slurp($path) : '';
		my $from = $self->{from}{$path} // 0;
		[ $path =~ s{.*/}{}r, substr $text, $from ];
	} @paths;
}

sub worker_log ($self, $n)
{
	my $path = $self->{stack}->worker_log_path($n);
	my $text = -e $path ? slurp($path) : '';
	utf8::decode($text);
	return $text;
}

sub is_error ($self, $name, $line)
{
	return $line =~ /\blevel=error\b/ if $name =~ /^worker/;
	return $line =~ /\[(?:error|crit|alert|emerg)\]/ if $name =~ /^nginx/;
	return $line =~ /\b\Q$self->{db}\E (?:ERROR|FATAL|PANIC):/
	    || $line =~ /\bPANIC:/ if $name =~ /^postgres/;
	return 0;
}

sub unannounced_errors ($self)
{
	my @found;

	for ($self->logs) {
		my ($name, $text) = @$_;
		for my $line (split /\n/, $text) {
			next if !$self->is_error($name, $line);
			next if grep { $line =~ $_ } @{ $self->{expected} };
			push @found, "$name: $line";
		}
	}
	return @found;
}

sub sanitizer_reports ($self)
{
	return map { my ($name, $text) = @$_;
		map { "$name: $_" } grep {
			/(?:Address|Leak|Thread|Memory)Sanitizer|runtime error:/
		} split /\n/, $text
	} $self->logs;
}

# -- HTTP --------------------------------------------------------------------

# /metrics has a listener of its own.
sub url ($self, $path = '')
{
	$self->{used}{nginx} = 1;
	return 'http://127.0.0.1:' . $self->metrics_port . $path
	    if $path eq '/metrics' && !$self->{stack}{hosts};
	return $self->{stack}->url . $path;
}

sub metrics_port ($self) { return $self->{stack}->metrics_port }
sub port ($self)
{
	$self->{used}{nginx} = 1;
	return $self->{stack}->port;
}

sub dir ($self) { return $self->{dir} }
sub stack ($self) { return $self->{stack} }

# The names of the proxies are in AIChat::Stack.
sub proxy ($self, $name)
{
	my $kind = $name =~ s/^worker \d+\z/workers/r =~ s/^second\b/model/r;

	$self->{used}{"proxy $kind"} = 1;
	return $self->{stack}->proxy($name);
}

# Any request, through Nginx, with the key unless headers say otherwise (a
# header of undef is not sent).
#   json      sent as the body, as JSON
#   content   sent as the body, as it is
#   headers, timeout
# Returns { status, headers, content, json, seconds }; 599 when there was no
# answer, with the reason as content.
sub request ($self, $method, $path, %o)
{
	my %headers = ('X-API-KEY' => $KEY, %{ $o{headers} // {} });
	my %args;

	if (exists $o{json}) {
		$args{content} = $JSON->encode($o{json});
		$headers{'Content-Type'} //= 'application/json';
	}
	$args{content} = $o{content} if exists $o{content};
	delete @headers{ grep { !defined $headers{$_} } keys %headers };

	my $http = HTTP::Tiny->new(timeout => $o{timeout} // 90,
	    keep_alive => 0, max_redirect => 0);
	my $start = time;
	my $got = $http->request($method, $self->url($path),
	    { %args, headers => \%headers });
	my $answer = with_json({ status => $got->{status} + 0,
	    headers => $got->{headers}, content => $got->{content},
	    seconds => time - $start });
	$self->note_answer($method, $path, $answer);
	return $answer;
}

# Keeps a response for the comparison with the OpenAPI document.
sub note_answer ($self, $method, $path, $got)
{
	$self->api->note($method, $path, $got);
	return $got;
}

sub api ($self)
{
	return $self->{api} //= AIChat::OpenAPI->new(
	    build => $self->{stack}{build}, dir => "$self->{dir}/responses",
	    env => { $self->{stack}->sanitizer_env });
}

# A process of parallel() may have got the responses.
sub api_faults ($self)
{
	return -d "$self->{dir}/responses" ? $self->api->faults : ();
}

sub with_json ($got)
{
	$got->{json} = eval { $JSON->decode($got->{content}) };
	return $got;
}

# Readiness is up to a second old: waits up to so many seconds for this status,
# and returns the last response.
sub ready_with ($self, $status, $seconds = 5)
{
	my $got;

	eval { wait_for(sub {
		$got = $self->get('/health/ready',
		    headers => { 'X-API-KEY' => undef });
		return $got->{status} == $status;
	}, $seconds, 'readiness') };
	return $got;
}

sub get ($self, $path, %o) { return $self->request('GET', $path, %o) }

# The error of a response. '' where there is none, or where it breaks the
# contract: a 429 or 5xx has a message for the seller, which a bot may put into
# HTML unchanged and cut at 200 characters.
sub why ($got)
{
	my $detail = ref $got->{json} eq 'HASH' ? $got->{json}{detail} : '';

	return ref $detail ? '' : $detail // ''
	    if $got->{status} != 429 && $got->{status} < 500;
	return '' if ref $detail ne 'HASH' || !length $detail->{error};
	return '' if $detail->{message}
	    !~ /\A\p{Lu}(?:[\p{Cyrillic}\d \x{2014}\x{2212}+,.:;()-]){20,198}[.]\z/;
	return $detail->{error};
}

# The body is a reference, sent as JSON, or bytes, sent as they are.
sub post ($self, $path, $body = undef, %o)
{
	$o{ ref $body ? 'json' : 'content' } = $body if defined $body;
	$o{headers} = { 'Content-Type' => 'application/json',
	    %{ $o{headers} // {} } };
	return $self->request('POST', $path, %o);
}

# One chat. The default is telegram_id 1 and a plain question; headers and
# timeout belong to the request, all other names to the body.
sub send ($self, %o)
{
	my %args = map { exists $o{$_} ? ($_ => delete $o{$_}) : () }
	    qw(headers timeout);
	return $self->post('/v1/chat/send', { telegram_id => 1,
	    message => 'Как поднять карточку в поиске?', %o }, %args);
}

# Many chats at the very same moment, each with the arguments of send; returns
# their responses in order. One process sends them all, which leaves the
# processors to the service; 300 processes would not.
sub send_many ($self, @chats)
{
	return finish_chats($self->start_chats(@chats));
}

# Its two halves, for a test that does something in between.
sub start_chats ($self, @chats)
{
	my @socks = map { $self->connect } @chats;

	for my $i (0 .. $#chats) {
		${ *{ $socks[$i] } }{aic_asked} = [ $self, 'POST',
		    '/v1/chat/send' ];
		print { $socks[$i] } $self->chat_bytes(%{ $chats[$i] });
		$socks[$i]->flush;
	}
	return @socks;
}

sub finish_chats (@socks)
{
	my %index = map { ($socks[$_] => $_) } 0 .. $#socks;
	my $select = IO::Select->new(@socks);
	my $start = time;
	my (@raw, @seconds);

	while (my @ready = $select->can_read(90)) {
		for my $sock (@ready) {
			my $i = $index{$sock};
			my $raw = \($raw[$i] //= '');
			$seconds[$i] = time - $start;
			next if sysread $sock, $$raw, 65536, length $$raw;
			$select->remove($sock);
			# Nginx may wait for this request, and the test for
			# Nginx.
			close $sock;
		}
	}
	return map {
		my $got = { %{ parse_answer($raw[$_] // '') },
		    seconds => $seconds[$_] // 90 };
		my $asked = ${ *{ $socks[$_] } }{aic_asked};
		$asked->[0]->note_answer(@$asked[1, 2], $got)
		    if $asked && is_whole($raw[$_] // '');
		$got;
	} 0 .. $#socks;
}

sub chat_bytes ($self, %o)
{
	my %headers = ('X-API-KEY' => $KEY, %{ delete $o{headers} // {} });
	my $body = $JSON->encode({ telegram_id => 1, message => 'Вопрос', %o });

	return join "\r\n", 'POST /v1/chat/send HTTP/1.1', 'Host: localhost',
	    'Connection: close', 'Content-Type: application/json',
	    'Content-Length: ' . length $body,
	    (map { "$_: $headers{$_}" } sort keys %headers), '', $body;
}

sub connect ($self)
{
	my $sock = IO::Socket::INET->new(PeerPort => $self->port,
	    PeerAddr => $self->{stack}->address) or die "could not connect: $!\n";
	$sock->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
	return $sock;
}

# Sends bytes unchanged to Nginx; the elements of an array reference are sent in
# a segment each. Returns what request does, with raw for all bytes received.
sub raw_request ($self, $bytes, $seconds = 30)
{
	my $sock = $self->connect;
	local $SIG{PIPE} = 'IGNORE';
	print $sock $_ or last for ref $bytes ? @$bytes : $bytes;
	$sock->flush;

	my ($raw, $end) = ('', time + $seconds);
	until (is_whole($raw)) {
		my $left = $end - time;
		last if $left <= 0 || !IO::Select->new($sock)->can_read($left);
		sysread $sock, $raw, 65536, length $raw or last;
	}
	my $got = parse_answer($raw);
	my ($method, $path) = (ref $bytes ? join '', @$bytes : $bytes)
	    =~ m{\A([A-Z]+) (/\S*) HTTP/};
	return defined $path && is_whole($raw)
	    ? $self->note_answer($method, $path, $got) : $got;
}

# Whether a response has the whole body that it announced; 1xx responses are
# skipped.
sub is_whole ($raw)
{
	$raw =~ s/^HTTP\S+ 1\d\d .*?\r\n\r\n//s;
	my ($head, $body) = split /\r\n\r\n/, $raw, 2;
	return 0 if !defined $body || $head !~ /^content-length: (\d+)/mi;
	return length $body >= $1;
}

sub parse_answer ($raw)
{
	my $rest = $raw =~ s/^HTTP\S+ 1\d\d .*?\r\n\r\n//sr;
	my ($head, $body) = split /\r\n\r\n/, $rest, 2;
	my ($first, @lines) = split /\r\n/, $head // '';
	my %headers;

	for (@lines) {
		my ($name, $value) = split /:\s*/, $_, 2;
		push @{ $headers{ lc $name } }, $value;
	}
	$_ = @$_ > 1 ? $_ : $_->[0] for values %headers;
	return with_json({ raw => $raw, headers => \%headers,
	    status => ($first // '') =~ /^HTTP\S+ (\d+)/ ? $1 + 0 : 599,
	    content => $body // '' });
}

# -- many at once ------------------------------------------------------------

# Runs $sub->(0) .. $sub->($n - 1) at the same moment, in a process each, and
# returns their results (one scalar each), in order.
sub parallel ($self, $n, $sub)
{
	my @readers;

	pipe my $gate, my $open or die "could not make a pipe: $!\n";
	for my $i (0 .. $n - 1) {
		pipe my $r, my $w or die "could not make a pipe: $!\n";
		my $pid = fork // die "could not fork: $!\n";
		if (!$pid) {
			close $open;
			close $r;
			sysread $gate, my $nothing, 1;
			my @got = eval { ('', scalar $sub->($i)) };
			@got = ($@ || 'died') if !@got;
			print $w Storable::freeze(\@got);
			close $w;
			POSIX::_exit(0);
		}
		close $w;
		push @readers, [ $pid, $r ];
	}
	close $gate;
	close $open;
	return map { collect(@$_) } @readers;
}

sub collect ($pid, $r)
{
	my $bytes = do { local $/; <$r> } // '';
	waitpid $pid, 0;
	die "a process of parallel() died\n" if $bytes eq '';
	my ($why, $value) = @{ Storable::thaw($bytes) };
	die "in parallel(): $why" if $why;
	return $value;
}

# Chats one after another from several callers, until it is stopped; see
# AIChat::Load.
sub start_load ($self, %o)
{
	# Another process sends the requests, so they are not recorded here.
	$self->{used}{nginx} = 1;
	return AIChat::Load->start($self, %o);
}

# -- programs ----------------------------------------------------------------

# Runs one of our programs to its end, with exactly this environment; returns
# its exit status and all its output.
sub program ($name, $env, @args)
{
	my $path = AIChat::Stack::find_build() . "/$name";
	my %env = (AIChat::Proc::base_env(),
	    (map { exists $ENV{$_} ? ($_ => $ENV{$_}) : () }
		qw(ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS)),
	    %$env);
	delete @env{ grep { !defined $env{$_} } keys %env };

	my $pid = open my $out, '-|';
	die "could not fork: $!\n" if !defined $pid;
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDERR, '>&', \*STDOUT;
		%ENV = %env;
		exec $path, @args or POSIX::_exit(127);
	}
	my $text = do { local $/; <$out> } // '';
	close $out;
	return ($? & 127 ? 'signal ' . ($? & 127) : $? >> 8, $text);
}

# Runs ai-chatctl on this stack, whose service manager this process is
# meanwhile. Returns { status, out, err, json }.
#   env    changes to its environment; an undef removes a variable
#   input  its standard input
#   deaf   1: nobody reads its output
sub ctl ($self, @args)
{
	return ($self->finish_ctl($self->start_ctl(@args)))[0];
}

sub control ($self)
{
	return $self->{control} //= AIChat::Control->new($self->{stack});
}

sub start_ctl ($self, @args)
{
	state $n = 0;
	my %o = ref $args[-1] ? %{ pop @args } : ();
	my $run = { said => "$self->{dir}/ctl" . ++$n };
	my $path = AIChat::Stack::find_build() . '/ai-chatctl';
	my %env = (AIChat::Proc::base_env(), $self->control->env,
	    %{ $o{env} // {} });

	delete @env{ grep { !defined $env{$_} } keys %env };
	AIChat::Proc::spew("$run->{said}.in", $o{input} // '');
	$run->{pid} = fork // die "could not fork: $!\n";
	return $run if $run->{pid};
	open STDIN, '<', "$run->{said}.in";
	open STDOUT, '>', "$run->{said}.out";
	open STDERR, '>', "$run->{said}.err";
	if ($o{deaf}) {
		pipe my $r, my $w or die "could not make a pipe: $!\n";
		open STDOUT, '>&', $w;
	}
	%ENV = %env;
	utf8::encode($_) for @args;
	exec $path, @args or POSIX::_exit(127);
}

sub finish_ctl ($self, @runs)
{
	while (grep { !defined $_->{status} } @runs) {
		$self->control->serve(0.02);
		for (grep { !defined $_->{status} } @runs) {
			next if waitpid($_->{pid}, POSIX::WNOHANG) != $_->{pid};
			$_->{status} = $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
		}
	}
	return map {
		my %got = (status => $_->{status}, out => slurp("$_->{said}.out"),
		    err => slurp("$_->{said}.err"));
		$got{json} = eval { $JSON->decode($got{out}) };
		utf8::decode($got{$_}) for qw(out err);
		\%got;
	} @runs;
}

# -- database ----------------------------------------------------------------

# The rows of a query, each an array reference; undef for null.
sub sql ($self, $query)
{
	utf8::encode($query);
	return AIChat::Postgres::psql($self->{db_url}, $query);
}

# The first column of the first row.
sub value ($self, $query)
{
	my ($row) = $self->sql($query);
	return $row ? $row->[0] : undef;
}

# The data of a user in the database: { count, rows, leases }.
sub ledger ($self, $user)
{
	my ($row) = $self->sql("select
	    coalesce(max(request_count), 0), (select count(*) from
		ai_chat_requests where telegram_id = $user),
	    coalesce(max(cardinality(leases)), 0)
	    from ai_chat_daily_limits where telegram_id = $user");
	my %ledger;

	@ledger{qw(count rows leases)} = map { $_ + 0 } @$row;
	return \%ledger;
}

sub db_url ($self) { return $self->{db_url} }

sub stop_pg ($self, $mode = 'fast') { $self->{stack}->pg->stop($mode) }
sub kill_pg ($self) { $self->{stack}->pg->kill_all }
sub start_pg ($self) { $self->{stack}->pg->start }

# The postmaster of a cluster of the test's own.
sub pg_pid ($self) { return $self->{stack}->pg->proc->pid }

# -- Redis -------------------------------------------------------------------

sub start_redis ($self, @args) { $self->{stack}->start_redis(@args) }
sub redis_cli ($self, @args)
{
	$self->{used}{redis} = 1;
	return $self->{stack}->redis_cli(@args);
}

# Sends any signal, STOP and CONT included.
sub kill_redis ($self, $sig = 'KILL')
{
	my $proc = $self->{stack}->redis;

	$self->{used}{redis} = 1;
	$proc->signal($sig);
	wait_for(sub { is_stopped($proc->pid) }, 10, 'Redis to stop')
	    if $sig eq 'STOP';
	wait_for(sub { !$proc->alive }, 10, 'Redis to end')
	    if $sig !~ /^(?:STOP|CONT)$/;
}

# -- workers -----------------------------------------------------------------

sub worker_pid ($self, $n) { return $self->{stack}->worker($n)->pid }

# Sends a signal that ends the worker on purpose, or stops and continues it.
sub kill_worker ($self, $n, $sig = 'KILL')
{
	my $proc = $self->{stack}->worker($n);
	$proc->signal($sig);
	wait_for(sub { is_stopped($proc->pid) }, 10, "worker $n to stop")
	    if $sig eq 'STOP';
	return if $sig =~ /^(?:STOP|CONT|0)$/;
	$self->{killed}{$n} = 1;
	wait_for(sub { !$proc->alive }, 90, "worker $n to end");
	return $proc->status;
}

# Whether a worker has died that may die in this test.
sub may_die ($self, $n, $seconds = 5)
{
	my $proc = $self->{stack}->worker($n);

	$self->{killed}{$n} = 1;
	return 1 if eval { wait_for(sub { !$proc->alive }, $seconds, 'it') };
	delete $self->{killed}{$n};
	return 0;
}

# Waits until all its threads are stopped: one of them could still take a
# request.
sub is_stopped ($pid)
{
	return !grep { (eval { slurp($_) } // '') !~ /^State:\s+T/m }
	    glob "/proc/$pid/task/*/status";
}

# The number of requests in the queue of its socket and in the worker.
sub queued ($self, $n)
{
	return (unix_connections($self->{stack}->socket_of($n)))[0];
}

sub taken ($self, $n)
{
	return (unix_connections($self->{stack}->socket_of($n)))[1];
}

# Starts a worker that was killed, or a further one, and waits until it answers.
sub start_worker ($self, $n)
{
	my $stack = $self->{stack};
	my $is_new = !$stack->worker($n);

	$self->note_death($n);
	delete $self->{killed}{$n};
	$stack->start_workers($n);
	return if !$is_new || !$stack->nginx;
	$stack->write_upstream($stack->worker_numbers);
	$stack->reload_nginx;
}

# Drains a worker and starts it again; settings may change in between.
sub restart_worker ($self, $n, %settings)
{
	my $settings = $self->{stack}->settings;

	$self->note_death($n);
	my ($drained, $proc) = $self->{stack}->stop_worker($n);
	push @{ $self->{deaths} }, "worker $n " . $proc->how_it_ended
	    . ' when asked to end' if $proc && $proc->status
	    && !$self->{killed}{$n};
	%$settings = (%$settings, %settings);
	delete $self->{killed}{$n};
	$self->{stack}->start_workers($n);
}

# Before another worker takes its place.
sub note_death ($self, $n)
{
	my $proc = $self->{stack}->worker($n) or return;
	return if $proc->alive || $self->{killed}{$n};
	push @{ $self->{deaths} }, "worker $n " . $proc->how_it_ended;
	$self->{killed}{$n} = 1;
}

sub scale ($self, $count) { $self->{stack}->scale($count) }

# -- the stand-in model ------------------------------------------------------

# The control interface of the stand-in model; undef where it has no data.
sub model_says ($self, $path, $id, $port = $self->{stack}->model_port)
{
	$self->{used}{ $port == ($self->{stack}->second_port // 0) ? 'second'
	    : 'model' } = 1;
	my $got = HTTP::Tiny->new(timeout => 10, keep_alive => 0)->get(
	    "http://127.0.0.1:$port/$path" . (defined $id ? "?id=$id" : ''));

	return if $got->{status} == 404;
	die "the stand-in model: $got->{status} $got->{content}\n"
	    if !$got->{success};
	return $JSON->decode($got->{content});
}

# How often it was called: with this id, or in total.
sub model_count ($self, $id = undef)
{
	return $self->model_says('count', $id)->{requests};
}

# Its other counters: pending, peak, connections, closed_early and more.
sub model_counts ($self) { return $self->model_says('count', undef) }

# The mark by which the stand-in model responds with these bytes, with any
# status.
sub raw ($body)
{
	utf8::encode($body) if utf8::is_utf8($body);
	return 'raw=' . $body =~ s/([^A-Za-z0-9_.,:"{}])/sprintf '%%%02x', ord $1/ger;
}

# Splits the content of the last message into the question, the seller's data
# and the sentence before them; the last two are undef where there are no data.
sub split_question ($content)
{
	my ($head, undef, $data, $question) = $content =~ m{
		\A (Данные\ о\ продавце[^\n]*) \n\n
		<(seller-data-[0-9a-f]{8})>\n (.*) \n</\g2>\n\n (.*) \z
	}sx or return ($content);
	return ($question, $data, $head);
}

# The last request: { headers, body }, the body decoded. The data of a
# seller-data API that AIC_WITH added are removed, because the test does not
# expect them.
sub model_last ($self, $id = undef, $port = $self->{stack}->model_port)
{
	my $last = $self->model_says('last', $id, $port) or return;
	my $messages = $last->{body}{messages};

	if ($self->{added}{server} && ref $messages && @$messages) {
		my ($question, $data) = split_question($messages->[-1]{content});
		$messages->[-1]{content} = $question
		    if ($data // '') =~ /^- период: «последние 30 дней»$/m;
	}
	return $last;
}

# The same for the second stand-in.
sub second_count ($self, $id = undef)
{
	return $self->model_says('count', $id, $self->{stack}->second_port)
	    ->{requests};
}

sub second_last ($self, $id = undef)
{
	return $self->model_last($id, $self->{stack}->second_port);
}

# The times of the calls, in milliseconds of a monotonic clock.
sub model_times ($self, $id)
{
	return @{ $self->model_says('times', $id) };
}

# -- the stand-in seller-data API --------------------------------------------

sub server_request ($self, $method, $path, $body = '')
{
	my $port = $self->{stack}->server_port;

	$self->{used}{server} = 1;
	utf8::encode($body) if utf8::is_utf8($body);
	my $got = HTTP::Tiny->new(timeout => 10, keep_alive => 0)->request(
	    $method, "http://127.0.0.1:$port/$path", { content => $body });
	die "the stand-in Server: $got->{status} $got->{content}\n"
	    if !$got->{success};
	return $JSON->decode($got->{content});
}

# Sets the responses about a seller from now on, 0 for all: status, delay_ms,
# how (hang, drop), body (a reference is sent as JSON); without any of them, the
# normal response.
sub server_set ($self, $id, %o)
{
	my $body = delete $o{body} // '';

	$body = $JSON->encode($body) if ref $body;
	$self->server_request('POST', "set?id=$id"
	    . join('', map { "&$_=$o{$_}" } sort keys %o), $body);
}

# How often it was called about a seller.
sub server_count ($self, $id)
{
	return $self->server_request('GET', "seen?id=$id")->{requests};
}

# Of all: { requests, refused, last => { uri, headers } }.
sub server_seen ($self) { return $self->server_request('GET', 'seen') }

sub stop_server ($self) { (delete $self->{stack}{server})->stop('KILL') }
sub start_server ($self) { $self->{stack}->start_server }

1;
