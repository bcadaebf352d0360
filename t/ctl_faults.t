# Faults that an operator meets, one after another: "ai-chatctl check" names each
# of them, with exit status 1, and so does "status" where a worker has the fault.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew free_port);
use AIChat::Stack;
use AIChat::TLS;
use AIChat::Test;
use IO::Socket::INET;
use POSIX ();
use Test::More ();

# Volumes are mounted for a test, so it runs in a mount namespace of its own,
# which ends with it. Only root can have one and start PostgreSQL in it.
if ($> == 0 && !$ENV{AIC_MOUNTS}
    && system('unshare', '-m', 'mount', '-t', 'tmpfs', 'none', '/mnt') == 0) {
	local $ENV{AIC_MOUNTS} = 1;
	exec 'unshare', '-m', $^X, (map { "-I$_" } @INC), $0;
}

# "check" requires fsync and full_page_writes.
my $s = AIChat::Test->new(workers => 2, redis => 1, server => 1, tls => 0,
    with => 0, pg_conf => { fsync => 'on', full_page_writes => 'on' },
    env => {
	AI_CHAT_DEADLINE_MS => 4000,
	AI_CHAT_DB_TIMEOUT_MS => 1000,
	AI_CHAT_DB_POOL => 2,
	AI_CHAT_BREAKER_FAILURES => 1,
	AI_CHAT_BREAKER_OPEN_MS => 60000,
});
# All parts fail, and log it. A worker that crashes is reported anyway.
$s->expect_log(qr/./);
my $stack = $s->stack;
my $RUN = $stack->run_dir;
my $SITE = "$RUN/conf.d/ai-chat.conf";
my $site = slurp($SITE);
my $faults = 0;

sub admin ($sql) { return $stack->pg->admin($sql) }

# Runs check with these settings of the workers replaced.
sub check (%env)
{
	my $file = "$RUN/fault.env";

	return $s->ctl('check', '--json') if !%env;
	$s->control->env;
	spew($file, slurp("$RUN/worker.env")
	    . join '', map { "$_=$env{$_}\n" } sort keys %env);
	return $s->ctl('check', '--json',
	    { env => { AI_CHATCTL_ENV_FILE => $file } });
}

# The check must name the fault.
sub named ($title, $check, $why, %env)
{
	$faults++;
	my $got = check(%env);
	my @wrong = grep { !$_->{ok} } @{ $got->{json}{checks} };

	is $got->{status}, 1, "$title: check exits with 1"
	    or diag "$got->{out}$got->{err}";
	ok((grep { $_->{check} eq $check && $_->{says} =~ $why } @wrong),
	    "... and names the fault") or diag $got->{out};
	unlike $got->{out}, qr/canary/, '... and no secret';
	return map { $_->{check} } @wrong;
}

# A fault of a setting: nothing else is wrong.
sub only ($title, $check, $why, %env)
{
	my %wrong = map { $_ => 1 } named($title, $check, $why, %env);

	is join(' ', sort keys %wrong), $check, '... and no other check fails';
}

# Status must have this line and fail; workers notice some faults in a second.
sub status_says ($why)
{
	my $got;

	eval { wait_for(sub {
		$got = $s->ctl('status');
		return $got->{status} == 1 && $got->{out} =~ $why;
	}, 15, 'the fault in the output of status') };
	is $got->{status}, 1, '... status exits with 1';
	like $got->{out}, $why, '... and names the fault, too';
	is join("\n", grep { length > 80 } split /\n/, $got->{out}), '',
	    '... in 80 columns';
}

# Workers notice in a second that a fault has ended.
sub wait_until_well
{
	wait_for(sub { $s->ctl('status')->{status} == 0 }, 20,
	    'status to find nothing wrong');
}

# A server that answers each request with this response.
sub serve ($response)
{
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
	    Listen => 16) or die "could not listen: $!\n";
	my $pid = fork // die "could not fork: $!\n";

	if (!$pid) {
		while (my $sock = $listener->accept) {
			while (defined(my $line = <$sock>)) {
				last if $line =~ /^\r?$/;
			}
			print $sock $response;
		}
		POSIX::_exit(0);
	}
	return ($listener->sockport, $pid);
}

sub mount ($dir, $size)
{
	mkdir $dir;
	return system('mount', '-t', 'tmpfs', '-o', "size=$size,mode=0777",
	    'none', $dir) == 0;
}

