# Values in Redis save work and change nothing else: limits, context and answers
# are the same as without Redis.

use v5.36;
use utf8;
use AIChat::Proc qw(spew);
use AIChat::Test;

# With a seller-data API no question is a common one.
my $LIMIT = 8;
my $s = AIChat::Test->new(workers => 2, redis => 1, with => 0,
    proxy => [ qw(redis database) ],
    env => { AI_CHAT_DAILY_LIMIT => $LIMIT, AI_CHAT_ANSWER_CACHE_S => 600,
	API_ADMIN_KEY => 'boss' });
my $proxy = $s->proxy('redis');
my $ids = 0;
$s->expect_log(qr/event=cache /);

# One chat; returns the messages that the model received, without the rules, or
# undef where it was not called.
sub chat ($user, $message = undef, %o)
{
	my $id = 'r' . ++$ids;
	my $got = $s->send(telegram_id => $user,
	    message => $message // "$ids [[id=$id text=ответ$ids]]", %o);
	my $last = $s->model_last($id) or return ($got, undef);
	my @m = @{ $last->{body}{messages} };
	return ($got, [ map { $_->{content} } @m[1 .. $#m] ]);
}

sub keys_of ($pattern) { return split /\n/, $s->redis_cli('keys', $pattern) }

# Locks a user's row until the returned function is called.
sub lock_row ($user)
{
	open my $psql, '|-', "exec psql -XAtq -d '" . $s->db_url . "'"
	    or die "could not run psql: $!\n";
	$psql->autoflush;
	print $psql "set application_name = 'holder'; begin; select from
	    ai_chat_daily_limits where telegram_id = $user for update;\n";
	wait_for(sub { $s->value("select 1 from pg_stat_activity where
	    application_name = 'holder' and datname = current_database()
	    and state = 'idle in transaction' and query like '%for update%'") },
	    10, 'the row to be held');
	return sub { close $psql };
}

# Sends a request whose deferred work stores a key in Redis. On a busy machine
# Redis may take longer than a worker waits, and then no key is stored: the
# request is sent again.
sub leave_key ($pattern, $send)
{
	for (1 .. 4) {
		$send->();
		return if eval { wait_for(sub { keys_of($pattern) }, 2, 'it') };
	}
	die "nothing left a key $pattern\n";
}

# A chat that leaves its context in Redis.
sub chat_kept ($user)
{
	leave_key("aic:*:context5:$user", sub { chat($user) });
}

sub metric ($what, $result)
{
	my $sum = 0;
	my $text = $s->get('/metrics', headers => {})->{content};
	$sum += $1 while $text =~
	    /^ai_chat_recalls_total\{[^}]*what="$what",result="$result"\} (\d+)/mg;
	return $sum;
}

# At both workers, which Nginx uses in turn.
sub redis_is_back
{
	wait_for(sub {
		4 == grep { $s->get('/health/ready')->{json}{checks}{cache} eq 'ok' }
		    1 .. 4;
	}, 20, 'Redis to be back');
}

sub reset_user ($user)
{
	return $s->post('/v1/chat/reset-limit', { telegram_id => $user },
	    headers => { 'X-API-KEY' => 'boss' })->{status};
}

# -- the context -------------------------------------------------------------

{
	my @said;
	my $send = sub {
		my ($got, $told) = chat(1);
		is $got->{status}, 200, 'a chat';
		is_deeply [ @$told[0 .. $#$told - 1] ], \@said,
		    '... contains the earlier exchanges';
		push @said, $told->[-1], $got->{json}{response};
	};
	leave_key('aic:*:context5:1', $send);
	$send->() for 1 .. 3;
	cmp_ok metric('context', 'hit'), '>=', 1, '... from Redis';
	is $s->ledger(1)->{count}, @said / 2, '... and all are counted';
}

# Whatever is in Redis, the model receives the newest context.
sub knows_all ($user, $what, $change)
{
	chat_kept($user);
	$change->();
	my ($got, $told) = chat($user);
	is $got->{status}, 200, $what;
	my @rows = $s->sql("select message, response from ai_chat_requests
	    where telegram_id = $user and request_date = current_date
	    order by created_at desc, id desc offset 1 limit 5");
	is_deeply [ @$told[0 .. $#$told - 1] ],
	    [ map { @$_ } reverse @rows ],
	    '... the model receives the newest context';
}

knows_all(10, 'a Redis that lost all data', sub {
	$s->redis_cli('flushall');
});
knows_all(11, 'a Redis with an older context', sub {
	my ($key) = keys_of('aic:*:context5:11');
	$s->redis_cli('copy', $key, 'old');
	for (1, 2) {
		chat(11);
		last if eval { wait_for(sub { $s->redis_cli('get', $key)
		    ne $s->redis_cli('get', 'old') }, 2, 'the newer context') };
	}
	$s->redis_cli('copy', 'old', $key, 'replace');
});
knows_all(12, 'one that has somebody else\'s', sub {
	chat_kept(13);
	my ($mine, $other) = map { keys_of("aic:*:context5:$_") } 12, 13;
	$s->redis_cli('copy', $other, $mine, 'replace');
});
knows_all(14, 'a Redis with an invalid value', sub {
	$s->redis_cli('set', keys_of('aic:*:context5:14'), 'x' x 1000);
});
knows_all(15, 'a Redis with a value of another type', sub {
	my ($key) = keys_of('aic:*:context5:15');
	$s->redis_cli('del', $key);
	$s->redis_cli('lpush', $key, 'a');
});
knows_all(16, 'a Redis that missed a chat', sub {
	$s->kill_redis('STOP');
	chat(16);
	$s->kill_redis('CONT');
});
redis_is_back();

# A reservation is removed during the call of the model, and another chat of the
# user is saved: the first save reserves again, with a context that is no longer
# the newest.
knows_all(17, 'a removed reservation, and a chat in between', sub {
	my ($sock) = $s->start_chats({ telegram_id => 17,
	    message => '[[id=slow17 delay=900 text=долго]]' });
	wait_for(sub { $s->model_count('slow17') }, 10, 'a call of the model');
	$s->sql("update ai_chat_daily_limits set leases = '{}'
	    where telegram_id = 17");
	chat(17);
	my ($got) = finish_chats($sock);
	is $got->{status}, 200, 'both are answered';
});

# A save of an earlier version: it counts, and does not change the version of
# the context.
sub save_as_before ($user, $text)
{
	$s->sql("update ai_chat_daily_limits set
	    request_count = request_count + 1, updated_at = now()
	    where telegram_id = $user;
	    insert into ai_chat_requests (telegram_id, chat_id, message,
	    response, request_date) values ($user, gen_random_uuid(), '$text',
	    '$text', current_date)");
}

knows_all(18, 'a worker of an earlier version saved a chat', sub {
	save_as_before(18, 'прежний');
});
knows_all(19, 'another program inserted an exchange', sub {
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date) values (19, 'чужая', 'программа', current_date)");
});

{
	my @got = $s->send_many(map { { telegram_id => 20,
	    message => "[[id=p$_ text=п$_ delay=50]]" } } 1 .. 3);
	is((grep { $_->{status} == 200 } @got), 3, 'three chats at once');
	my (undef, $told) = chat(20);
	is @$told, 7, '... are all in the context of the next one';
}

{
	chat_kept(21);
	$s->post('/v1/chat/clear', { telegram_id => 21 });
	my (undef, $told) = chat(21);
	is @$told, 1, 'a new conversation begins at once';
}

# -- a refusal in Redis
# ---------------------------------------------------------

sub use_up ($user)
{
	chat($user) for 1 .. $LIMIT;
	my ($got) = chat($user);
	die "not refused: $got->{status}\n" if $got->{status} != 429;
	# A worker that has just lost its connection to Redis stores nothing.
	wait_for(sub { keys_of("aic:*:used:$user") || !chat($user) }, 10,
	    "the refusal of $user in Redis");
	return $got;
}

{
	my $first = use_up(30);
	my $hits = metric('used_up', 'hit');
	$s->proxy('database')->fault(stall => 1);
	my ($got) = chat(30);
	$s->proxy('database')->clear;
	is $got->{status}, 429, 'a day that is used up';
	is_deeply $got->{json}, $first->{json},
	    '... gets the same refusal from Redis';
	cmp_ok abs($got->{headers}{'retry-after'}
	    - $first->{headers}{'retry-after'}), '<=', 60,
	    '... with the same Retry-After';
	is metric('used_up', 'hit'), $hits + 1, '... without the database';

	is $s->get('/v1/chat/limits/30')->{json}{requests_today}, $LIMIT,
	    '... which has the same result';
	is reset_user(30), 200, 'a reset';
	($got) = chat(30);
	is $got->{status}, 200, '... takes effect at once';
	is $got->{json}{remaining_requests}, $LIMIT - 1,
	    '... with the whole limit';
	chat(30) for 2 .. $LIMIT;
	is((chat(30))[0]{status}, 429, '... and then the day is used up again');
}

# A reset by an operator, and the erasure of a user.
{
	use_up(37);
	my $got = $s->ctl('reset-limit', 37);
	is $got->{status}, 0, 'a reset by ai-chatctl';
	is $got->{err}, '', '... without a warning';
	is((chat(37))[0]{status}, 200, '... takes effect at once, too');

	chat_kept(37);
	is $s->ctl('forget', '--yes', 37)->{status}, 0, 'a user is erased';
	is_deeply [ grep { !/used/ } keys_of('aic:*:37') ], [],
	    '... in Redis, too';
}

# A refusal that was read before a reset, and stored in Redis after it.
{
	use_up(31);
	$s->redis_cli('del', keys_of('aic:*:used:31'));
	reset_user(31);
	my ($key) = keys_of('aic:*:used:31');
	ok $key, 'a reset leaves a tombstone';
	my $ms = $s->redis_cli('pttl', $key);
	ok $ms > 0 && $ms <= 15_000, '... for a while' or diag $ms;
	is((chat(31))[0]{status}, 200, '... which refuses no chat');
}

# Reservations may be released, so a day that is full because of them is not
# cached.
{
	chat(32) for 2 .. $LIMIT;
	my ($sock) = $s->start_chats({ telegram_id => 32,
	    message => '[[id=lost delay=900 status=400]]' });
	wait_for(sub { $s->model_count('lost') }, 10, 'a call of the model');
	is((chat(32))[0]{status}, 429, 'the last chat of the day is reserved');
	finish_chats($sock);
	is((chat(32))[0]{status}, 200,
	    '... and available again when that chat fails');
}

# A refusal in Redis counts only if a worker has written it.
{
	my $used = '4 4 9999999999 2030-01-01 2030-01-02T00:00:00+00:00';
	my ($scope) = (keys_of('aic:*:used:*'))[0] =~ /^(aic:1:\w{16}):/;
	$s->redis_cli('set', "$scope:used:33", $used);
	is((chat(33))[0]{status}, 200, 'a forged refusal has no effect');
	use_up(34);
	my ($key) = keys_of('aic:*:used:34');
	$s->redis_cli('copy', $key, $key =~ s/34$/35/r);
	is((chat(35))[0]{status}, 200,
	    'a copied refusal of another user has no effect');
	$s->redis_cli('flushall');
	is((chat(34))[0]{status}, 429,
	    'with an empty Redis a used-up day is refused, too');
	is $s->ledger(34)->{count}, $LIMIT, '... and not counted';
}

# Two installations that share Redis and a caller's key: each has its own users.
{
	my $other = AIChat::Test->new(with => 0, env => {
		REDIS_URL => $s->stack->settings->{REDIS_URL},
		AI_CHAT_DAILY_LIMIT => $LIMIT });
	wait_for(sub {
		$other->get('/health/ready')->{json}{checks}{cache} eq 'ok';
	}, 10, 'Redis');
	use_up(36);
	is((chat(36))[0]{status}, 429,
	    'a user has used up the day in this installation');
	wait_for(sub { keys_of('aic:*:used:36') }, 5, 'the refusal in Redis');
	is $other->send(telegram_id => 36)->{status}, 200,
	    '... and not in another installation with the same Redis and key';
	$other->send(telegram_id => 37);
	wait_for(sub { keys_of('aic:*:context*:37') }, 5,
	    'the context in Redis');
	is keys_of('aic:*:context*:36'), 2,
	    '... whose keys have the scope of another database';
}

# A role that may not read the name of its database.
{
	my $closed = AIChat::Test->new(with => 0, env => {
		REDIS_URL => $s->stack->settings->{REDIS_URL} });
	my $admin = sub ($sql) {
		$closed->stack->pg->admin($sql, $closed->{db});
	};
	$closed->expect_log(qr/event=cache /, qr/permission denied for/);
	$admin->('revoke select on pg_database from public');
	leave_key('aic:*:context*:3601', sub {
		is $closed->send(telegram_id => 3601)->{status}, 200,
		    'a role that may not read pg_database: a chat is answered';
	});
	pass '... and Redis is used';
	$admin->('revoke execute on function pg_control_system() from public');
	$closed->restart_worker(1);
	leave_key('aic:*:context*:3602', sub {
		is $closed->send(telegram_id => 3602)->{status}, 200,
		    '... and without the number of the cluster: chats are answered';
	});
	$admin->('revoke execute on function pg_stat_get_activity(int)
	    from public');
	$closed->restart_worker(1);
	is $closed->send(telegram_id => 3603)->{status}, 200,
	    '... and without the number of the database: chats are answered';
	like $closed->worker_log(1), qr/event=cache .*Redis is not used/,
	    '... without Redis, as the log says';
}

# Redis does not get the message about a reset.
{
	use_up(36);
	$s->kill_redis('STOP');
	is reset_user(36), 200, 'a reset while Redis hangs';
	is((chat(36))[0]{status}, 200, '... takes effect');
	my $got = $s->ctl('reset-limit', 36);
	is $got->{status}, 0, '... and so does one by ai-chatctl';
	like $got->{err}, qr/could not update Redis/, '... with a warning';
	$s->kill_redis('CONT');
	wait_for(sub { (chat(36))[0]{status} == 200 }, 20,
	    'the reset in Redis');
	pass '... also when Redis works again';
	redis_is_back();
}

# A Redis that is full refuses to store anything.
{
	use_up(38);
	$s->redis_cli(qw(config set maxmemory 1));
	is reset_user(38), 200, 'a reset while Redis is full';
	is((chat(38))[0]{status}, 200, '... takes effect');
	$s->redis_cli(qw(config set maxmemory 0));
}

# A request with a key is first a repeat, and only then a new chat.
{
	my @same = ('[[id=keyed text=с-ключом]]');
	my %key = (headers => { 'Idempotency-Key' => 'k40' });
	my $body = { telegram_id => 40, message => $same[0] };
	is $s->post('/v1/chat/send', $body, %key)->{status}, 200, 'a chat of a key';
	chat(40) for 2 .. $LIMIT;
	is((chat(40))[0]{status}, 429, '... the day is used up');
	leave_key('aic:*:used:40', sub { chat(40) });
	my $got = $s->post('/v1/chat/send', $body, %key);
	is $got->{status}, 200, '... and its repeat gets the answer';
	is $got->{headers}{'idempotent-replayed'}, 'true', '... as a repeat';

	# A new chat is refused without a lock on the user's row.
	my $hits = metric('used_up', 'hit');
	my $free = lock_row(40);
	$got = $s->post('/v1/chat/send', $body,
	    headers => { 'Idempotency-Key' => 'another' });
	$free->();
	is $got->{status}, 429, 'a new chat of a key is refused';
	is metric('used_up', 'hit'), $hits + 1, '... by the refusal in Redis';
}

# -- common questions --------------------------------------------------------

{
	my $ask = sub ($user, $text = 'Что такое FBO? [[id=common text=Склад]]') {
		return $s->send(telegram_id => $user, message => $text);
	};
	my ($got, $tokens);
	my $user = 500;
	leave_key('aic:*:answer:*', sub {
		$got = $ask->($user++);
		$tokens = $got->{json}{tokens_used};
	});
	cmp_ok $tokens, '>', 0, 'a common question is answered by the model';
	my $saved = $s->model_count('common');
	$got = $ask->(51, "  что ТАКОЕ fbo?\n [[id=common text=Склад]]..");
	is_deeply $got->{json}, { response => 'Склад', tokens_used => 0,
	    remaining_requests => $LIMIT - 1 },
	    '... and from Redis the next time';
	is $s->model_count('common'), $saved, '... the model was not called';
	is_deeply $s->ledger(51), { count => 1, rows => 1, leases => 0 },
	    '... it is counted, and in the history';
	is $s->post('/v1/chat/history', { telegram_id => 51 })
	    ->{json}{items}[0]{response}, 'Склад', '... with its answer';
	wait_for(sub { ($s->worker_log(1) . $s->worker_log(2))
	    =~ /user=51 .*recalled=yes/ }, 10,
	    'its line in the log');

	$ask->(51);
	is $s->model_count('common'), $saved + 1,
	    'with a history the model is called';
	$s->send(telegram_id => 52, user_context => 'выручка 5',
	    message => 'Что такое FBO? [[id=common text=Склад]]');
	is $s->model_count('common'), $saved + 2,
	    '... with the seller\'s data, too';
	$ask->(53, 'Что такое FBS? [[id=common text=Склад]]');
	is $s->model_count('common'), $saved + 3,
	    '... and for another question';
	$ask->($_) for 54, 54;
	is $s->ledger(54)->{count}, 2, 'each of these chats is counted';

	$s->redis_cli('set', $_, 'Врёт') for keys_of('aic:*:answer:*');
	is $ask->(55)->{json}{response}, 'Склад', 'a forged answer is not used';

	$s->restart_worker($_, OPENAI_MODEL => 'another') for 1, 2;
	my $before = $s->model_count('common');
	$ask->(56);
	is $s->model_count('common'), $before + 1,
	    'another model has its own answers';
	spew($s->dir . '/extra', '{"top_p":0.5}');
	$s->restart_worker($_, OPENAI_EXTRA_BODY_FILE => $s->dir . '/extra') for 1, 2;
	$ask->(59);
	is $s->model_count('common'), $before + 2,
	    '... and so has one with other members';
	is $ask->(57, 'сломано [[id=bad status=400]]')->{status}, 500,
	    'a failure';
	is $ask->(58, 'сломано [[id=bad status=400]]')->{status}, 500,
	    '... gets a 500';
	is $s->ledger(58)->{count}, 0, '... and does not count';
}

# -- workers with other settings ---------------------------------------------

sub restart_all (%o)
{
	$s->restart_worker($_, %o) for 1, 2;
	redis_is_back();
}

# Two time zones that are 25 hours apart never have the same day.
restart_all(AI_CHAT_TIMEZONE => 'Pacific/Niue');
use_up($_) for 70, 74;
sub is_remembered ($user)
{
	is scalar(keys_of("aic:*:used:$user")), 1,
	    '... although Redis has the refusal';
}
restart_all(AI_CHAT_DAILY_LIMIT => $LIMIT + 1);
is((chat(74))[0]{status}, 200, 'a refusal by a smaller limit is not used');
is_remembered(74);
restart_all(AI_CHAT_TIMEZONE => 'Pacific/Kiritimati',
    AI_CHAT_DAILY_LIMIT => $LIMIT);
is((chat(70))[0]{status}, 200, '... nor is a refusal of another time zone');
is_remembered(70);

restart_all(AI_CHAT_TIMEZONE => 'UTC', AI_CHAT_CONTEXT_TTL_S => 3600);
knows_all(71, 'an exchange that is too old for one worker', sub {
	$s->sql("insert into ai_chat_requests (telegram_id, chat_id, message,
	    response, request_date, created_at) values (71, gen_random_uuid(),
	    'давно', 'давно', current_date, now() - interval '2 h')");
	restart_all(AI_CHAT_CONTEXT_TTL_S => 0);
});

# An answer that was cut off, or of the fallback model, is not reused.
{
	$s->redis_cli('flushall');
	leave_key('aic:*:context5:72', sub { $s->send(telegram_id => 72,
	    message => 'Что такое СПП? [[body=length]]') });
	is_deeply [ keys_of('aic:*:answer:*') ], [],
	    'an answer that was cut off is not cached';
	$s->redis_cli('del', keys_of('aic:*:context5:72'));
	leave_key('aic:*:context5:72', sub { $s->send(telegram_id => 72,
	    message => 'Что такое ДРР? [[text=Личное]]') });
	is_deeply [ keys_of('aic:*:answer:*') ], [],
	    '... nor is an answer that depends on a context';
	$s->stack->start_second_model;
	restart_all(OPENAI_MODEL => 'first[[status=503 retry_after_ms=1]]',
	    OPENAI_FALLBACK_MODEL => 'second[[text=помощь]]');
	leave_key('aic:*:context5:73', sub {
		is $s->send(telegram_id => 73, message => 'Что такое СПП?')
		    ->{json}{response}, 'помощь', 'the fallback model answers';
	});
	is_deeply [ keys_of('aic:*:answer:*') ], [], '... and its answer is not cached';
	restart_all(OPENAI_FALLBACK_API_KEY => undef,
	    OPENAI_FALLBACK_BASE_URL => undef);
}

# -- a Redis that fails
# ----------------------------------------------------------

{
	chat(60);
	for my $fault ([ 'hangs', stall => 1 ], [ 'is slow', latency_ms => 70 ],
	    [ 'resets', down => { reset => 1 } ],
	    [ 'answers garbage', down => { cut => 3 } ], [ 'evicts all' ]) {
		my ($what, @fault) = @$fault;
		redis_is_back();
		$proxy->fault(@fault) if @fault;
		$s->redis_cli(qw(config set maxmemory-policy allkeys-random)),
		    $s->redis_cli(qw(config set maxmemory 1mb)) if !@fault;
		my @got = $s->send_many(map { { telegram_id => 600 + $_ % 5,
		    message => '[[delay=10]]' } } 1 .. 5 * ($LIMIT + 2));
		$proxy->clear;
		is((grep { $_->{status} == 200 } @got), 5 * $LIMIT,
		    "a Redis that $what: exactly the limit is answered");
		is((grep { $_->{status} == 429 } @got), 5 * 2,
		    '... and all other chats are refused');
		is_deeply $s->ledger(600 + $_), { count => $LIMIT,
		    rows => $LIMIT, leases => 0 }, '... each is counted once'
		    for 0 .. 4;
		$s->sql('delete from ai_chat_requests where telegram_id
		    between 600 and 604; delete from ai_chat_daily_limits where
		    telegram_id between 600 and 604');
		$s->redis_cli('flushall');
	}
}

done_testing;
