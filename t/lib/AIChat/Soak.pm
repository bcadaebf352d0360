package AIChat::Soak;

# Callers that repeat failed requests, a random mix of faults between and in all
# parts, and a checker that compares the promises with the final state:
#
#     what is stored = what is counted = what the callers got, or
#     would get if they asked again; and never more than the limit.
#
# Every message is unique and the model echoes it, so each stored answer belongs
# to one message of one caller.

use v5.36;
use utf8;
use AIChat::Proc qw(wait_for slurp spew);
use AIChat::Test ();
use IO::Select;
use JSON::PP ();
use List::Util qw(sum0 uniq);
use POSIX ();
use Time::HiRes qw(sleep time);

# Few users at a time, so that callers collide at each of them and days are
# often used up; and new users again and again.
use constant { WORKERS => 3, CALLERS => 8, LIMIT => 8, USERS => 10,
    USERS_FOR_S => 4 };

# A repeat follows soon, and as often as a patient caller would repeat.
use constant { REPEATS => 25, ANSWER_S => 8 };

my $JSON = JSON::PP->new->utf8->canonical;

# -- all of it ---------------------------------------------------------------

#   seconds  of faults; a calm phase follows
#   seed     of the random choices, to repeat the same mix
#   say      called with each fault
#   stack    an AIChat::Test with settings(); without one, it starts its own
#   story    instead of random faults: events in order.  The callers stop when
#            it is over, and seconds is the most that it may take
# Returns the result of check(), and what was done.
sub run ($class, %o)
{
	my $self = bless { %o, since => time, faults => {}, undo => [] }, $class;

	srand $o{seed};
	$self->{s} //= $self->{stack} // start_stack();
	$self->{until} = time + $o{seconds};
	$self->{over} = $self->{s}->dir . '/over';
	my @callers = map { $self->start_caller($_) } 1 .. CALLERS;
	if ($o{story}) {
		$o{story}->($self);
	} else {
		$self->random_faults;
	}
	spew($self->{over}, '');
	waitpid $_->{pid}, 0 for @callers;
	$self->read_notes(map { $_->{file} } @callers);
	$self->wait_for_leases;
	$self->ask_once_more;
	$self->wait_for_leases;
	return $self->check;
}

sub settings
{
	return (
		AI_CHAT_DAILY_LIMIT => LIMIT,
		AI_CHAT_USER_CONCURRENCY => 3,
		AI_CHAT_TIMEZONE => zone_at_noon(),
		AI_CHAT_DEADLINE_MS => 3000,
		AI_CHAT_DB_TIMEOUT_MS => 500,
		AI_CHAT_DB_POOL => 2,
		AI_CHAT_THREADS => 32,
	);
}

sub start_stack
{
	my @lines = qw(database model server redis workers);
	my $s = AIChat::Test->new(workers => WORKERS, redis => 1,
	    # The WAL writer must not write WAL that no commit has waited for.
	    pg_conf => { wal_writer_delay => '10s' },
	    # The faults of a connection are random.
	    server => 1, proxy => \@lines,
	    # One that was started again at the end may have no request yet.
	    idle => [ 'server', map { "proxy $_" } @lines ],
	    env => { settings() });
	# Faults are what this is for.
	$s->expect_log(qr/./);
	return $s;
}

# A time zone in which it is about noon, so that the day does not change during
# the test.
sub zone_at_noon
{
	my $ahead = 12 - (gmtime)[2];

	return $ahead == 0 ? 'UTC' : sprintf 'Etc/GMT%+d', -$ahead;
}

sub random_faults ($self)
{
	while (time < $self->{until}) {
		$self->one_fault;
		$self->pass(0.1 + rand 0.9);
	}
	$self->calm;
}

sub is_over ($self)
{
	return time >= $self->{until} || -e $self->{over}
	    # A caller must not outlive the test.
	    || ($self->{parent} && getppid != $self->{parent});
}

# -- callers -----------------------------------------------------------------

sub start_caller ($self, $number)
{
	my $file = $self->{s}->dir . "/caller-$number";
	my $pid = fork // die "could not fork: $!\n";

	# The harness records only the requests of this process.
	$self->{s}{used}{nginx} = 1;
	return { pid => $pid, file => $file } if $pid;
	$self->{parent} = getppid;
	srand $self->{seed} * 100 + $number;
	open my $notes, '>', $file or POSIX::_exit(1);
	my $ok = eval {
		local $SIG{PIPE} = 'IGNORE';
		$notes->autoflush;
		for (my $n = 1; !$self->is_over; $n++) {
			print $notes $JSON->encode($self->one_chat("$number-$n")),
			    "\n";
		}
		1;
	};
	print $notes $JSON->encode({ died => "$@" }), "\n" if !$ok;
	close $notes;
	POSIX::_exit(0);
}