is $s->send(telegram_id => 1)->{status}, 200, 'a chat is answered';
{
	my $got = $s->ctl('check');
	is $got->{status}, 0, 'without a fault check exits with 0'
	    or diag $got->{out};
	like $got->{out}, qr/^ok +\Q$_\E: /m, "... with a line for $_"
	    for qw(settings database connections schema durability search_path
	    disk redis model server nginx site timeouts body port listener
	    metrics workers breakers);
	my $calls = $s->model_count;
	is $s->ctl('check')->{status}, 0, '... and once more';
	is $s->model_count, $calls, '... without a paid call';
	like $s->ctl('check', '--model')->{out},
	    qr/^ok +model: \S+ answered a question in \d+ ms, for \d+ tokens$/m,
	    'check --model asks the model a question';
	is $s->model_count, $calls + 1, '... in one call';
}

# -- Nginx -------------------------------------------------------------------

only('a port that Nginx does not listen on', 'port',
    qr/AI_CHAT_PORT is 9, but Nginx listens on 127\.0\.0\.1:\d+: run ai-chatctl/,
    AI_CHAT_PORT => 9);
{
	my $port = free_port();
	spew($SITE, $site =~ s/(listen [^;\n]*;)/$1 listen 127.0.0.1:$port;/r);
	only('an address that Nginx has not been reloaded for', 'listener',
	    qr/does not respond on 127\.0\.0\.1:$port: Connection refused/);
	spew($SITE, $site);
}
{
	my $dir = $ENV{AIC_TEST_CERTS} // $s->dir . '/certs';
	AIChat::TLS::make_certificates($dir) if !$ENV{AIC_TEST_CERTS};
	my ($port, $other) = (free_port(), free_port());
	my $with = sub ($cert) {
		spew($SITE, $site =~ s{(listen [^;\n]*;)}{$1
		    listen 127.0.0.1:$port ssl;
		    ssl_certificate $dir/$cert.pem;
		    ssl_certificate_key $dir/$cert.key;}r);
		$stack->reload_nginx;
	};
	$with->('good');
	my $got = $s->ctl('check');
	like $got->{out}, qr/^ok +certificate: .* expires on 2040-01-01 /m,
	    'a certificate of Nginx that is valid' or diag $got->{out};
	$with->('expired');
	only('a certificate of Nginx that has expired', 'certificate',
	    qr/127\.0\.0\.1:$port expired on 2020-02-01 .*renew/);
	spew($SITE, $site);
	$stack->reload_nginx;

	my $end = AIChat::TLS->start(kind => 'http1', cert => 'expired',
	    certs => $dir, to => $stack->model_port, port => $other,
	    dir => "$RUN/tls-end", log => $s->dir . '/tls-end.log');
	only('a certificate of the model that has expired', 'model',
	    qr/could not reach 127\.0\.0\.1:$other: .*expired/,
	    OPENAI_BASE_URL => $end->url . '/v1',
	    OPENAI_CA_FILE => AIChat::TLS::ca_file($dir));
	$end->stop;
}
{
	my @pids = ($stack->nginx->pid, split ' ', slurp('/proc/'
	    . $stack->nginx->pid . '/task/' . $stack->nginx->pid . '/children'));
	kill 'STOP', @pids;
	only('Nginx hangs', 'listener', qr/does not respond .*: no response/);
	kill 'CONT', reverse @pids;

	$stack->nginx->stop('QUIT');
	only('Nginx is stopped', 'nginx', qr/Nginx is not running: start Nginx/);
	status_says(qr/^Nginx is not running$/m);
	$stack->start_nginx;
}

# -- the workers -------------------------------------------------------------

