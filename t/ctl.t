# ai-chatctl: each command, as text and as JSON, and its behaviour when a step
# fails.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Test;
use JSON::PP ();

# "ai-chatctl check" requires fsync and full_page_writes, which are off in the
# PostgreSQL of other tests.
my $s = AIChat::Test->new(workers => 2,
    pg_conf => { fsync => 'on', full_page_writes => 'on' }, env => {
	AI_CHAT_DAILY_LIMIT => 5,
	AI_CHAT_DEADLINE_MS => 5000,
	AI_CHAT_DB_TIMEOUT_MS => 1800,
	AI_CHAT_DB_POOL => 2,
	AI_CHAT_TIMEZONE => 'Europe/Moscow',
	OPENAI_API_KEY => q("quoted"$key\\of`ours),
	OPENAI_MODEL => q(a "quoted" $name \\ of`ours),
});
my $stack = $s->stack;
my $RUN = $stack->run_dir;
my $LIST = "$RUN/upstream.conf";
my $SITE = "$RUN/conf.d/ai-chat.conf";

# Runs a command that has to succeed.
sub done ($title, @args)
{
	my $got = $s->ctl(@args);

	is $got->{status}, 0, $title or diag "$got->{out}$got->{err}";
	is $got->{err}, '', '... without a warning';
	return $got;
}

# Runs a command that has to fail, with this status and this message.
sub fails ($title, $status, $why, @args)
{
	my $got = $s->ctl(@args);

	is $got->{status}, $status, $title or diag "$got->{out}$got->{err}";
	like $got->{err}, $why, '... with the reason';
	return $got;
}

sub numbers { return join ' ', $stack->worker_numbers }
sub pids { return map { $_ => $s->worker_pid($_) } $stack->worker_numbers }

# The list of workers for Nginx, as the harness would write it.
sub list_of (@n)
{
	return join '', map {
		$stack->fill('ai-chat-upstream.conf.in',
		    SOCKET => $stack->socket_of($_))
	} @n;
}

sub as_before ($title, $list, %pids)
{
	is slurp($LIST), $list, "$title: the list is unchanged";
	is_deeply { pids() }, \%pids, '... and so are the workers';
	is $s->send(telegram_id => 99)->{status}, 200, '... which answer chats';
	$s->sql('delete from ai_chat_daily_limits where telegram_id = 99');
}

# Runs a function with a verb of the service manager replaced: the replacement
# does something before the verb.
sub meddle ($verb, $do, $sub)
{
	my $verbs = $s->control->{verbs};
	my $real = $verbs->{$verb};

	local $verbs->{$verb} = sub (@args) {
		$do->(@args);
		return $real->(@args);
	};
	return $sub->();
}

# -- the command line --------------------------------------------------------

{
	my $got = done('--version', '--version');
	is $got->{out}, "ai-chatctl 1.0.0\n", '... shows the version';
	$got = done('--help', '--help');
	like $got->{out}, qr/^  \Q$_\E\b/m, "... names $_"
	    for qw(status scale restart reload migrate check limits
	    reset-limit history stats clear forget prune);

	fails('no command', 2, qr/no command/);
	fails('an unknown command', 2, qr/"fly"/, 'fly');
	fails('an unknown option', 2, qr/--fly/, 'status', '--fly');
	fails('an option of another command', 2,
	    qr/status does not take --limit/, 'status', '--limit', 5);
	fails('too many arguments', 2, qr/too many/, 'limits', 1, 2);
	fails("$_ without its argument", 2, qr/needs/, $_)
	    for qw(scale limits reset-limit history clear forget);
	fails('--model for another command', 2,
	    qr/status does not take --model/, 'status', '--model');
	fails("the telegram_id \"$_\"", 2, qr/telegram_id/, 'limits', '--', $_)
	    for '0', '-1', 'x', '1x', '', ' 1', '9223372036854775808', '1e3';
	fails("$_->[0] $_->[1] of $_->[2]", 2, qr/\Q$_->[0]\E/, $_->[2], 1,
	    @$_[0, 1])
	    for [ '--limit', 0, 'history' ], [ '--limit', 101, 'history' ],
	    [ '--offset', -1, 'history' ], [ '--offset', 'x', 'history' ],
	    [ '--days', 366, 'stats' ];

	fails('an unknown setting', 2, qr/AI_CHATCTL_FLY/, 'status',
	    { env => { AI_CHATCTL_FLY => 1 } });
	fails('a socket without a number', 2, qr/AI_CHATCTL_SOCKET/, 'status',
	    { env => { AI_CHATCTL_SOCKET => '/run/x.sock' } });
	fails('a file of settings that does not exist', 2, qr/no-such/,
	    'status',
	    { env => { AI_CHATCTL_ENV_FILE => "$RUN/no-such" } });
	$got = $s->ctl('scale', 0, '--json');
	is $got->{status}, 2, 'with --json a failure has the same status';
	like $got->{json}{error}, qr/from 1 to/, '... and prints it as JSON';
}