# How many requests were answered so far.
sub answered ($self)
{
	return sum0(map { scalar(() = slurp($_) =~ /"status":200/g) }
	    glob $self->{s}->dir . '/caller-*');
}

# The mark for the model; most of the time it answers normally.
sub mark ($name)
{
	my $dice = rand;
	my $what = $dice < 0.05 ? 'status=500'
	    : $dice < 0.09 ? 'body=null'
	    : $dice < 0.12 ? 'close=middle'
	    : $dice < 0.13 ? 'hang=1'
	    : $dice < 0.15 ? "status=503 times=1 id=s$name echo=1"
	    : $dice < 0.17 ? 'status=429 retry_after=1'
	    : 'echo=1';
	return "[[$what delay=@{[ int rand 150 ]}]]";
}

# One question, until it has an answer or further attempts are pointless.
sub one_chat ($self, $name)
{
	my $age = time - $self->{since};
	my $chat = {
		name => $name, key => rand() < 0.8 ? "key-$name" : '',
		user => 1 + USERS * int($age / USERS_FOR_S) + int rand USERS,
		message => "q$name " . mark($name), tries => 0, said => [],
	};
	my $most = $chat->{key} ne '' ? REPEATS : 1;
	for (1 .. $most) {
		last if $self->ask($chat) || $self->is_over;
		sleep 0.05 + rand 0.3;
	}
	# A caller that is not sure sends the request again.
	$self->ask($chat) if $chat->{key} ne '' && rand() < 0.1;
	return $chat;
}

# True when a repeat could not change the result.
sub ask ($self, $chat)
{
	my $dice = rand;
	my @got = $chat->{key} ne '' && $dice < 0.06 ? $self->hang_up($chat)
	    : $chat->{key} ne '' && $dice < 0.12 ? $self->ask_twice($chat)
	    : $self->{s}->raw_request($self->bytes($chat), ANSWER_S);

	$chat->{tries} += @got || 1;
	push @{ $chat->{said} }, map { note($_) } @got;
	return grep { is_final($_) } map { note($_) } @got;
}

sub bytes ($self, $chat)
{
	return $self->{s}->chat_bytes(telegram_id => $chat->{user},
	    message => $chat->{message}, headers => $chat->{key} eq '' ? {}
	    : { 'Idempotency-Key' => $chat->{key} });
}

sub hang_up ($self, $chat)
{
	my $sock = $self->{s}->connect;

	print $sock $self->bytes($chat);
	$sock->flush;
	sleep rand 0.3;
	close $sock;
	return;
}

# Sends two requests at the same moment.
sub ask_twice ($self, $chat)
{
	my @chats = map { {
		telegram_id => $chat->{user}, message => $chat->{message},
		headers => { 'Idempotency-Key' => $chat->{key} },
	} } 1, 2;

	return AIChat::Test::finish_chats($self->{s}->start_chats(@chats));
}

# The parts of a response that the checker uses.
sub note ($got)
{
	my $json = ref $got->{json} eq 'HASH' ? $got->{json} : {};
	my $detail = $json->{detail};

	return {
		status => $got->{status},
		replayed => $got->{headers}{'idempotent-replayed'} ? 1 : 0,
		response => $json->{response},
		remaining => $json->{remaining_requests},
		why => ref $detail eq 'HASH' ? $detail->{error}
		    : ref $detail ? $JSON->encode($detail) : $detail,
		length => length $got->{content},
		announced => $got->{headers}{'content-length'},
	};
}

# A response that was cut off counts as no response, whatever its status is.
sub is_whole ($said)
{
	return defined $said->{announced}
	    && $said->{length} == $said->{announced};
}

sub is_answer ($said) { return $said->{status} == 200 && is_whole($said) }