{
	$s->kill_worker(2);
	named('a worker is killed', 'workers', qr/worker 2: not ready \(down\)/);
	status_says(qr/^ +2 +- +down /m);
	$s->start_worker(2);

	my $list = slurp("$RUN/upstream.conf");
	spew("$RUN/upstream.conf", $list =~ s/.*\n\z//r);
	only('a worker is not in the list', 'workers',
	    qr/worker 2: not in Nginx's list/);
	status_says(qr/not in Nginx's list/);
	spew("$RUN/upstream.conf", $list);

	$s->kill_worker(2, 'STOP');
	only('a worker hangs', 'workers',
	    qr/worker 2: does not respond on its socket/);
	status_says(qr/does not respond on its socket\n.*\d s old$/m);
	$s->kill_worker(2, 'CONT');
}

# -- Redis, the model, the seller-data API -----------------------------------

my $redis = $stack->settings->{REDIS_URL};
only('a wrong password of Redis', 'redis', qr/could not reach Redis: .*AUTH/,
    REDIS_URL => $redis =~ s{//}{//:canary@}r);
$s->kill_redis;
named('Redis is killed', 'redis', qr/could not reach Redis: /);
status_says(qr/Redis is unavailable|circuit breaker of Redis is open/);
$s->start_redis;
wait_until_well();

only('a wrong SERVER_API_KEY', 'server', qr/rejects SERVER_API_KEY: HTTP 40/,
    SERVER_API_KEY => 'canary');
only('a path that the seller-data API does not have', 'server',
    qr{has no path /nothing/}, SERVER_CONTEXT_PATHS => '/nothing/{telegram_id}');
$stack->server->stop;
only('the seller-data API is stopped', 'server', qr/could not call /);
$stack->start_server;

{
	my $why = '{"error":{"message":"Incorrect API key provided.",'
	    . '"code":"invalid_api_key"}}';
	my ($port, $pid) = serve("HTTP/1.1 401 Unauthorized\r\nContent-Length: "
	    . length($why) . "\r\nConnection: close\r\n\r\n$why");
	only('a key of the model that was revoked', 'model',
	    qr/rejects OPENAI_API_KEY: HTTP 401/,
	    OPENAI_BASE_URL => "http://127.0.0.1:$port/v1",
	    OPENAI_API_KEY => 'canary-key');
	only('the same for the fallback model', 'fallback',
	    qr/rejects OPENAI_FALLBACK_API_KEY: HTTP 401/,
	    OPENAI_FALLBACK_BASE_URL => "http://127.0.0.1:$port/v1",
	    OPENAI_FALLBACK_API_KEY => 'canary-key');
	kill 'KILL', $pid;
	waitpid $pid, 0;
}
$stack->model->stop;
named('the model is stopped', 'model', qr/could not reach 127\.0\.0\.1:/);
is $s->send(telegram_id => 2)->{status}, 500, 'a chat fails';
status_says(qr/the circuit breaker of the primary model is open/);
named('the circuit breaker of the model is open', 'breakers',
    qr/worker \d: the circuit breaker of the primary model is open/);
$stack->start_model;
$s->restart_worker($_) for 1, 2;

# -- the database ------------------------------------------------------------

{
	my $role = $s->value('select current_user');
	my $name = $s->value('select current_database()');

	$s->sql("revoke insert on ai_chat_requests from $role");
	named('a role that may not insert', 'database',
	    qr/permission denied for table ai_chat_requests/);
	status_says(qr/no database/);
	$s->sql("grant insert on ai_chat_requests to $role");
	wait_until_well();

	$s->sql("alter database $name set default_transaction_read_only = on");
	only('a database that is read-only', 'database', qr/read-only/);
	admin("alter database $name reset default_transaction_read_only");

	$s->sql('alter table ai_chat_requests set unlogged');
	only('a table that a crash would empty', 'durability',
	    qr/table ai_chat_requests is unlogged/);
	$s->sql('alter table ai_chat_requests set logged');

	$s->sql(q{create function full_disk() returns trigger language plpgsql
	    as $$ begin raise 'could not extend file: No space left on device'
	    using errcode = 'disk_full'; end $$});
	$s->sql('create trigger full_disk before insert on ai_chat_requests
	    for each row execute function full_disk()');
	$s->send(telegram_id => $_) for 10 .. 15;
	status_says(qr/the circuit breaker of saves is open: chats are refused/);
	named('saves fail', 'breakers', qr/circuit breaker of saves is open/);
	$s->sql('drop trigger full_disk on ai_chat_requests');
	$s->restart_worker($_) for 1, 2;

	SKIP: {
		Test::More::skip('cannot mount here', 12) if !$ENV{AIC_MOUNTS};
		my $full = "$RUN/full";
		mount($full, '256k') or die "could not mount $full\n";
		$stack->pg->give($full);
		admin("create tablespace full_disk location '$full'");
		admin('grant create on tablespace full_disk to public');
		admin("alter database $name set temp_tablespaces = full_disk");
		only('the disk of the database is full', 'disk',
		    qr/volume of PostgreSQL is full: .*No space left on device/);
		admin("alter database $name reset temp_tablespaces");
		admin('drop tablespace full_disk');
		system 'umount', $full;

		mount("$RUN/metrics", '8k') or die "could not mount\n";
		spew("$RUN/metrics/full", 'x' x 8192);
		named('the disk of the metrics is full', 'metrics',
		    qr{AI_CHAT_METRICS_DIR, \Q$RUN\E/metrics, is full});
		status_says(qr/exports no metrics: restart it, or see its log/);
		system 'umount', "$RUN/metrics";
		wait_until_well();
	}

	$s->stop_pg;
	named('PostgreSQL is stopped', 'database', qr/could not connect/);
	status_says(qr/no database/);
	$s->start_pg;
}

cmp_ok $faults, '>=', 20, 'twenty faults and more';
{
	my $got;
	eval { wait_for(sub { ($got = check())->{status} == 0 }, 20,
	    'all to be well again') };
	is $got->{status}, 0, 'without the faults check exits with 0'
	    or diag $got->{out};
	is $s->ctl('status')->{status}, 0, '... and so does status';
}

done_testing;
