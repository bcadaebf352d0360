# The entry point of the container image, container/ai-chat-container, run here
# without containers: each "container" is a process group with a directory of
# its own, and all share the directory with the sockets, as they share a volume.
# t/container_image.t builds and runs the image itself.

use v5.36;
use utf8;
use AIChat::Proc qw(base_env run slurp spew);
use AIChat::Stack;
use AIChat::Test;
use File::Path qw(make_path);

# ./dev check installs it; `make check` on another machine may be without it.
plan skip_all => 'cgi-fcgi is not installed' if !-x '/usr/bin/cgi-fcgi';

my $TOP = AIChat::Stack::top();
my $ENTRY = "$TOP/container/ai-chat-container";
my $s = AIChat::Test->new(workers => 0, nginx => 0, migrate => 0,
    env => { AI_CHAT_DAILY_LIMIT => 0 });
my $build = AIChat::Stack::find_build();
my $run = $s->dir . '/volume';
my $bin = $s->dir . '/bin';

make_path($run, $bin);
symlink "$build/$_", "$bin/$_" for qw(ai-chat-worker ai-chatctl);
# The image has the migrations where the program looks for them.
spew("$bin/ai-chat-migrate", "#!/bin/sh\nexec $build/ai-chat-migrate "
    . "--dir $TOP/sql \"\$@\"\n", 0755);
mkdir $s->dir . '/share';
symlink "$TOP/nginx", $s->dir . '/share/nginx';

# -- containers ----------------------------------------------------------------

my %containers;

sub environment ($name, %settings)
{
	my %base = base_env();

	make_path($s->dir . "/$name");
	return { %base, PATH => "$bin:$base{PATH}", RUN_DIR => $run,
		TMPDIR => $s->dir . "/$name",
		SHARE_DIR => $s->dir . '/share',
		AI_CHATCTL_EXTRAS => $s->dir . '/extras/*.conf',
		AI_CHAT_METRICS_PORT => $s->metrics_port,
		%{ $s->stack->settings },
		AI_CHAT_ADDRESS => undef, AI_CHAT_PORT => $s->stack->port,
		AI_CHAT_PROMPT_FILE => "$TOP/app/worker/prompt.txt", %settings };
}

sub defined_only ($env)
{
	return { map { defined $env->{$_} ? ($_ => $env->{$_}) : () }
	    keys %$env };
}

sub start ($name, $role, %settings)
{
	return $containers{$name} = AIChat::Proc->start(name => $name,
	    cmd => [ $ENTRY, $role ], death => 'TERM',
	    env => defined_only(environment($name, %settings)),
	    log => log_of($name));
}

# Returns the exit status.
sub stop ($name, $seconds = 30)
{
	my $proc = delete $containers{$name};

	$proc->stop('TERM', $seconds) or return 'it had to be killed';
	return $proc->status >> 8 || $proc->status;
}

# AIChat::Test checks the log of a worker by its name.
sub log_of ($name)
{
	return $s->dir . '/log/' . ($name =~ /^(?:nginx|migrate)$/ ? '' : 'worker-')
	    . "$name.log";
}

# Runs the entry point or a command in a running "container".
sub in ($name, @cmd)
{
	return run([ $ENTRY, @cmd ], env => defined_only(environment($name,
	    AI_CHATCTL_HOOK => $ENTRY,
	    AI_CHATCTL_UPSTREAM => "$run/workers.conf",
	    AI_CHATCTL_SOCKET => "$run/%i.sock",
	    AI_CHATCTL_LOCK => $s->dir . "/$name/lock",
	    AI_CHAT_METRICS_DIR => "$run/metrics",
	    AI_CHATCTL_SQL_DIR => "$TOP/sql", AI_CHATCTL_BIN_DIR => $build)));
}

