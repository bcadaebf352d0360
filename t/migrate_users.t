# A users table that belongs to another service: every migration looks for it,
# chats are linked to it where that is possible, and no chat fails because of
# it.

use v5.36;
use utf8;
use AIChat::Stack;
use AIChat::Test;

my $TOP = AIChat::Stack::top();

# All parts except the database start later, when a test needs them.
sub fresh ($sql = undef)
{
	my $s = AIChat::Test->new(migrate => 0, workers => 0, model => 0);
	$s->sql($sql) if $sql;
	return $s;
}

# The exit status and all output.
sub migrate ($s, @args)
{
	unshift @args, '--dir', "$TOP/sql" if !grep { $_ eq '--dir' } @args;
	return program('ai-chat-migrate', { DATABASE_URL => $s->db_url }, @args);
}

sub works ($s, $title)
{
	my ($status, $text) = migrate($s);
	is $status, 0, $title or diag $text;
}

# One answered chat, by real workers; returns the response.
sub chat ($s, $id)
{
	if (!$s->stack->nginx) {
		$s->stack->start_model;
		$s->stack->start_workers(1);
		$s->stack->start_nginx;
	}
	return $s->send(telegram_id => $id);
}

my $USERS = 'create table users (id serial primary key,
    telegram_id bigint unique, name text)';
my $FK = "select count(*) from pg_constraint where contype = 'f'
    and conrelid = 'ai_chat_requests'::regclass and convalidated";

sub user_of ($s, $id)
{
	return $s->value("select user_id from ai_chat_requests where
	    telegram_id = $id order by id desc limit 1");
}

# Inserts a row as a save does; returns its user.
sub keep ($s, $id)
{
	return $s->value("insert into ai_chat_requests (telegram_id, message,
	    response, request_date, chat_id)
	    values ($id, 'm', 'r', current_date, gen_random_uuid())
	    returning user_id");
}

{
	my $s = fresh();
	works($s, 'without a table of users');
	is $s->value($FK), 0, '... there is no foreign key';
	is chat($s, 7)->{status}, 200, '... and chats are stored';
	is user_of($s, 7), undef, '... without a user';

	$s->sql("$USERS; insert into users (telegram_id) values (7), (8)");
	works($s, 'when the table is created later, the next migration runs');
	is $s->value($FK), 1, '... makes the foreign key';
	is user_of($s, 7), undef, '... and earlier rows are unchanged';
	is chat($s, 7)->{status}, 200, '... a further chat is answered';
	is user_of($s, 7), 1, '... chats have their user';
	is chat($s, 8)->{status} && user_of($s, 8), 2,
	    '... each with its own user';
	is chat($s, 9)->{status}, 200,
	    '... a chat of somebody without a row in users is answered';
	is user_of($s, 9), undef, '... without a user';
	works($s, 'a further migration');
	is $s->value($FK), 1, '... makes no second one';

	$s->sql('delete from users where telegram_id = 7');
	is user_of($s, 7), undef, 'when a user is deleted, the chats remain';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id = 7'), 2, '... all of them';
	is chat($s, 7)->{status}, 200, '... and the user can chat again';
	ok !eval { $s->sql("insert into ai_chat_requests (telegram_id, user_id,
	    message, response, request_date)
	    values (1, 999, 'x', 'y', current_date)"); 1 },
	    'a user_id that does not exist is refused';
	$s->expect_log(qr/violates foreign key constraint/);
}
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5)");
	works($s, 'with a table of users from the beginning');
	is $s->value($FK), 1, '... the foreign key is made at once';
	is keep($s, 5), 1, '... and user_id is filled';
}
{
	my $s = fresh('create table users (id bigserial primary key,
	    telegram_id bigint unique);
	    insert into users values (3, 5), (2147483648, 6)');
	works($s, 'with users of bigint ids');
	is $s->value($FK), 1, '... the foreign key is made';
	is keep($s, 5), 3, '... and user_id is filled';
	is keep($s, 6), undef, '... except where the id is too large';
}
{
	my $s = fresh('create table users (id serial primary key, login text)');
	works($s, 'with users without telegram_id');
	is keep($s, 5), undef, '... chats are stored';
	$s->sql('alter table users add telegram_id bigint;
	    insert into users (telegram_id) values (5)');
	works($s, '... when the column is added later');
	is keep($s, 5), 1, '... user_id is filled';
}
for my $users ('create table users (id text primary key, telegram_id bigint)',
    'create table users (id int, telegram_id bigint)',
    'create view users as select 1 as id, 5::bigint as telegram_id',
    'create table users (id serial primary key, telegram_id text)') {
	my $s = fresh($users);
	works($s, "with another kind of users: $users");
	is keep($s, 5), undef, '... chats are stored';
}
{
	# The table of the bot, which our role may read, or not even that.
	for my $grant ('', 'select', 'select, references') {
		my $s = fresh();
		$s->stack->pg->admin("$USERS; insert into users (telegram_id)
		    values (5)" . ($grant ? "; grant $grant on users to ai_chat"
		    : ''), $s->{db});
		works($s, 'with users of somebody else, and '
		    . ($grant || 'no rights'));
		is keep($s, 5), $grant =~ /references/ ? 1 : undef,
		    '... chats are stored';
	}
}
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5)");
	works($s, 'with users');
	is keep($s, 5), 1, '... which are used';
	$s->sql('drop table users cascade');
	works($s, 'when the table is dropped');
	is keep($s, 5), undef, '... chats are stored';
	is $s->value('select count(*) from ai_chat_requests where user_id = 1'),
	    1, '... and earlier rows are unchanged';
}
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5)");
	$s->stack->pg->admin('alter table users owner to postgres;
	    grant select, references, update on users to ai_chat', $s->{db});
	works($s, 'with users of another role, and rights on them');
	is keep($s, 5), 1, '... which are used';
	$s->stack->pg->admin('revoke all on users from ai_chat', $s->{db});
	works($s, '... when the rights are revoked');
	is keep($s, 5), undef, '... chats are stored';
}

# An earlier version looked for users in the search_path of the role, and so
# could find them in another schema than its own tables.
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5);
	    create schema shop");
	my $url = $s->db_url;
	my $run = sub (%env) {
		return program('ai-chat-migrate', { DATABASE_URL => $url,
		    AI_CHAT_DB_SCHEMA => 'shop', %env }, '--dir', "$TOP/sql");
	};
	is +($run->(DATABASE_URL =>
	    "$url&options=-c%20search_path%3Dshop,public"))[0], 0,
	    'users in another schema than our tables';
	$s->sql("alter role ai_chat in database $s->{db}
	    set search_path = shop, public");
	is keep($s, 5), 1, '... are linked';
	my ($status, $text) = $run->();
	is $status, 0,
	    'the next run, which looks only in our schema' or diag $text;
	is $text, '', '... finds them by the foreign key';
	is keep($s, 5), 1, '... and they stay linked';
	is $s->value("select conrelid::regclass || ' ' || confrelid::regclass
	    from pg_constraint where contype = 'f'"), 'ai_chat_requests users',
	    '... by the same foreign key';
	$s->sql('alter table ai_chat_requests
	    drop constraint ai_chat_requests_user_id_fkey');
	($status, $text) = $run->();
	is $status, 0, 'without a foreign key';
	like $text, qr/NOTICE: +there is no table users in schema shop/,
	    '... a notice says that it does not find them';
	is keep($s, 5), undef, '... and chats are stored without their user';
	$s->sql("alter role ai_chat in database $s->{db} reset search_path");
}

done_testing;
