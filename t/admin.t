# The endpoints for operators: who may call them, their input, what they
# return, and the record of actions. t/admin_sums.t tests the sums.

use v5.36;
use utf8;
use AIChat::Test;

my $names = 'Анна,boris';
utf8::encode($names);
my $s = AIChat::Test->new(workers => 2, redis => 1, env => {
	API_ADMIN_KEY => 'anna-key, boris-key',
	AI_CHAT_ADMIN_KEY_NAMES => $names,
	AI_CHAT_DAILY_LIMIT => 3,
	AI_CHAT_DB_TIMEOUT_MS => 1000,
});
my %anna = (headers => { 'X-API-KEY' => 'anna-key' });
my %boris = (headers => { 'X-API-KEY' => 'boris-key' });
my $TIME = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/;

my @GET = map { "/v1/admin/$_" } qw(overview users user/1 history/1 service
    audit);
my @POST = map { "/v1/admin/$_" } qw(reset-limit clear forget);

sub get ($path) { return $s->get("/v1/admin/$path", %anna) }
sub post ($path, $body)
{
	return $s->post("/v1/admin/$path", $body, %anna);
}
sub actions
{
	return [ map { "$_->[0] $_->[1] " . ($_->[2] // '-') } $s->sql('select
	    key_name, action, telegram_id from ai_chat_audit order by id') ];
}
sub forget_actions { $s->sql('delete from ai_chat_audit') }

# -- keys --------------------------------------------------------------------

for my $path (@GET, @POST) {
	my $method = (grep { $_ eq $path } @GET) ? 'GET' : 'POST';
	my $other = $method eq 'GET' ? 'POST' : 'GET';
	for my $key (undef, $AIChat::Test::KEY, 'wrong', 'anna-key, boris-key',
	    'anna-key,') {
		my $got = $s->request($method, $path, json => {},
		    headers => { 'X-API-KEY' => $key });
		is $got->{status}, 403, "$method $path with "
		    . ($key // 'no') . ' key is refused';
		is $got->{content}, '{"detail":"Invalid or missing API key"}',
		    '... as everywhere';
	}
	my $got = $s->request($other, $path, json => {}, %boris);
	is $got->{status}, 405, "$other $path";
	is $got->{headers}{allow}, $method, '... is not allowed';
	is $got->{headers}{'cache-control'}, 'no-store',
	    '... and is for no cache';
}
is_deeply actions(), [], 'refused requests are no actions';
for my $key ('anna-key', 'boris-key') {
	is $s->get('/v1/admin/overview', headers => { 'X-API-KEY' => $key })
	    ->{status}, 200, "$key opens them";
	is $s->get('/v1/chat/limits/1', headers => { 'X-API-KEY' => $key })
	    ->{status}, 403, '... and not the API of the callers';
}
is get($_)->{status}, 404, "/v1/admin/$_ does not exist"
    for 'nothing', '', 'user/', 'user/1/2', 'overview/1';
is $s->get('/v1/admin/nothing')->{status}, 403,
    '... for operators; callers are refused';

# -- input -------------------------------------------------------------------

for (
    [ 'overview?days=0', 'days', 'greater_than_equal' ],
    [ 'overview?days=366', 'days', 'less_than_equal' ],
    [ 'overview?days=x', 'days', 'int_parsing' ],
    [ 'user/1?days=366', 'days', 'less_than_equal' ],
    [ 'user/0', 'telegram_id', 'greater_than_equal' ],
    [ 'user/x', 'telegram_id', 'int_parsing' ],
    [ 'history/x', 'telegram_id', 'int_parsing' ],
    [ 'history/1?limit=101', 'limit', 'less_than_equal' ],
    [ 'history/1?offset=-1', 'offset', 'greater_than_equal' ],
    [ 'audit?limit=0', 'limit', 'greater_than_equal' ],
    [ 'audit?telegram_id=0', 'telegram_id', 'greater_than_equal' ],
    [ 'users?by=money', 'by', 'literal_error' ],
    [ 'users?limit=101', 'limit', 'less_than_equal' ],
    [ 'users?offset=10001', 'offset', 'less_than_equal' ],
    (map { [ "users?period=$_", 'period', 'value_error' ] } '', '2026',
	'2026-13', '2026-00', '2026-1', '2026-02-29', '2026-02-30',
	'1999-01', '3000-01', '2026-01-32', '2026-01-01x', "2026-01'"),
) {
	my ($path, $field, $type) = @$_;
	my $got = get($path);
	is $got->{status}, 422, "$path is refused";
	is $got->{json}{detail}[0]{loc}[1], $field, '... by the name';
	is $got->{json}{detail}[0]{type}, $type, '... with the reason';
}
is scalar @{ get('users?by=x&limit=x&offset=x&period=x')->{json}{detail} }, 4,
    'all faults are reported together';
is get("users?period=$_")->{json}{period}, $_, "$_ is a period"
    for '2026-02', '2024-02-29', '2026-12-31', '2000-01', '2999-12';
is post($_, {})->{status}, 422, "$_ needs a telegram_id"
    for qw(reset-limit clear forget);
is_deeply actions(), [], 'requests with faults are no actions';

# -- one user ----------------------------------------------------------------

{
	my $got = get('user/42?days=3');
	my $user = $got->{json};
	is $got->{status}, 200, 'a user who has never chatted';
	is $got->{headers}{'cache-control'}, 'no-store', '... for no cache';
	ok !$user->{known}, '... is not known';
	is $user->{first_seen}, undef, '... and was never seen';
	is $user->{limits}{requests_remaining}, 3, '... has the whole limit';
	is scalar @{ $user->{items} }, 3, '... and three days';
}
$s->send(telegram_id => 42, message => 'Тайна') for 1, 2;
$s->post('/v1/chat/clear', { telegram_id => 42 });
{
	my $user = get('user/42?days=2')->{json};
	ok $user->{known}, 'a user who has chatted is known';
	like $user->{first_seen}, $TIME, '... since a time';
	like $user->{conversation_since}, $TIME,
	    '... and began a new conversation';
	is_deeply $user->{limits},
	    $s->get('/v1/chat/limits/42')->{json}, '... with the same limits';
	is_deeply $user->{stats},
	    $s->get('/v1/chat/stats/42?days=2')->{json},
	    '... and the same statistics as callers see';
	is_deeply [ map { $_->{chats} } @{ $user->{items} } ], [ 0, 2 ],
	    '... and the chats of each day, today last';
	is $user->{items}[1]{date}, $user->{limits}{reset_date},
	    '... which has its date';
	is $user->{items}[1]{tokens}, $user->{stats}{total_tokens},
	    '... and its tokens';
}
{
	my $mine = get('history/42?limit=1&offset=1');
	is $mine->{content}, $s->post('/v1/chat/history', { telegram_id => 42,
	    limit => 1, offset => 1 })->{content},
	    'the history is the one that callers see';
	is_deeply actions(), [ 'Анна history 42' ],
	    '... and that it was read is recorded';
}
my ($sock) = $s->start_chats({ telegram_id => 43,
    message => '[[id=flight delay=1500]]' });
wait_for(sub { $s->model_count('flight') }, 10, 'a call of the model');
is get('user/43')->{json}{in_flight}, 1, 'a chat in flight is shown';
finish_chats($sock);

# -- actions -----------------------------------------------------------------

forget_actions();
$s->send(telegram_id => 42);
is $s->send(telegram_id => 42)->{status}, 429, 'a day is used up';
{
	my $got = post('reset-limit', { telegram_id => 42 });
	is $got->{content}, $s->post('/v1/chat/reset-limit',
	    { telegram_id => 42 }, %boris)->{content},
	    'a reset, through either endpoint';
	is_deeply actions(), [ 'Анна reset-limit 42', 'boris reset-limit 42' ],
	    '... is recorded with the name of the key';
	is $s->send(telegram_id => 42)->{status}, 200, '... and takes effect';
}
is post('clear', { telegram_id => 42 })->{content}, '{"success":true}',
    'a new conversation';
is $s->post('/v1/chat/clear', { telegram_id => 42 })->{status}, 200,
    '... which a caller may begin too';
is_deeply [ @{ actions() }[2 ..3] ], [ 'Анна clear 42', undef ],
    '... is recorded when an operator does it';
{
	my $got = post('forget', { telegram_id => 42 });
	is $got->{status}, 200, 'a user is erased';
	is_deeply $got->{json}, { success => JSON::PP::true,
	    telegram_id => 42, known => JSON::PP::true, exchanges => 4,
	    counter_kept => JSON::PP::true, cache => 'deleted' },
	    '... and the response says what was deleted';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id = 42'), 0, '... there is no exchange';
	is $s->post('/v1/chat/history', { telegram_id => 42 })->{json}{total},
	    0, '... nor for callers';
	$got = post('forget', { telegram_id => 4711 })->{json};
	ok !$got->{known}, 'somebody who has never chatted can be erased';
}
is_deeply [ @{ actions() }[3 .. 4] ], [ 'Анна forget 42',
    'Анна forget 4711' ], 'the record of an erasure stays';

# No action without a record, and no record without an action.
{
	$s->send(telegram_id => 44) for 1 .. 3;
	$s->sql("alter table ai_chat_audit add constraint no_44
	    check (telegram_id <> 44)");
	$s->expect_log(qr/no_44/, qr/status=503/);
	for my $action (qw(reset-limit clear forget)) {
		is post($action, { telegram_id => 44 })->{status}, 503,
		    "$action that cannot be recorded fails";
	}
	is get('history/44')->{status}, 503, '... and so does the history';
	$s->sql('alter table ai_chat_audit drop constraint no_44');
	is $s->value("select request_count || coalesce(context_from::text, '')
	    from ai_chat_daily_limits where telegram_id = 44"), 3,
	    '... and changes nothing';
	# The exchanges of an erasure are deleted in batches before the record.
}

# -- the record --------------------------------------------------------------

forget_actions();
post('reset-limit', { telegram_id => $_ }) for 1 .. 3;
$s->post('/v1/admin/reset-limit', { telegram_id => 2 }, headers => {
    'X-API-KEY' => 'boris-key', 'X-Request-Id' => 'my-own-id' });
{
	my $audit = get('audit?limit=2')->{json};
	is $audit->{total}, 4, 'the record has all actions';
	is_deeply [ map { $_->{telegram_id} } @{ $audit->{items} } ], [ 2, 3 ],
	    '... the newest first';
	my $last = $audit->{items}[0];
	is_deeply [ @$last{qw(key action request_id)} ],
	    [ 'boris', 'reset-limit', 'my-own-id' ],
	    '... with key, action and request';
	like $last->{at}, $TIME, '... and time';
	is_deeply [ map { $_->{telegram_id} }
	    @{ get('audit?limit=2&offset=2')->{json}{items} } ], [ 2, 1 ],
	    '... in pages';
	$audit = get('audit?telegram_id=2')->{json};
	is_deeply [ $audit->{total}, map { $_->{key} } @{ $audit->{items} } ],
	    [ 2, 'boris', 'Анна' ], '... or of one user';
	$s->send(telegram_id => 2);
	is(($s->ctl('reset-limit', 2))->{status}, 0, 'ai-chatctl resets');
	is_deeply [ @{ get('audit?limit=1')->{json}{items}[0] }{qw(key action
	    telegram_id request_id)} ], [ 'ai-chatctl', 'reset-limit', 2,
	    undef ], '... and is recorded';
	is(($s->ctl('forget', 2, '--yes'))->{status}, 0, '... and erases');
	is_deeply [ @{ get('audit?limit=1')->{json}{items}[0] }{qw(key action
	    telegram_id)} ], [ 'ai-chatctl', 'forget', 2 ],
	    '... and is recorded';
}
unlike join(' ', map { join ' ', map { $_ // '' } @$_ }
    $s->sql('select * from ai_chat_audit')), qr/(?:anna|boris)-key/,
    'no record has a key';

# -- the service -------------------------------------------------------------

$s->expect_log(qr/status=50[03]/);
$s->send(telegram_id => 45, message => '[[status=401]]',
    headers => { 'X-Request-Id' => 'model-id' });
{
	my $got = get('service')->{json};
	is $got->{version}, '1.0.0', 'the service has a version';
	is $got->{database}{state}, 'ok', '... a database';
	like $got->{database}{version}, qr/^\d+\.\d+/, '... with its version';
	is $got->{database}{schema}, $s->value('select max(version)
	    from ai_chat_migrations'), '... and schema';
	is_deeply [ map { "$_->{worker} $_->{state} $_->{version}" }
	    @{ $got->{workers} } ], [ '1 running 1.0.0', '2 running 1.0.0' ],
	    '... and all workers of the host';
	my $breakers = $got->{workers}[0]{breakers};
	# AIC_WITH can add the seller-data API, which can be stopped meanwhile.
	my $seller = delete $breakers->{seller_data};
	like $seller, ($ENV{AIC_WITH} // '') =~ /server/ ? qr/^(?:closed|open)$/
	    : qr/^off$/, '... with the breaker of the seller-data API';
	is_deeply $breakers, { model => 'closed', fallback => 'off',
	    saves => 'closed', cache => 'closed' }, '... and the others';
	is $got->{workers}[0]{slots}, 64, '... the slots';
	like $got->{workers}[0]{started_at}, $TIME, '... and the start';
	my ($error) = grep { $_->{kind} eq 'model_failed' }
	    @{ $got->{errors} };
	is_deeply [ @$error{qw(request_id path code sqlstate)} ],
	    [ 'model-id', '/v1/chat/send', 'EUPSTREAM', undef ],
	    'the last failure of the model is shown';
	like $error->{text}, qr/./, '... with its text';
	like $error->{doing}, qr/model/, '... and stage';
	like $error->{at}, $TIME, '... and time';
	($error) = grep { $_->{kind} eq 'database_failed' }
	    @{ $got->{errors} };
	is $error->{sqlstate}, '23514', 'and the last of the database';
	$s->send(telegram_id => 45, message => '[[status=401]]',
	    headers => { 'X-Request-Id' => 'model-id-2' });
	is_deeply [ map { $_->{request_id} } grep {
	    $_->{kind} eq 'model_failed' } @{ get('service')->{json}{errors} } ],
	    [ 'model-id-2' ], '... one of each kind';
}
$s->kill_worker(2);
{
	my ($two) = grep { $_->{worker} == 2 }
	    @{ get('service')->{json}{workers} };
	is $two->{state}, 'dead', 'a worker that was killed is shown as dead';
	$s->start_worker(2);
}

# -- without the key ---------------------------------------------------------

$s->restart_worker($_, API_ADMIN_KEY => 'a,b', AI_CHAT_ADMIN_KEY_NAMES => '')
    for 1, 2;
forget_actions();
is $s->post('/v1/admin/clear', { telegram_id => 1 }, headers => {
    'X-API-KEY' => 'a,b' })->{status}, 200,
    'without names the value is one key';
is_deeply actions(), [ 'key 1 clear 1' ], '... with a name of its own';

$s->restart_worker($_, API_ADMIN_KEY => '') for 1, 2;
for my $path (@GET, @POST) {
	my $method = (grep { $_ eq $path } @GET) ? 'GET' : 'POST';
	is $s->request($method, $path, json => {})->{status}, 404,
	    "without API_ADMIN_KEY there is no $path";
	is $s->request($method, $path, json => {}, %boris)->{status}, 403,
	    '... and its key is a wrong one';
}
is $s->post('/v1/chat/reset-limit', { telegram_id => 1 })->{status}, 200,
    'a caller resets then';
is_deeply actions(), [ 'key 1 clear 1' ], '... and is not recorded';

done_testing;