sub healthy ($name) { return eval { in($name, 'health'); 1 } // 0 }

# The numbers of the workers in Nginx's list, once Nginx has applied it.
sub listed
{
	my $text = eval { slurp("$run/applied.conf") } // '';
	return join ' ', $text =~ m{/(\d+)\.sock }g;
}

sub wait_for_list ($want)
{
	my $ok = eval { wait_for(sub { listed() eq $want }, 20,
	    "Nginx to use the workers $want"); 1 };
	is listed(), $want, "Nginx's list is: $want";
	return $ok;
}

sub worker_pids
{
	return map { slurp($_) =~ /(\d+)/ } grep { -s } glob "$run/*.worker";
}

sub losses ($load)
{
	my @lost = grep { $_->{status} != 200 } $load->stop;
	return join ' ', map { $_->{status} } @lost;
}

# -- the files for compose and podman --------------------------------------------

{
	my %secret = map { $_ => 1 } slurp("$TOP/systemd/ai-chat-worker\@.service")
	    =~ /^LoadCredential=(\w+):/mg;
	my @units = glob "$TOP/container/quadlet/*.container";
	my @files = ("$TOP/compose.yaml", "$TOP/compose.demo.yaml", @units);
	my $text = join '', map { slurp($_) } @files;
	my @names = grep { $_ ne 'database_password' }
	    ($text =~ /target=(\w+)/g, $text =~ m{file: ./secrets/(\w+)}g);

	cmp_ok scalar @names, '>', 6, 'the files have secrets';
	is join(' ', grep { !$secret{$_} } @names), '',
	    '... with the names of credentials';
	# The other roles have nothing to drain.
	my ($compose, $demo) = map { slurp($_) } @files[0, 1];
	is_deeply [ map { /stop_grace_period: (\d+)s/g } $compose, $demo ],
	    [ 80, 80 ], 'compose waits 80 s for a drain';
	is_deeply [ map { slurp($_) =~ /^Exec=(?:worker|nginx)$/m
	    ? slurp($_) =~ /stop-timeout=(\d+)/ : () } @units ], [ 80, 80 ],
	    '... and so do the units of podman';
	my ($deadline) = slurp("$TOP/lib/conf.c")
	    =~ /"AI_CHAT_DEADLINE_MS".*?"(\d+)"/s;
	my ($apply) = slurp($ENTRY) =~ /^APPLY_S=(\d+)$/m;
	cmp_ok $deadline / 1000 + $apply, '<=', 75,
	    '... which is enough for the deadline';
}

# -- separate containers ---------------------------------------------------------

is eval { in('none', 'health') } // 'failed', 'failed',
    'without a worker and Nginx, health fails';

$containers{migrate} = start('migrate', 'migrate');
wait_for(sub { !$containers{migrate}->alive }, 30, 'the migration');
is delete($containers{migrate})->status, 0, 'migrate ends with 0';
cmp_ok $s->value('select count(*) from ai_chat_migrations'), '>=', 3,
    '... and has migrated the database';

start('nginx', 'nginx');
wait_for(sub { -e "$run/applied.conf" }, 20, 'Nginx');
wait_for(sub { $s->get('/health')->{status} == 502 }, 10, 'its answers');
like $s->get('/health')->{content}, qr/^\{"detail":/,
    'without workers Nginx answers in the form of the service';
ok !healthy('nginx'), '... and is not healthy';

start($_, 'worker') for qw(a b);
wait_for_list('1 2');
is $s->send(telegram_id => 1)->{status}, 200, 'a chat is answered';
ok healthy($_), "$_ is healthy" for qw(a b nginx);
is sprintf('%04o', 07777 & (stat "$run/1.sock")[2]), '0660',
    'a socket is not open to others';

like in('nginx', 'ai-chatctl', 'status'),
    qr/^ +1 +\d+ +running .*^ +2 +\d+ +running /ms,
    'ai-chatctl status shows the workers of all containers';
my $check = eval { in('a', 'ai-chatctl', 'check') } // $@;
like $check, qr/^ok     $_/m, "check in the container of a worker: $_"
    for 'nginx: the configuration is valid', 'site: Nginx reads', 'timeouts:',
    'body:', 'workers: 2 in Nginx';
unlike $check, qr/ listener: /,
    '... and not the listeners, which are in another container';
like eval { in('a', 'ai-chatctl', 'reload') } // $@, qr/another container/,
    'reload says that Nginx is elsewhere';
ok eval { in('nginx', 'ai-chatctl', 'reload') },
    '... where it reloads Nginx' or diag $@;
like eval { in('a', 'ai-chatctl', 'scale', 3) } // $@,
    qr/fixed number of workers/, 'scale says how to add workers';

# -- an invalid configuration ------------------------------------------------------

{
	my $extra = $s->dir . '/extras/broken.conf';
	make_path($s->dir . '/extras');
	spew($extra, "broken;\n");
	start('c', 'worker');
	wait_for(sub { slurp(log_of('nginx')) =~ /continues with the old list/ },
	    20, 'the refusal');
	is listed(), '1 2', 'an invalid configuration of Nginx is not applied';
	is $s->send(telegram_id => 5)->{status}, 200, '... chats are answered';
	unlink $extra;
	wait_for_list('1 2 3');
	is stop('c'), 0, '... and a valid one is applied later';
	$s->expect_log(qr/unknown directive "broken"/);
}

# -- a rolling restart -------------------------------------------------------------

my $load = $s->start_load(callers => 4, users => [ 100 .. 100 + 39 ],
    message => '[[delay=100]]', sizes => []);
wait_for(sub { $load->count(200) > 10 }, 20, 'chats');
for my $name (qw(a b)) {
	is stop($name), 0, "$name ends with 0";
	my $before = $load->count(200);
	wait_for(sub { $load->count(200) > $before + 10 }, 20, 'chats');
	start($name, 'worker');
	wait_for_list('1 2');
}
is losses($load), '', 'a rolling restart loses no request';

# -- many at once --------------------------------------------------------------------

for (qw(c d)) {
	start($_, 'worker');
	wait_for_list($_ eq 'c' ? '1 2 3' : '1 2 3 4');
}
$load = $s->start_load(callers => 4, users => [ 200 .. 200 + 39 ],
    message => '[[delay=100]]', sizes => []);
wait_for(sub { $load->count(200) > 10 }, 20, 'chats');
$containers{$_}->signal('TERM') for qw(a b c);
is stop($_), 0, "$_ ends with 0" for qw(a b c);
is listed(), '4', '... after Nginx has ceased to use it';
is losses($load), '', 'to stop three workers of four at once loses no request';

# -- crashes ---------------------------------------------------------------------------

start($_, 'worker') for qw(a b);
wait_for_list('1 2 4');
my ($of_b) = slurp($s->dir . '/b/ai-chat/number') =~ /(\d+)/;
kill 'KILL', -$containers{b}->pid;
(delete $containers{b})->stop;
wait_for_list(join ' ', grep { $_ != $of_b } 1, 2, 4);
start('b', 'worker');
wait_for_list('1 2 4');
is slurp($s->dir . '/b/ai-chat/number'), "$of_b\n",
    'the number of a container that was killed is used again';

my ($pid) = slurp("$run/4.worker") =~ /(\d+)/;
kill 'KILL', $pid;
wait_for(sub { !$containers{d}->alive }, 10, 'the container to end');
isnt delete($containers{d})->status, 0,
    'the container of a worker that crashed ends with a failure';
wait_for_list('1 2');

my $lists = () = slurp(log_of('nginx')) =~ /Nginx uses/g;
start('bad', 'worker', AI_CHAT_THREADS => 'many');
wait_for(sub { !$containers{bad}->alive }, 10, 'it to end');
is delete($containers{bad})->status >> 8, 2,
    'a worker with an invalid setting ends with 2';
like slurp(log_of('bad')), qr/AI_CHAT_THREADS must be/, '... and names it';
is scalar(() = slurp(log_of('nginx')) =~ /Nginx uses/g), $lists,
    '... and Nginx never used it';

is stop($_), 0, "$_ ends with 0" for qw(nginx);
like eval { in('a', 'ai-chatctl', 'check') } // $@,
    qr/^wrong  nginx: .*no container runs Nginx/m,
    'check names a container of Nginx that does not run';
is stop($_), 0, "$_ ends with 0" for qw(a b);

# -- a process that ends while a trap runs -----------------------------------

# The trap takes longer than the end of the process, so both interrupt "wait".
{
	my $functions = join "\n", slurp($ENTRY)
	    =~ /^((?:exists|await_once|await)\(\) \{\n.*?^\}\n)/gms;
	my $got = eval { run([ 'sh', '-uc', $functions . <<'SH' ]); 0 } // $@;
sh -c 'trap "exit 0" TERM; kill -TERM $PPID; while :; do sleep 0.01; done' &
child=$!
trap 'kill -TERM $child; while lives; do :; done' TERM
lives() { exists "$child" && ! grep -qs "^State:.Z" "/proc/$child/status"; }
await "$child"
exit $status
SH
	is $got, 0, 'the status of a process that ends beside a trap is its own';
}

# -- TLS -----------------------------------------------------------------------------

start('nginx', 'nginx', AI_CHAT_TLS_CERTIFICATE => '/nonexistent');
wait_for(sub { !$containers{nginx}->alive }, 10, 'it to end');
is delete($containers{nginx})->status >> 8, 2,
    'a certificate without a key is refused';
like slurp(log_of('nginx')), qr/AI_CHAT_TLS_KEY/, '... by name';
{
	my @tls = (AI_CHAT_TLS_CERTIFICATE => $s->dir . '/tls.crt',
	    AI_CHAT_TLS_KEY => $s->dir . '/tls.key');
	run([ qw(openssl req -x509 -newkey ec -pkeyopt
	    ec_paramgen_curve:prime256v1 -nodes -subj /CN=chat.example
	    -keyout), $tls[3], '-out', $tls[1] ]);
	start('a', 'worker', @tls);
	start('nginx', 'nginx', @tls);
	wait_for_list('1');
	# Nginx starts after its list of workers is written.
	ok eval { wait_for(sub { eval { run([ $ENTRY, 'health' ],
	    env => defined_only(environment('nginx', @tls))); 1 } }, 20,
	    'Nginx'); 1 }, 'with a certificate Nginx speaks TLS' or diag $@;
	is stop($_), 0, "$_ ends with 0" for qw(nginx a);
}

# -- all in one ----------------------------------------------------------------------

start('all', 'all', WORKERS => 2, DATABASE_URL => undef,
    CREDENTIALS_DIRECTORY => do {
	my $dir = $s->dir . '/secrets';
	make_path($dir);
	spew("$dir/database_url", $s->stack->settings->{DATABASE_URL} . "\n");
	$dir;
    });
wait_for_list('1 2');
is $s->send(telegram_id => 2)->{status}, 200,
    'all in one container, with a secret as a file: a chat is answered';
ok healthy('all'), '... and the container is healthy';
($pid) = worker_pids();
kill 'KILL', $pid;
wait_for(sub { !grep { $_ == $pid } worker_pids() }, 10, 'the crash');
wait_for(sub { 2 == worker_pids() }, 10, 'another worker');
ok 1, '... and a worker that crashed is replaced';
wait_for_list('1 2');
my @slow = $s->start_chats({ telegram_id => 3,
    message => '[[delay=1500]]' });
wait_for(sub { $s->model_counts->{pending} == 1 }, 10, 'a chat in flight');
is stop('all'), 0, 'a stop ends with 0';
is((finish_chats(@slow))[0]{status}, 200, '... and answers the chat in flight');
is join(' ', glob "$run/*.sock"), '', '... and leaves no socket';

start('all', 'all', WORKERS => 'two');
wait_for(sub { !$containers{all}->alive }, 10, 'it to end');
is delete($containers{all})->status >> 8, 1, 'an invalid WORKERS is refused';
like slurp(log_of('all')), qr/WORKERS must be a number from 1 to 256/,
    '... by name';

like slurp(log_of($_)), qr/event=request .*status=200/,
    "the log of $_ is that of its workers" for qw(a all);
# Without a worker; and while a worker that was killed is still in the list.
$s->expect_log(qr/connect\(\) to unix:\S+ failed/);
$s->expect_log(qr/AI_CHAT_THREADS must be/);
done_testing;

END { $_->stop for values %containers }