sub is_final ($said)
{
	return is_answer($said)
	    || ($said->{status} == 429
		&& ($said->{why} // '') eq 'Rate limit exceeded')
	    || ($said->{status} == 500
		&& ($said->{why} // '') =~ /^AI service error: /);
}

# -- faults ------------------------------------------------------------------

my %FAULTS = (
	'worker killed' => [ 4, \&kill_worker ],
	'worker restarted' => [ 2, sub ($self) {
		my $n = 1 + int rand WORKERS;
		$self->{s}->restart_worker($n) if !$self->{frozen}{$n};
	} ],
	'worker frozen' => [ 4, \&freeze_worker ],
	'PostgreSQL crashed' => [ 2, sub ($self) { restart_pg($self, 'immediate') } ],
	'PostgreSQL killed' => [ 3, \&kill_pg ],
	'PostgreSQL restarted' => [ 1, sub ($self) { restart_pg($self, 'fast') } ],
	'database sessions ended' => [ 3, sub ($self) {
		$self->sql_as_admin('select pg_terminate_backend(pid)
		    from pg_stat_activity where application_name = \'ai-chat\'');
	} ],
	'database session frozen' => [ 3, \&freeze_backend ],
	'row locked' => [ 3, \&lock_row ],
	'model restarted' => [ 1, \&restart_model ],
	(map { my $part = $_; (
		"$part killed" => [ 2, sub ($self) {
			restart_extra($self, lc $part);
		} ],
		"$part frozen" => [ 2, sub ($self) {
			freeze_extra($self, lc $part);
		} ],
	) } qw(Redis Server)),
	'Redis emptied' => [ 1, sub ($self) {
		eval { $self->{s}->redis_cli('flushall') } if !$self->{ill}{redis};
	} ],
	'Nginx reloaded' => [ 1, sub ($self) { $self->{s}->stack->reload_nginx } ],
	map({ ("$_ lines" => [ 8, line_fault($_) ]) } qw(database model worker)),
	map({ ("$_ lines" => [ 4, line_fault($_) ]) } qw(redis server)),
);

# Chooses a fault by its weight.
sub one_fault ($self)
{
	my $dice = rand sum0(map { $_->[0] } values %FAULTS);

	for my $name (sort keys %FAULTS) {
		my ($weight, $do) = @{ $FAULTS{$name} };
		$dice -= $weight;
		next if $dice >= 0;
		$self->{faults}{$name}++;
		$self->{say}->(sprintf '%6.1f %s', time - $self->{since}, $name)
		    if $self->{say};
		return $do->($self);
	}
}

# Waits, and meanwhile ends the faults that are due to end.
sub pass ($self, $seconds)
{
	my $end = time + $seconds;

	do {
		my @due = grep { $_->[0] <= time } @{ $self->{undo} };
		$self->{undo} = [ grep { $_->[0] > time } @{ $self->{undo} } ];
		$_->[1]->() for @due;
		sleep 0.02;
	} while time < $end;
}

sub later ($self, $seconds, $sub)
{
	push @{ $self->{undo} }, [ time + $seconds, $sub ];
}

sub calm ($self)
{
	$_->[1]->() for @{ $self->{undo} };
	$self->{undo} = [];
}

sub kill_worker ($self)
{
	my $s = $self->{s};
	my $n = 1 + int rand WORKERS;

	return if $self->{frozen}{$n};
	$s->kill_worker($n);
	$self->later(rand 0.5, sub { $s->start_worker($n) });
	$self->pass(0.6);
}

# Sometimes for longer than its reservations last.
sub freeze_worker ($self)
{
	my $s = $self->{s};
	my $n = 1 + int rand WORKERS;

	return if $self->{frozen}{$n} || !$s->stack->worker($n)->alive;
	my $worker = $s->stack->worker($n);
	$self->{frozen}{$n} = 1;
	$worker->signal('STOP');
	$self->later(rand() < 0.2 ? 9 : rand 2, sub {
		$worker->signal('CONT');
		delete $self->{frozen}{$n};
	});
}

sub restart_pg ($self, $mode)
{
	$self->{s}->stop_pg($mode);
	$self->pass(rand 1);
	$self->{s}->start_pg;
}

# Kills all processes of PostgreSQL at one moment: data in its shared memory
# only are lost. Whether commits of the role wait for the disk by default is
# chosen at random for the time after it. The setting is changed before, because
# sessions keep the value with which they began.
sub kill_pg ($self)
{
	my $value = rand() < 0.5 ? 'off' : 'on';

	$self->sql_as_admin("alter role ai_chat set synchronous_commit = $value");
	$self->{s}->kill_pg;
	$self->pass(rand 0.3);
	$self->{s}->start_pg;
	$self->{say}->("       synchronous_commit = $value from now on")
	    if $self->{say};
}

# The database may be down for another reason at this moment.
sub sql_as_admin ($self, $sql)
{
	return eval { $self->{s}->stack->pg->admin($sql) };
}

sub freeze_backend ($self)
{
	my ($row) = $self->sql_as_admin('select pid from pg_stat_activity
	    where application_name = \'ai-chat\' order by random() limit 1')
	    or return;
	my $pid = $row->[0];

	return if $self->cmdline($pid) !~ /postgres/;
	kill 'STOP', $pid;
	# PostgreSQL waits for each of its own processes when it stops.
	$self->pass(rand 1.5);
	kill 'CONT', $pid;
}

sub cmdline ($self, $pid) { return eval { slurp("/proc/$pid/cmdline") } // '' }

sub lock_row ($self)
{
	my ($row) = eval { $self->{s}->sql('select telegram_id from
	    ai_chat_daily_limits order by updated_at desc limit 1') } or return;
	my $url = $self->{s}->db_url;

	open my $psql, '|-', "psql -XAtq -d '$url' >/dev/null 2>&1" or return;
	print $psql "begin; select from ai_chat_daily_limits
	    where telegram_id = $row->[0] for update;\n";
	$psql->flush;
	$self->later(rand 0.8, sub { close $psql });
}

sub restart_model ($self)
{
	my $stack = $self->{s}->stack;

	$stack->model->stop('KILL');
	$self->pass(rand 0.5);
	$stack->start_model;
}

# Redis and the seller-data API: no chat may fail because of either.
sub restart_extra ($self, $part)
{
	my $stack = $self->{s}->stack;

	return if $self->{ill}{$part}++;
	$stack->{$part}->stop('KILL');
	$self->later(rand 2, sub {
		delete $self->{ill}{$part};
		$part eq 'redis' ? $stack->start_redis : $stack->start_server;
	});
}

sub freeze_extra ($self, $part)
{
	my $proc = $self->{s}->stack->{$part};

	return if $self->{ill}{$part}++;
	$proc->signal('STOP');
	$self->later(rand 3, sub {
		delete $self->{ill}{$part};
		$proc->signal('CONT');
	});
}

# Faults of the connections between two parts; all of them are temporary.
sub line_fault ($kind)
{
	return sub ($self) {
		my $name = $kind eq 'worker'
		    ? 'worker ' . (1 + int rand WORKERS) : $kind;
		my $proxy = $self->{s}->proxy($name);
		my @ways = (
			sub { $proxy->cut_all },
			sub { $proxy->cut_all('reset') },
			sub { $proxy->fault(latency_ms => rand 80,
			    jitter_ms => 40) },
			sub { $proxy->fault(down => { cut => int rand 2000 }) },
			sub { $proxy->fault(up => { cut => int rand 2000 }) },
			sub { $proxy->fault(down => { truncate =>
			    int rand 1000 }, chance => 0.5) },
			sub { $proxy->fault(down => { reset => int rand 1000 },
			    chance => 0.5) },
			sub { $proxy->fault(down => { drip_ms => 2 },
			    chance => 0.3) },
			sub { $proxy->fault(stall => 1, chance => 0.5) },
			sub { $proxy->fault(hangup => 1, chance => 0.5) },
		);
		$ways[ rand @ways ]->();
		$self->later(rand 1, sub { $proxy->clear });
	};
}

# -- what is left ------------------------------------------------------------

sub read_notes ($self, @files)
{
	for my $line (map { split /\n/, slurp($_) } @files) {
		my $chat = $JSON->decode($line);
		die "a caller died: $chat->{died}\n" if $chat->{died};
		push @{ $self->{chats} }, $chat;
	}
}

sub wait_for_leases ($self)
{
	wait_for(sub {
		$self->{s}->value('select count(*) from ai_chat_daily_limits l,
		    unnest(l.leases) x where x.until > now()') == 0;
	}, 20, 'all reservations to be settled');
}

# Callers with a key that got nothing final, or whose chat is stored in spite of
# a refusal: an answer exists for them.
sub ask_once_more ($self)
{
	my %stored = map { $_->[0] => 1 } $self->{s}->sql(
	    'select split_part(message, \' \', 1) from ai_chat_requests');

	for my $chat (@{ $self->{chats} }) {
		my @said = @{ $chat->{said} };
		next if $chat->{key} eq '' || grep { is_answer($_) } @said;
		next if !$stored{"q$chat->{name}"}
		    && grep { is_final($_) } @said;
		wait_for(sub {
			my $got = note($self->{s}->raw_request(
			    $self->bytes($chat), ANSWER_S));
			push @{ $chat->{said} }, $got;
			return is_final($got);
		}, 30, "an answer to $chat->{message}");
	}
}

sub check ($self)
{
	my %row;	# by message
	my $r = $self->{report} = { faults => $self->{faults}, wrong => [],
	    map { $_ => 0 } qw(chats requests answered replayed refused failed
	    remembered lost twice over) };

	for ($self->{s}->sql('select telegram_id, split_part(message, \' \', 1),
	    response, remaining_requests from ai_chat_requests')) {
		my ($user, $name, $response, $remaining) = @$_;
		push @{ $row{$name} }, { user => $user,
		    response => $response, remaining => $remaining };
	}
	for my $chat (@{ $self->{chats} }) {
		my $rows = delete $row{"q$chat->{name}"} // [];
		$self->check_chat($chat, @$rows);
	}
	$self->wrong('a row that nobody asked for', $_) for sort keys %row;
	$self->check_counters;
	$self->check_refusals;
	return $r;
}

sub wrong ($self, $what, $which)
{
	push @{ $self->{report}{wrong} }, "$what: $which";
}

sub check_chat ($self, $chat, @rows)
{
	my $r = $self->{report};
	my @said = @{ $chat->{said} };
	my @answers = grep { is_answer($_) } @said;
	my $which = "q$chat->{name} of $chat->{user}";

	$r->{chats}++;
	$r->{requests} += @said;
	$r->{answered}++ if @answers;
	$r->{replayed} += grep { $_->{replayed} } @answers;
	$r->{refused}++ if !@answers && grep { $_->{status} == 429 } @said;
	$r->{failed}++ if !@answers && !grep { $_->{status} == 429 } @said;

	# Received and not stored; stored, and with a key not available.
	$r->{lost}++, $self->wrong('answered and not stored', $which)
	    if @answers && !@rows;
	$r->{lost}++, $self->wrong('stored and never told', $which)
	    if !@answers && @rows && $chat->{key} ne '';
	$r->{twice}++, $self->wrong('stored twice', $which) if @rows > 1;

	for my $answer (@answers) {
		$self->wrong('another chat\'s answer', $which)
		    if $answer->{response} !~ /^q\Q$chat->{name}\E(?: |\z)/;
		$self->wrong('not as it is stored', $which) if @rows
		    && ($answer->{response} ne $rows[0]{response}
			|| $answer->{remaining} != $rows[0]{remaining});
	}
	$self->wrong('stored under another user', $which)
	    if grep { $_->{user} != $chat->{user} } @rows;
	for (grep { $_->{status} !~ /^(?:200|429|50[0234]|599)$/
	    || ($_->{status} != 599 && is_whole($_) && $_->{status} != 200
		&& !defined $_->{why}) } @said) {
		$self->wrong("status $_->{status} " . ($_->{why} // ''), $which);
	}
}

sub check_counters ($self)
{
	my $r = $self->{report};

	for ($self->{s}->sql('select l.telegram_id, l.request_count,
	    (select count(*) from ai_chat_requests r
		where r.telegram_id = l.telegram_id)
	    from ai_chat_daily_limits l')) {
		my ($user, $count, $rows) = @$_;
		$r->{users}++;
		$r->{over}++, $self->wrong('over the limit', $user)
		    if $count > LIMIT || $rows > LIMIT;
		$r->{twice}++, $self->wrong("$count counted, $rows stored", $user)
		    if $count > $rows;
		$r->{lost}++, $self->wrong("$count counted, $rows stored", $user)
		    if $count < $rows;
	}
}

# No limit is reset in this test: a user that Redis refuses has used up the day.
sub check_refusals ($self)
{
	my %count = map { @$_ } $self->{s}->sql(
	    'select telegram_id, request_count from ai_chat_daily_limits');

	for my $log (grep { $_->[0] =~ /^worker/ } $self->{s}->logs) {
		for ($log->[1] =~ / user=(\d+) .*used up, according to Redis/g) {
			$self->{report}{remembered}++;
			$self->wrong('refused by Redis for nothing', $_)
			    if ($count{$_} // 0) < LIMIT;
		}
	}
}

1;