# -- users -------------------------------------------------------------------

{
	$s->send(telegram_id => 7, message => "Раз [[tokens=100 text=Один]]");
	$s->send(telegram_id => 7, message => "Два\n[[tokens=50 text=x%1b%5b2Jy]]");
	$s->send(telegram_id => 8, message => '[[tokens=30]]');

	for my $what ([ 'limits', '/v1/chat/limits/7' ],
	    [ 'stats', '/v1/chat/stats/7' ]) {
		is_deeply done("$what->[0] --json", $what->[0], 7, '--json')
		    ->{json}, $s->get($what->[1])->{json},
		    '... is what the service responds';
	}
	is_deeply done('history --json', 'history', 7, '--limit', 1, '--json')
	    ->{json}, { %{ $s->post('/v1/chat/history',
		{ telegram_id => 7, limit => 1 })->{json} } },
	    '... is what the service responds';

	my $got = done('limits', 'limits', 7);
	like $got->{out}, qr/used 2 of 5/, '... as text';
	like $got->{out}, qr/left 3/, '... with the number of chats left';
	like $got->{out}, qr/\+03:00/, '... and midnight in AI_CHAT_TIMEZONE';
	like done('limits of a new user', 'limits', 12345)->{out},
	    qr/left 5/, '... all of the day is left';

	$got = done('history', 'history', 7);
	like $got->{out}, qr/^> Раз .*^  Один$/ms,
	    '... has question and answer';
	like $got->{out}, qr/^2 of 2$/m, '... and the number of exchanges';
	unlike $got->{out}, qr/[^\n\t\x20-\x{10ffff}]|[\x7f-\x9f]/,
	    '... and no terminal control characters';
	like $got->{out}, qr/x\[2Jy/, '... only these are left out';

	is_deeply done('history --offset --json', 'history', 7, '--limit', 1,
	    '--offset', 1, '--json')->{json},
	    $s->post('/v1/chat/history', { telegram_id => 7, limit => 1,
		offset => 1 })->{json}, '... is what the service responds';
	$got = done('history --offset', 'history', 7, '--offset', 1);
	like $got->{out}, qr/^> Раз .*^2 to 2 of 2$/ms,
	    '... leaves out the newest exchanges';
	unlike $got->{out}, qr/Два/, '... of which there is one';
	like done('an offset after the end', 'history', 7, '--offset', 9)->{out},
	    qr/\A0 of 2\n\z/, '... leaves out all';

	is_deeply done('clear --json', 'clear', 7, '--json')->{json},
	    { success => JSON::PP::true }, '... is what the service responds';
	$s->send(telegram_id => 7, message => 'Три [[tokens=10 id=clear]]');
	is scalar @{ $s->model_last('clear')->{body}{messages} }, 2,
	    '... and the model receives no earlier exchange';
	$s->send(telegram_id => 7, message => 'Четыре [[tokens=10 id=clear]]');
	is scalar @{ $s->model_last('clear')->{body}{messages} }, 4,
	    '... but those from then on';
	like done('clear', 'clear', 7)->{out}, qr/user 7 .*new conversation/,
	    '... as text';
	$s->sql("delete from ai_chat_requests where telegram_id = 7
	    and message ~ 'clear'");

	$got = done('stats', 'stats', '--days', 1);
	like $got->{out}, qr/users 2\b/, '... without a user: of all users';
	$got = done('stats --json', 'stats', '--days=1', '--json');
	is_deeply $got->{json}, { users => 2, total_requests => 3,
	    total_tokens => 180, days => 1, avg_requests_per_day => 3,
	    avg_tokens_per_request => 60 }, '... as one JSON document';

	done('reset-limit', 'reset-limit', 7);
	is $s->get('/v1/chat/limits/7')->{json}{requests_today}, 0,
	    '... sets the count to 0';
	fails('reset-limit of an unknown user', 1, qr/12345/,
	    'reset-limit', 12345);
	$got = $s->ctl('reset-limit', 12345, '--json');
	is_deeply [ $got->{status}, $got->{json}{success} ? 1 : 0 ], [ 1, 0 ],
	    '... as JSON';

	my $away = "$RUN/away.env";
	spew($away, slurp("$RUN/worker.env") . "DATABASE_URL='postgresql:///x"
	    . "?host=/nonexistent&password=canary'\n");
	$got = fails('a database that is down', 1, qr/could not connect/,
	    'limits', 7, { env => { AI_CHATCTL_ENV_FILE => $away } });
	unlike $got->{err}, qr/canary/, '... with no secret in the message';

	# DATABASE_URL as a credential of the units, and not in their file.
	my ($file, $dir) = ("$RUN/credentials.env", "$RUN/credentials");
	spew($file, slurp("$RUN/worker.env") . "DATABASE_URL=\n");
	mkdir $dir;
	spew("$dir/database_url", $s->db_url . "\n");
	is $s->ctl('limits', 7, { env => { AI_CHATCTL_ENV_FILE => $file,
	    AI_CHATCTL_CREDENTIALS => $dir } })->{status}, 0,
	    'the URL of the database as a systemd credential';
	fails('... and without the credential', 2, qr/DATABASE_URL/,
	    'limits', 7,
	    { env => { AI_CHATCTL_ENV_FILE => $file } });
}

# -- forget, prune -----------------------------------------------------------

{
	my $rows = sub ($user) {
		return $s->value("select count(*) from ai_chat_requests
		    where telegram_id = $user");
	};
	$s->send(telegram_id => 20) for 1 .. 3;
	$s->send(telegram_id => 21);

	for ("no\n", '', "yes please\n", "y\n") {
		fails('forget without a yes', 1, qr/user 20 .*nothing was/s,
		    'forget', 20, { input => $_ });
	}
	is $rows->(20), 3, '... deletes nothing';
	my $got = $s->ctl('forget', 20, '--json', { input => "yes\n" });
	is $got->{status}, 0, 'forget with a yes';
	is_deeply $got->{json}, { telegram_id => 20, exchanges => 3,
	    known => JSON::PP::true, counter_kept => JSON::PP::true },
	    '... reports what it deleted';
	is $rows->(20), 0, '... the exchanges of that user';
	is $rows->(21), 1, '... and no others';
	is $s->get('/v1/chat/limits/20')->{json}{requests_today}, 3,
	    '... the count of the day stays';
	like done('forget --yes', 'forget', '--yes', 21)->{out},
	    qr/deleted 1 exchange/, '... asks no question';
	like done('forget of an unknown user', 'forget', '--yes', 22)->{out},
	    qr/deleted 0 /, '... deletes nothing';

	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at) select 23, 'm', 'r', now() - d * interval
	    '1 day', now() - d * interval '1 day' from generate_series(1, 10) d");
	$s->sql("insert into ai_chat_usage_users (telegram_id, tokens, chats,
	    first_day, unit) select 23, 1, 1, current_date - d, 'd'
	    from unnest('{300,301}'::int[]) d");
	$s->sql("insert into ai_chat_audit (action_id, at, key_name, action)
	    values (gen_random_uuid(), now() - interval '4 years', 'x', 'forget')");
	fails('prune without --older-than', 2, qr/--older-than/, 'prune');
	fails("--older-than $_", 2, qr/--older-than/, 'prune', '--older-than', $_)
	    for 0, -1, 'x', 36501;
	is_deeply done('prune', 'prune', '--older-than', 5, '--json')->{json},
	    { days => 5, exchanges => 6, users => 0, sums => 2, actions => 1,
	    complete => JSON::PP::true }, '... reports what it deleted';
	is $rows->(23), 4, '... and keeps the others';
	like done('prune as text', 'prune', '--older-than=2')->{out},
	    qr/deleted 3 exchanges, .* 0 sums of users and 0 recorded/,
	    '... the same';
	$s->sql('delete from ai_chat_requests where telegram_id = 23');
}

# -- status ------------------------------------------------------------------

{
	my $got = done('status', 'status');
	like $got->{out}, qr/^\s*$_\s+@{[ $s->worker_pid($_) ]}\s+running\s/m,
	    "... shows worker $_" for 1, 2;
	is scalar(() = $got->{out} =~ /\n/g), 3,
	    '... one line for each worker, and the names of the columns';
	is join("\n", grep { length > 80 } split /\n/, $got->{out}), '',
	    '... in 80 columns';
	my $workers = done('status --json', 'status', '--json')->{json}{workers};
	is_deeply [ map { "$_->{worker} $_->{pid} $_->{state}" } @$workers ],
	    [ map { "$_ @{[ $s->worker_pid($_) ]} running" } 1, 2 ],
	    '... has the same workers';
	is $workers->[0]{answered} + $workers->[1]{answered}, 9,
	    '... and the number of chats answered';
	is $workers->[0]{$_->[0]}, $_->[1], "... $_->[0]"
	    for [ slots => 64 ], [ slots_used => 0 ], [ database => 'up' ],
	    [ breaker => 'closed' ], [ version => '1.0.0' ],
	    [ failed => 0 ];

	my @socks = $s->start_chats({ telegram_id => 9,
	    message => '[[delay=3000 id=slot]]' });
	wait_for(sub { $s->model_count('slot') }, 10, 'a chat');
	ok wait_for(sub {
		my $w = $s->ctl('status', '--json')->{json}{workers};
		return $w->[0]{slots_used} + $w->[1]{slots_used} == 1;
	}, 5, 'its slot'), 'a chat in flight takes a slot';
	finish_chats(@socks);

	$s->expect_log(qr/upstream prematurely closed/,
	    qr/connect\(\) to unix:\S+ failed/);
	$s->kill_worker(2);
	$got = $s->ctl('status');
	is $got->{status}, 1, 'status exits with 1 when a worker is down';
	like $got->{out}, qr/^\s*2\s+-\s+down\b/m, '... and shows the worker';
	is $s->ctl('status', '--json')->{json}{workers}[1]{state}, 'down',
	    '... as JSON, too';
	$got = $s->ctl('check');
	is $got->{status}, 1, 'check exits with 1, too';
	like $got->{out}, qr/^wrong .*worker 2: not ready \(down\)/m,
	    '... and names the worker';
	$s->start_worker(2);
	done('when the worker is started again, status exits with 0', 'status');
}

# -- check -------------------------------------------------------------------

{
	my $got = done('check', 'check');
	unlike $got->{out}, qr/^(?!ok )/m, '... finds nothing wrong';
	my $json = done('check --json', 'check', '--json')->{json};
	is_deeply [ map { $_->{check} } @{ $json->{checks} } ],
	    [ qw(settings database connections schema durability search_path
	    disk model nginx site timeouts body port listener metrics workers
	    breakers) ], '... lists all checks';
	ok $json->{ok}, '... and the overall result';

	# The check with one thing wrong.
	my $wrong = sub ($title, $check, $why, %env) {
		my $file = "$RUN/wrong.env";
		spew($file, slurp("$RUN/worker.env") . join '',
		    map { "$_=$env{$_}\n" } sort keys %env);
		my $got = $s->ctl('check', '--json',
		    { env => { AI_CHATCTL_ENV_FILE => $file } });
		is $got->{status}, 1, $title;
		my @wrong = grep { !$_->{ok} } @{ $got->{json}{checks} };
		is join(' ', map { $_->{check} } @wrong), $check,
		    '... is the check that fails' or diag $got->{out};
		like $wrong[0]{says}, $why, '... with the reason';
		unlike $got->{out}, qr/canary/,
		    '... with no secret in the output';
	};
	$wrong->('an invalid setting', 'settings', qr/AI_CHAT_THREADS/,
	    AI_CHAT_THREADS => 'canary-no-secret' =~ s/canary-//r);
	$wrong->('a missing database', 'database', qr/connect/, DATABASE_URL =>
	    q("postgresql://u:canary@127.0.0.1:1/x?connect_timeout=2"));
	$wrong->('a deadline over the timeout of Nginx', 'timeouts',
	    qr/not less than both .*15000 ms.*ai-chatctl nginx/, AI_CHAT_DEADLINE_MS => 15000);
	$wrong->('a URL without options=, and the search_path of the role',
	    'search_path',
	    qr/"\$user", public: a role/, DATABASE_URL =>
	    '"' . $s->db_url . '&options="');
	$wrong->('too many connections', 'connections',
	    qr/2 x AI_CHAT_DB_POOL \(150\) is 300/, AI_CHAT_DB_POOL => 150);

	$wrong->('a line that systemd ignores', 'settings',
	    qr/^AI_CHAT_DB_SCHEMA has no effect.*"export".* line \d+ of .*wrong\.env/,
	    'export AI_CHAT_DB_SCHEMA' => 'canary');
	$got = $s->ctl('limits', 7,
	    { env => { AI_CHATCTL_ENV_FILE => "$RUN/wrong.env" } });
	is $got->{status}, 0, '... other commands run';
	like $got->{err}, qr/^ai-chatctl: AI_CHAT_DB_SCHEMA has no effect/,
	    '... with a warning';

	my $site = slurp($SITE);
	my $with = sub ($title, $check, $why, $from, $to) {
		spew($SITE, $site =~ s/$from/$to/r);
		$wrong->($title, $check, $why);
		spew($SITE, $site);
	};
	$with->('another maximum size of a body', 'body', qr/1048576/,
	    'location / \{', 'location / { client_max_body_size 1m;');
	$with->('a location with a shorter timeout',
	    'timeouts', qr/\(4000 ms\)/,
	    'location / \{', 'location / { fastcgi_read_timeout 4s;');
	$with->('an invalid configuration of Nginx',
	    'nginx', qr/\[emerg\].*nonsense/,
	    'fastcgi_keep_conn off', 'nonsense on');
	$with->('a site without our locations', 'site', qr/no location .* passes/,
	    'fastcgi_pass ai_chat;(?s:.*)fastcgi_pass ai_chat;', '');
	$with->('a list of workers that Nginx does not read',
	    'site', qr/does not read/,
	    "include \Q$LIST\E", "server unix:/nowhere");

	my $name = $s->value('select current_database()');
	$s->sql("alter database $name connection limit 50");
	$wrong->('a connection limit of this database alone', 'connections',
	    qr/is 60, of 50/, AI_CHAT_DB_POOL => 30);
	$s->sql("alter database $name connection limit -1");

	$s->sql("update ai_chat_migrations set version = version + 1000
	    where version = 2");
	$got = $s->ctl('check');
	like $got->{out}, qr/^wrong .*schema.*ai-chatctl migrate/m,
	    'a migration that has not been applied';
	$s->sql("update ai_chat_migrations set version = version - 1000
	    where version = 1002");
}

# -- migrate, reload ---------------------------------------------------------

{
	like done('migrate', 'migrate')->{out}, qr/up to date/,
	    '... reports that nothing is to be done';
	is_deeply done('migrate --json', 'migrate', '--json')->{json},
	    { applied => [] }, '... as JSON';
	my $got = fails('a migration that was changed', 1, qr/changed/, 'migrate',
	    { env => { AI_CHATCTL_SQL_DIR => changed_sql() } });

	done('reload', 'reload');
	my $site = slurp($SITE);
	spew($SITE, "nonsense;\n$site");
	fails('reload of an invalid configuration', 1, qr/nonsense/, 'reload');
	spew($SITE, $site);
	is $s->send(telegram_id => 9)->{status}, 200,
	    '... leaves Nginx as it was';
}

sub changed_sql
{
	my $dir = "$RUN/sql";

	mkdir $dir;
	for my $file (glob AIChat::Stack::top() . '/sql/*.sql') {
		my ($name) = $file =~ m{([^/]+)$};
		spew("$dir/$name", slurp($file) . "-- changed\n");
	}
	return $dir;
}

# -- scale, restart ----------------------------------------------------------

{
	my $got = done('scale 3', 'scale', 3);
	is numbers(), '1 2 3', '... there are three workers';
	is slurp($LIST), list_of(1 .. 3), '... all in the list';
	like $got->{out}, qr/^\s*3\s+@{[ $s->worker_pid(3) ]}\s+running\s/m,
	    '... and in the output';
	my %pids = pids();
	done('scale 3 once more', 'scale', 3);
	is_deeply { pids() }, \%pids, '... changes nothing';

	$got = done('restart', 'restart', '--json');
	my %new = pids();
	is scalar(grep { $new{$_} == $pids{$_} } 1 .. 3), 0,
	    '... all three are new processes';
	is scalar @{ $got->{json}{workers} }, 3, '... and in the output';

	done('scale 1', 'scale', 1, '--json');
	is numbers(), '1', '... one worker is left';
	is slurp($LIST), list_of(1), '... in the list';
	is $s->worker_pid(1), $new{1}, '... the same process as before';
	is $s->ctl('status', '--json')->{json}{workers}[1], undef,
	    '... and status shows no stopped workers';

	done('restart of the only worker', 'restart');
	is numbers(), '1', '... leaves one worker';
	isnt $s->worker_pid(1), $new{1}, '... a new process';
	is slurp($LIST), list_of(1), '... in the list';
	done('scale 2', 'scale', 2);
}

{
	my $list = slurp($LIST);
	my %pids = pids();

	fails("scale $_", 2, qr/from 1 to 256/, 'scale', '--', $_)
	    for 0, 257, -1, 'two', '';
	fails('more workers than the database has connections for', 1,
	    qr/too many connections/, 'scale', 200);
	as_before('refused', $list, %pids);

	# A list that an operator has changed by hand.
	spew($LIST, "$list# by hand\nserver 10.0.0.1:9000 weight=2;\n");
	fails('a line in the list that ai-chatctl did not write', 2,
	    qr/line 4 of .*: server 10/, 'scale', 3);
	fails('... which status reports', 1, qr/line 4 of .*: server 10/,
	    'status');
	like $s->ctl('check')->{out}, qr/^wrong +workers: line 4 of .*: server 10/m,
	    '... and so does check';
	spew($LIST, $list);
	as_before('a list with a foreign line', $list, %pids);

	# An invalid setting: nothing is changed.
	my $file = "$RUN/wrong.env";
	spew($file, slurp("$RUN/worker.env") . "AI_CHAT_THREADS=0\n");
	fails("$_->[0] with an invalid setting", 2, qr/AI_CHAT_THREADS/, @$_,
	    { env => { AI_CHATCTL_ENV_FILE => $file } })
	    for [ 'scale', 4 ], ['restart'];
	as_before('an invalid setting', $list, %pids);

	# An invalid setting that only the start of a worker reports.
	$s->expect_log(qr/could not make AI_CHAT_METRICS_DIR|AI_CHAT_THREADS/);
	my $got = meddle('start', sub ($n) {
		$stack->settings->{AI_CHAT_THREADS} = 0 if $n == 4;
	}, sub { fails('a worker that does not start', 1,
	    qr/start worker 4.*AI_CHAT_THREADS/s, 'scale', 4) });
	delete $stack->settings->{AI_CHAT_THREADS};
	like $got->{err}, qr/the change was undone/,
	    '... the message says that all was undone';
	as_before('a worker that does not start', $list, %pids);

	# Nginx refuses the list, or its reload fails.
	my $n = 0;
	$got = meddle('test-nginx', sub { die "nginx: [emerg] no such luck\n" },
	    sub { fails('a list that Nginx refuses', 1,
		qr/\[emerg\] no such luck/, 'scale', 3, '--json') });
	like $got->{json}{error}, qr/no such luck/, '... in the JSON, too';
	as_before('refused by Nginx', $list, %pids);
	meddle('reload-nginx', sub { die "not now\n" if !$n++ },
	    sub { fails('a reload that fails', 1, qr/not now/, 'scale', 3) });
	is $n, 2, '... Nginx is reloaded again, with the old list';
	as_before('a reload that fails', $list, %pids);
	fails('a list that cannot be written', 2, qr/could not write/, 'scale',
	    3, { env => { AI_CHATCTL_UPSTREAM => '/proc/no-such/list' } });
	as_before('a list that cannot be written', $list, %pids);

	# A worker that does not become ready, because it cannot export metrics.
	$s->expect_log(qr/level=error event=start/);
	meddle('start', sub ($n) { $s->stack->settings->{AI_CHAT_METRICS_DIR}
		= '/proc/no-such' }, sub {
		fails('a worker that does not come back', 1, qr/worker 1/,
		    'restart') });
	delete $stack->settings->{AI_CHAT_METRICS_DIR};
	is numbers(), '2', '... the other worker goes on';
	is $s->worker_pid(2), $pids{2}, '... as the same process';
	is $s->send(telegram_id => 99)->{status}, 200, '... and answers chats';
	done('scale 2', 'scale', 2);
	is numbers(), '1 2', 'scale 2 starts the missing worker';
}

# Two at once: the second is refused, and the first is not disturbed.
{
	my $second;
	my $got = meddle('start', sub ($n) {
		my $run = $s->start_ctl('scale', 4);
		wait_for(sub { waitpid($run->{pid}, POSIX::WNOHANG()) > 0 }, 10,
		    'the second to end');
		$second = $? >> 8;
		$second .= slurp("$run->{said}.err");
	}, sub { done('the first of two', 'scale', 3) });
	like $second, qr/^1.*another ai-chatctl is running/s,
	    '... the second is refused';
	is numbers(), '1 2 3', '... the first succeeds';
}

# SIGINT before the list is changed: the step is undone.
{
	my $list = slurp($LIST);
	my %pids = pids();
	my $run;
	meddle('start', sub ($n) { kill 'INT', $run->{pid} }, sub {
		$run = $s->start_ctl('scale', 4);
		my ($got) = $s->finish_ctl($run);
		is $got->{status}, 1,
		    'SIGINT in the middle of a step: status 1';
		like $got->{err}, qr/interrupted/,
		    '... the message says that it was interrupted';
	});
	as_before('SIGINT', $list, %pids);
}

# Standard output is a closed pipe: the work is done, and the status is 1.
{
	my $got = $s->ctl('scale', 2, { deaf => 1 });
	is $got->{status}, 1, 'output that cannot be written: status 1';
	is slurp($LIST), list_of(1, 2), '... but the list is complete';
	is numbers(), '1 2', '... and so are the workers';
}

is glob("$RUN/*.new"), undef, 'no temporary file of the list is left';

# -- systemd -----------------------------------------------------------------

# The same through stand-ins for systemctl and nginx, which log their arguments.
{
	my $dir = "$RUN/bin";
	my $hook = AIChat::Stack::top() . '/t/tools/hook';
	mkdir $dir;
	spew("$dir/nginx", <<"END", 0755);
#!/bin/sh
exec $hook test-nginx
END
	spew("$dir/systemctl", <<"END", 0755);
#!/usr/bin/perl
use v5.36;
open my \$log, '>>', '$RUN/systemctl.log';
say \$log "\@ARGV";
my \@a = grep { !/^--(?:no-ask-password|quiet)\$/ } \@ARGV;
my (\$n) = (\$a[-1] =~ /^ai-chat-worker\\@(\\d+)\$/);
exec '$hook', \$a[0], \$n if \$a[0] =~ /^(?:start|stop)\$/ && \$n;
exec '$hook', 'reload-nginx' if "\@a" eq 'reload nginx';
exit 0 if \$a[0] =~ /^(?:en|dis)able\$/ && \$n;
if (\$a[0] eq 'show' && \$a[1] eq '--property=Id,MainPID,LoadState,ActiveState,NRestarts') {
	for (qx($hook list)) {
		my (\$name, \$pid) = split;
		\$name = \$name eq 'nginx' ? \$name : "ai-chat-worker\\@\$name";
		print "MainPID=\$pid\\nNRestarts=7\\nId=\$name.service\\n"
		    . "LoadState=loaded\\nActiveState=active\\n\\n";
	}
	print "MainPID=0\\nId=ai-chat-worker\\@9.service\\nActiveState=inactive\\n";
	exit 0;
}
if (\$a[0] eq 'show' && \$a[1] eq '--property=TimeoutStopUSec') {
	say 'TimeoutStopUSec=' . (\$ENV{STOP} // '1min 10s');
	exit 0;
}
say STDERR "Unknown command \@a";
exit 1;
END
	my %env = (AI_CHATCTL_HOOK => undef,
	    PATH => "$dir:" . { AIChat::Proc::base_env() }->{PATH});
	my $got = $s->ctl('status', { env => \%env });
	is $got->{status}, 0, 'status by systemd' or diag $got->{err};
	like $got->{out}, qr/^\s*2\s+@{[ $s->worker_pid(2) ]}\s+running\s.*\s7$/m,
	    '... shows the workers';
	unlike $got->{out}, qr/^\s*9\s/m, '... and not a stopped one';
	$got = $s->ctl('check', { env => \%env });
	is $got->{status}, 0, 'check by systemd' or diag $got->{out};
	like $got->{out}, qr/^ok +stop: TimeoutStopSec \(70000 ms\)/m,
	    '... reads how long a worker may drain';
	$got = $s->ctl('check', { env => { %env, STOP => '10s' } });
	like $got->{out}, qr/^wrong +stop: TimeoutStopSec \(10000 ms\) is not/m,
	    '... and reports a time that is too short';

	unlink "$RUN/systemctl.log";
	is $s->ctl('scale', 4, { env => \%env })->{status}, 0, 'scale by systemd';
	is numbers(), '1 2 3 4', '... starts the missing workers';
	is $s->ctl('scale', 2, { env => \%env })->{status}, 0,
	    'scale down by systemd';
	is numbers(), '1 2', '... stops two workers';
	my $log = slurp("$RUN/systemctl.log");
	like $log, qr/start\ ai-chat-worker\@4.*reload\ nginx
	    .*enable\ ai-chat-worker\@4.*reload\ nginx
	    .*disable\ ai-chat-worker\@3.*stop\ ai-chat-worker\@3
	    .*disable\ ai-chat-worker\@4.*stop\ ai-chat-worker\@4/sx,
	    '... in the order that loses no request, also for the next boot';
	unlike $log, qr/canary|test-key|postgresql:/,
	    '... with no secret in arguments';

	$got = $s->ctl('scale', 3, { env => { %env, PATH => "$RUN/nowhere" } });
	is $got->{status}, 2, 'without systemd and without a hook: status 2';
	like $got->{err}, qr/systemctl/,
	    '... the message names the missing program';
	$got = $s->ctl('status', { env => { %env, PATH => "$RUN/nowhere" } });
	like $got->{out}, qr/^\s*1\s+-\s+running\b/m,
	    '... but status shows what the workers export';
}

done_testing;
