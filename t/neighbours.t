# Other users of the same database: roles that may only write or only read, an
# ORM that creates the tables it knows, and roles that try to run their code
# with our rights. The service and they work beside each other.

use v5.36;
use utf8;
use AIChat::Stack;
use AIChat::Test;

my $TOP = AIChat::Stack::top();

my $s = AIChat::Test->new(own_pg => 1);
my $pg = $s->stack->pg;
my $DB = $s->{db};

sub admin ($sql) { return $pg->admin($sql, $DB) }

# The first field of the first row.
sub one ($sql)
{
	my ($row) = admin($sql);
	return $row->[0];
}

# Runs a statement as another role; returns whether it was permitted.
sub as ($role, $sql)
{
	my @rows = eval { AIChat::Postgres::psql($pg->url($DB, $role), $sql) };

	diag $@ if $@ && $ENV{AIC_VERBOSE};
	return $@ ? undef : \@rows;
}

sub is_served ($user, $title)
{
	my $got = $s->send(telegram_id => $user);
	is $got->{status}, 200, $title or diag $got->{content};
	return $got;
}

sub seq_of ($user) { return $s->value("select context_seq
    from ai_chat_daily_limits where telegram_id = $user") }

# The exit status and all output.
sub migrate (%env)
{
	return program('ai-chat-migrate', { DATABASE_URL => $s->db_url, %env },
	    '--dir', "$TOP/sql");
}

my $INSERT = 'insert into public.ai_chat_requests (telegram_id, message,
    response, request_date) values (%d, \'m\', \'r\', current_date)';

admin('create role writer login; create role reader login;
    grant usage on schema public to writer, reader;
    grant insert on ai_chat_requests to writer;
    grant select on ai_chat_requests, ai_chat_daily_limits to reader');
admin('create table users (id serial primary key, telegram_id bigint unique);
    insert into users (telegram_id) values (1), (2);
    grant select, references, update on users to ai_chat');
{
	my ($status, $text) = migrate();
	is $status, 0, 'a users table of another role is linked' or diag $text;
}

# -- rights of other roles
# -------------------------------------------------------

is_served(1, 'a chat');
{
	my $seq = seq_of(1);
	ok as('writer', sprintf $INSERT, 1),
	    'a role that may only insert exchanges can insert them';
	cmp_ok seq_of(1), '>', $seq, '... and the next context has the exchange';
	is $s->value('select user_id from ai_chat_requests where chat_id is null'),
	    1, '... with its user';
	ok !as('writer', 'select from public.ai_chat_daily_limits'),
	    '... and has no more rights than that';
	ok as('reader', 'select * from public.ai_chat_requests,
	    public.ai_chat_daily_limits'), 'a role that may only read can read';
	ok !as('reader', sprintf $INSERT, 1), '... and no more';
	ok as('ai_chat', 'set search_path = \'\'; ' . sprintf $INSERT, 1),
	    'the owner inserts with an empty search_path';
	ok as('ai_chat', 'set search_path = \'\';
	    update public.ai_chat_daily_limits set request_count = request_count + 1
	    where telegram_id = 1'), '... and changes a counter';
	ok as('ai_chat', 'begin isolation level serializable; '
	    . sprintf($INSERT, 1) . '; commit'), '... as a serializable transaction';
	$s->expect_log(qr/ERROR:  permission denied/);
	ok !as('writer', 'create temporary table t (telegram_id bigint);
	    create trigger t after insert on t for each row
	    execute function public.ai_chat_raise_context_seq_of_user()'),
	    'no other role may use our functions in triggers';
}

# A lock of another session must not stop a writer.
{
	open my $psql, '|-', 'psql', '-XAtq', '-o', '/dev/null', '-d', $s->db_url
	    or die "psql: $!\n";
	print $psql "set application_name = 'holder'; begin;
	    select from ai_chat_daily_limits where telegram_id = 1 for update;\n";
	$psql->flush;
	wait_for(sub { admin("select 1 from pg_stat_activity where
	    application_name = 'holder' and state = 'idle in transaction'
	    and query like 'select%'") }, 10, 'the lock');
	ok as('writer', 'set statement_timeout = 5000; ' . sprintf $INSERT, 1),
	    'a writer inserts while the counter of the user is locked';
	close $psql;
}
# -- changes by other services
# ---------------------------------------------------

for my $change ('request_count type bigint', 'telegram_id type numeric(20)',
    'telegram_id type bigint', 'updated_at type timestamptz(3)') {
	ok as('ai_chat', "alter table public.ai_chat_daily_limits alter $change"),
	    "another service changes the counters' table: $change";
	is_served(1, '... and chats are served');
}

# -- an ORM ------------------------------------------------------------------

# What create_all() of SQLAlchemy does with the models of an earlier service: it
# looks for each table and creates the missing ones. Then the statements of its
# sessions.
my %MODEL = (
	ai_chat_daily_limits => 'create table ai_chat_daily_limits (
	    id serial not null primary key, telegram_id bigint not null unique,
	    request_count integer not null, last_reset_date date not null,
	    created_at timestamptz default now(),
	    updated_at timestamptz default now())',
	ai_chat_requests => 'create table ai_chat_requests (
	    id serial not null primary key, telegram_id bigint not null,
	    user_id integer, message text not null, response text not null,
	    tokens_used integer, request_date date not null,
	    created_at timestamptz default now())',
);

sub create_all ($url)
{
	my $made = 0;

	for my $table (sort keys %MODEL) {
		my ($there) = AIChat::Postgres::psql($url, "select relname
		    from pg_catalog.pg_class c join pg_catalog.pg_namespace n
		    on n.oid = c.relnamespace
		    where pg_catalog.pg_table_is_visible(c.oid)
		    and relname = '$table'");
		next if $there;
		AIChat::Postgres::psql($url, $MODEL{$table});
		$made++;
	}
	return $made;
}

sub orm_works ($t, $user, $title)
{
	my $ok = eval {
		$t->sql("insert into ai_chat_daily_limits (telegram_id,
		    request_count, last_reset_date) values ($user, 0, current_date)
		    returning id, created_at");
		$t->sql("update ai_chat_daily_limits set request_count = 1,
		    updated_at = now() where telegram_id = $user");
		$t->sql("insert into ai_chat_requests (telegram_id, user_id, message,
		    response, tokens_used, request_date) values ($user, null, 'm',
		    'r', 5, current_date) returning id, created_at");
		$t->sql("select id, telegram_id, user_id, message, response,
		    tokens_used, request_date, created_at from ai_chat_requests
		    where telegram_id = $user order by created_at desc");
		1;
	};
	ok $ok, $title or diag $@;
}

is create_all($s->db_url), 0, 'create_all() after us makes nothing';
orm_works($s, 61, '... and its sessions work');
is_served(61, '... and so do chats of its users');
is $s->ledger(61)->{count}, 2, '... with one count';
{
	my $t = AIChat::Test->new(migrate => 0, workers => 0);
	is create_all($t->db_url), 2, 'create_all() before us makes both tables';
	orm_works($t, 62, '... its sessions work');
	$t->stack->migrate;
	orm_works($t, 63, '... after the migration, too');
	is create_all($t->db_url), 0, '... and create_all() again makes nothing';
	$t->stack->start_workers(1);
	$t->stack->start_nginx;
	is $t->send(telegram_id => $_)->{status}, 200, '... and chats are served'
	    for 62, 63;
	is $t->post('/v1/chat/history', { telegram_id => 62 })->{json}{total}, 2,
	    '... and have their history';
}

# -- foreign code ------------------------------------------------------------

# A role that may create a schema creates one with the name of our role. It
# contains every name that our statements use, and operators that match better
# than those of the server. Any of this code leaves a trace when it runs.
admin("create role mallory login; grant create on database $DB to mallory");
ok as('mallory', 'create table pg_temp.t (n int);
    create schema ai_chat; grant usage on schema ai_chat to public;
    create table ai_chat.ran (who text); grant all on ai_chat.ran to public;
    create function ai_chat.tell() returns boolean language plpgsql as
	\'begin insert into ai_chat.ran values (current_user); return true; end\';
    create view ai_chat.users as select 1 as id, 1::bigint as telegram_id
	where ai_chat.tell();
    create function ai_chat.now() returns timestamptz language sql as
	\'insert into ai_chat.ran values (current_user);
	select pg_catalog.now()\';
    create function ai_chat.times(int, interval) returns interval language sql as
	\'insert into ai_chat.ran values (current_user);
	select $2 operator(pg_catalog.*) $1::float8\';
    create operator ai_chat.* (function = ai_chat.times, leftarg = int,
	rightarg = interval);
    create view ai_chat.ai_chat_requests as select * from ai_chat.users;
    create view ai_chat.ai_chat_daily_limits as select * from ai_chat.users;
    create view ai_chat.ai_chat_migrations as select 1 as version
	where ai_chat.tell();
    grant select on all tables in schema ai_chat to public'),
    'a role creates a schema with the name of our role';
admin("select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'ai-chat'");
$s->expect_log(qr/terminating connection/);
is_served(1, '... chats are served');
is $s->get('/health/ready')->{status}, 200, '... and ready';
is_served(71, '... a new user, too');
ok as('writer', sprintf $INSERT, 1), '... other roles can insert';
ok as('ai_chat', sprintf $INSERT, 1), '... and so can our role';
{
	my ($status, $text) = migrate();
	is $status, 0, '... migrations succeed' or diag $text;
}
is $s->ctl('check', '--json')->{json}{checks}[1]{ok}, JSON::PP::true(),
    '... ai-chatctl uses our tables';
is one('select count(*) from ai_chat.ran where who <> \'mallory\''), 0,
    '... and none of its code has run with other rights';

# The owner of the users table becomes hostile.
admin('alter table users owner to mallory; create table public.users_ran (who text);
    grant all on public.users_ran to public');
as('mallory', 'create function ai_chat.tell_users() returns boolean language plpgsql
	as \'begin insert into public.users_ran values (current_user);
	return true; end\';
    create policy p on public.users using (ai_chat.tell_users());
    alter table public.users enable row level security');
is_served(1, 'row security with a function of the owner on users');
is one('select count(*) from public.users_ran'), 0, '... which does not run';
as('mallory', 'drop policy p on public.users;
    alter table public.users disable row level security');

# Properties that its owner can give the table so that reading it runs the
# owner's code.
sub none_ran ($title)
{
	is one('select count(*) from public.users_ran where who <> \'mallory\''),
	    0, $title;
}

sub user_of ($user) { return $s->value("select user_id from public.ai_chat_requests
    where telegram_id = $user order by id desc limit 1") }

admin('grant create on schema public to mallory');
is_served(1, 'without row security');
is user_of(1), 1, '... users are read';
ok as('mallory', 'create type ai_chat.digit as enum (\'1\', \'2\');
    create function ai_chat.to_number(ai_chat.digit) returns bigint
	language plpgsql as \'begin insert into public.users_ran
	values (current_user); return 1; end\';
    create cast (ai_chat.digit as bigint)
	with function ai_chat.to_number(ai_chat.digit) as implicit;
    alter table public.users alter telegram_id type ai_chat.digit
	using telegram_id::text::ai_chat.digit'),
    'a column of users gets a type with a cast of its owner';
is_served(1, '... chats are served');
none_ran('... and the cast does not run');
ok as('mallory', 'alter table public.users alter telegram_id type bigint
	using telegram_id::text::bigint; drop type ai_chat.digit cascade;
    create function ai_chat.is_one(int) returns boolean language plpgsql
	immutable as \'begin return ai_chat.tell_users(); end\';
    create index users_hostile on public.users (id) where ai_chat.is_one(1)'),
    'an index on users gets a function of its owner';
is_served(1, '... chats are served');
none_ran('... and the function does not run');
as('mallory', 'drop index users_hostile');
is_served(1, 'without both');
is user_of(1), 1, '... users are read again';

# A role that may create in our own schema creates functions that match better
# than those of the server.
ok !as('mallory', 'create function public.cardinality(public.ai_chat_lease[])
    returns int language sql as \'select 0\''),
    'no other role may create functions with our type';
admin('grant usage on type ai_chat_lease to mallory');
ok as('mallory', join '; ', (map {
	my ($name, $args, $returns, $value) = @$_;
	"create function public.$name($args) returns $returns language plpgsql
	    as 'begin insert into public.users_ran values (current_user);
	    return $value; end'";
    } [ 'cardinality', 'public.ai_chat_lease[]', 'int',
	'array_length($1, 1)' ],
    [ 'array_remove', 'public.ai_chat_lease[], public.ai_chat_lease',
	'public.ai_chat_lease[]', '$1' ],
    [ 'same_lease', 'public.ai_chat_lease, public.ai_chat_lease', 'boolean',
	'true' ],
    [ 'same_leases', 'public.ai_chat_lease[], public.ai_chat_lease[]',
	'boolean', 'true' ],
    [ 'with_lease', 'public.ai_chat_lease[], public.ai_chat_lease',
	'public.ai_chat_lease[]', '$1' ],
    [ 'times', 'int, interval', 'interval',
	'$2 operator(pg_catalog.*) $1::float8' ],
    [ 'times', 'numeric, int', 'numeric',
	'$1 operator(pg_catalog.*) $2::numeric' ],
    [ 'same_table', 'oid, regclass', 'boolean',
	'$1 operator(pg_catalog.=) $2::oid' ],
    [ 'same_type', 'oid, regtype', 'boolean',
	'$1 operator(pg_catalog.=) $2::oid' ],
    [ 'joined', 'bigint, bigint', 'text', '\'\'\'\'' ],
    [ 'per', 'numeric, int', 'numeric', '$1' ],
    [ 'per', 'numeric, bigint', 'numeric', '$1' ],
    [ 'format', 'text, text', 'text', '$1' ],
    [ 'format', 'text, name, name', 'text', '$1' ],
    [ 'format', 'text, name, name, name', 'text', '$1' ],
    [ 'format', 'text, name, text', 'text', '$1' ],
    [ 'concat_ws', 'text, text, text, text', 'text', '$1' ],
    [ 'convert_to', 'text, text', 'bytea',
	'pg_catalog.convert_to($1, $2::name)' ],
    [ 'has_table_privilege', 'regclass, text', 'boolean', 'true' ],
    [ 'has_column_privilege', 'regclass, text, text', 'boolean', 'true' ]),
    (map {
	my ($name, $function, $left, $right) = @$_;
	"create operator public.$name (function = public.$function,
	    leftarg = $left, rightarg = $right)";
    } [ '=', 'same_lease', ('public.ai_chat_lease') x 2 ],
    [ '=', 'same_leases', ('public.ai_chat_lease[]') x 2 ],
    [ '||', 'with_lease', 'public.ai_chat_lease[]', 'public.ai_chat_lease' ],
    [ '*', 'times', 'int', 'interval' ], [ '*', 'times', 'numeric', 'int' ],
    [ '=', 'same_table', 'oid', 'regclass' ],
    [ '=', 'same_type', 'oid', 'regtype' ],
    [ '||', 'joined', 'bigint', 'bigint' ],
    [ '/', 'per', 'numeric', 'int' ], [ '/', 'per', 'numeric', 'bigint' ])),
    'a role creates better matching functions in our schema';
admin("select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'ai-chat'");
is_served($_, '... chats are served') for 1, 1, 72;
is $s->send(telegram_id => 1, headers => { 'Idempotency-Key' => 'k' })->{status},
    200, '... with a key, too' for 1, 2;
is $s->get('/v1/chat/stats/1')->{status}, 200, '... and statistics';
is $s->get('/v1/chat/limits/1')->{status}, 200, '... limits';
is $s->post('/v1/chat/reset-limit', { telegram_id => 1 })->{status}, 200,
    '... resets';
is $s->ctl('prune', '--older-than', 30)->{status}, 0, '... prunes';
{
	my ($status, $text) = migrate();
	is $status, 0, '... migrations succeed' or diag $text;
}
is_served(1, '... and chats after them');
none_ran('... and none of its code has run with other rights');
admin('alter table public.users rename to users_of_old');
as('mallory', 'create view public.users as select 1 as id, 1::bigint as telegram_id
    where ai_chat.tell_users(); grant all on public.users to public');
is_served(1, 'a view in place of users');
none_ran('... is not read');
{
	my ($status) = migrate();
	is $status, 0, '... a migration succeeds';
	none_ran('... and runs no code of the view');
}
admin('drop view public.users; alter table users_of_old rename to users;
    alter table users owner to postgres; drop schema ai_chat cascade;
    drop owned by mallory');

# -- missing users
# ---------------------------------------------------------------------

{
	my $t = AIChat::Test->new(migrate => 0, workers => 0);
	create_all($t->db_url);
	$t->sql('create table users (id serial primary key,
	    telegram_id bigint unique);
	    insert into users (telegram_id) values (1)');
	$t->sql('insert into ai_chat_requests (telegram_id, user_id, message,
	    response, request_date) values (9, 99, \'m\', \'r\', current_date)');
	for my $run ('first', 'second') {
		my ($status, $text) = program('ai-chat-migrate',
		    { DATABASE_URL => $t->db_url }, '--dir', "$TOP/sql");
		is $status, 0,
		    "a user_id that users does not have: the $run run";
		like $text, qr/NOTICE.*user_id that users does not have.*NOT VALID/s,
		    '... with a notice';
	}
	$t->stack->start_workers(1);
	$t->stack->start_nginx;
	is $t->send(telegram_id => 1)->{status}, 200, '... and chats are served';
	is $t->value('select user_id from ai_chat_requests
	    where telegram_id = 1'), 1, '... with their user';
	$t->sql('update ai_chat_requests set user_id = null where user_id = 99');
	my ($status, $text) = program('ai-chat-migrate',
	    { DATABASE_URL => $t->db_url }, '--dir', "$TOP/sql");
	is $text, '', 'when these rows are gone, there is no notice';
	is $t->value("select convalidated from pg_constraint
	    where conname = 'ai_chat_requests_user_id_fkey'"), 't',
	    '... and the foreign key is valid';
}

# -- tables of another role --------------------------------------------------

{
	my $t = AIChat::Test->new(migrate => 0, workers => 0);
	$pg = $t->stack->pg;
	$pg->admin('create role "Shop" login');
	$pg->admin("grant create on schema public to \"Shop\"", $t->{db});
	create_all($pg->url($t->{db}, 'Shop'));
	my @run = ('ai-chat-migrate', { DATABASE_URL => $t->db_url }, '--dir',
	    "$TOP/sql");
	my ($status, $text) = program(@run);
	is $status, 1, 'tables that belong to another role';
	like $text, qr/table\ ai_chat_daily_limits\ belongs\ to\ role\ "Shop".*
	    run\ ai-chat-migrate\ as\ "Shop",\ or\ GRANT\ "Shop"\ TO\ ai_chat/x,
	    '... the error names the owner and the missing grant';
	unlike $text, qr/must be owner/, '... before any statement fails';
	$pg->admin('grant "Shop" to ai_chat');
	($status, $text) = program(@run);
	is $status, 0,
	    '... and after the grant they are migrated' or diag $text;
	$pg->admin('revoke "Shop" from ai_chat');
	$pg->admin('grant select, insert, update, delete on ai_chat_requests,
	    ai_chat_daily_limits to ai_chat; grant select on ai_chat_migrations
	    to ai_chat; grant usage on all sequences in schema public to ai_chat',
	    $t->{db});
	$t->stack->start_workers(1);
	$t->stack->start_nginx;
	is $t->send(telegram_id => 1)->{status}, 200,
	    '... and the rights in the manual are enough for chats';
}

# -- another schema ----------------------------------------------------------

{
	my $t = AIChat::Test->new(migrate => 0, workers => 0);
	my $url = $t->db_url;
	$t->sql('create schema shop');
	$t->stack->settings->{DATABASE_URL} =
	    "$url&options=-c%20search_path%3Dshop";
	$t->stack->migrate;
	is $t->value("select to_regclass('shop.ai_chat_requests')"),
	    'shop.ai_chat_requests', 'the options of the URL choose a schema';
	is $t->value("select to_regclass('public.ai_chat_requests')"), undef,
	    '... and no other is used';
	$t->sql("alter role ai_chat in database $t->{db} set search_path = shop");
	my @run = ('ai-chat-migrate', { DATABASE_URL => $url }, '--dir',
	    "$TOP/sql");
	my ($status, $text) = program(@run);
	is $status, 1, 'tables that only the role\'s search_path finds';
	like $text, qr/in schema shop, not in public: set AI_CHAT_DB_SCHEMA=shop/,
	    '... are an error and not ignored';
	$run[1]{AI_CHAT_DB_SCHEMA} = 'shop';
	is +(program(@run))[0], 0, '... with the setting, they are found';
	$t->stack->settings->{DATABASE_URL} = $url;
	$t->stack->settings->{AI_CHAT_DB_SCHEMA} = 'shop';
	$t->stack->start_workers(1);
	$t->stack->start_nginx;
	is $t->send(telegram_id => 1)->{status}, 200, '... by the workers, too';
	is $t->value('select count(*) from shop.ai_chat_requests'), 1,
	    '... which store chats there';
	$t->sql("alter role ai_chat in database $t->{db} reset search_path");
}

done_testing;
