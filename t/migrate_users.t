# A users table that belongs to somebody else: looked for at every migration, used
# where that can be done, and never a reason to lose a chat.

use v5.36;
use utf8;
use AIChat::Stack;
use AIChat::Test;

my $TOP = AIChat::Stack::top();

# Everything but the database comes later, when it is needed.
sub fresh ($sql = undef)
{
	my $s = AIChat::Test->new(migrate => 0, workers => 0, model => 0);
	$s->sql($sql) if $sql;
	return $s;
}

# The exit status and all that it said.
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

# One answered chat, by real workers; the answer.
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

# A row as a save makes it; its user.
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
	is chat($s, 7)->{status}, 200, '... and chats are kept';
	is user_of($s, 7), undef, '... without a user';

	$s->sql("$USERS; insert into users (telegram_id) values (7), (8)");
	works($s, 'when it comes later, the next run');
	is $s->value($FK), 1, '... makes the foreign key';
	is user_of($s, 7), undef, '... what was kept before stays as it was';
	is chat($s, 7)->{status}, 200, '... and from then on';
	is user_of($s, 7), 1, '... chats have their user';
	is chat($s, 8)->{status} && user_of($s, 8), 2, '... each his own';
	is chat($s, 9)->{status}, 200, '... somebody who is no user chats';
	is user_of($s, 9), undef, '... with none';
	works($s, 'a further run');
	is $s->value($FK), 1, '... makes no second one';

	$s->sql('delete from users where telegram_id = 7');
	is user_of($s, 7), undef, 'a user who is deleted leaves his chats';
	is $s->value('select count(*) from ai_chat_requests
	    where telegram_id = 7'), 2, '... all of them';
	is chat($s, 7)->{status}, 200, '... and can go on';
	ok !eval { $s->sql("insert into ai_chat_requests (telegram_id, user_id,
	    message, response, request_date)
	    values (1, 999, 'x', 'y', current_date)"); 1 },
	    'a user that is not there is refused';
	$s->expect_log(qr/violates foreign key constraint/);
}
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5)");
	works($s, 'with users there before');
	is $s->value($FK), 1, '... the foreign key is made at once';
	is keep($s, 5), 1, '... and filled';
}
{
	my $s = fresh('create table users (id bigserial primary key,
	    telegram_id bigint unique);
	    insert into users values (3, 5), (2147483648, 6)');
	works($s, 'with users of bigint ids');
	is $s->value($FK), 1, '... the foreign key is made';
	is keep($s, 5), 3, '... and filled';
	is keep($s, 6), undef, '... where the number does not fit';
}
{
	my $s = fresh('create table users (id serial primary key, login text)');
	works($s, 'with users without telegram_id');
	is keep($s, 5), undef, '... chats are kept';
	$s->sql('alter table users add telegram_id bigint;
	    insert into users (telegram_id) values (5)');
	works($s, '... when it comes later');
	is keep($s, 5), 1, '... it is filled';
}
for my $users ('create table users (id text primary key, telegram_id bigint)',
    'create table users (id int, telegram_id bigint)',
    'create view users as select 1 as id, 5::bigint as telegram_id',
    'create table users (id serial primary key, telegram_id text)') {
	my $s = fresh($users);
	works($s, "with another kind of users: $users");
	is keep($s, 5), undef, '... chats are kept';
}
{
	# The bot's own, which we may look at, or not even that.
	for my $grant ('', 'select', 'select, references') {
		my $s = fresh();
		$s->stack->pg->admin("$USERS; insert into users (telegram_id)
		    values (5)" . ($grant ? "; grant $grant on users to ai_chat"
		    : ''), $s->{db});
		works($s, 'with users of somebody else, and '
		    . ($grant || 'no rights'));
		is keep($s, 5), $grant =~ /references/ ? 1 : undef,
		    '... chats are kept';
	}
}
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5)");
	works($s, 'with users');
	is keep($s, 5), 1, '... which are used';
	$s->sql('drop table users cascade');
	works($s, 'when they are gone');
	is keep($s, 5), undef, '... chats are kept';
	is $s->value('select count(*) from ai_chat_requests where user_id = 1'),
	    1, '... what was kept before stays as it was';
}
{
	my $s = fresh("$USERS; insert into users (telegram_id) values (5)");
	$s->stack->pg->admin('alter table users owner to postgres;
	    grant select, references, update on users to ai_chat', $s->{db});
	works($s, 'with users of somebody else, and rights');
	is keep($s, 5), 1, '... which are used';
	$s->stack->pg->admin('revoke all on users from ai_chat', $s->{db});
	works($s, '... when they are taken away');
	is keep($s, 5), undef, '... chats are kept';
}

# An earlier version looked for users in the search_path of the role, and so found them
# in another schema than its own tables.
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
	    'users in another schema than ours';
	$s->sql("alter role ai_chat in database $s->{db}
	    set search_path = shop, public");
	is keep($s, 5), 1, '... are linked';
	my ($status, $text) = $run->();
	is $status, 0, 'the next run, which looks in our schema alone' or diag $text;
	is $text, '', '... finds them by the foreign key';
	is keep($s, 5), 1, '... and they stay linked';
	is $s->value("select conrelid::regclass || ' ' || confrelid::regclass
	    from pg_constraint where contype = 'f'"), 'ai_chat_requests users',
	    '... by the same one';
	$s->sql('alter table ai_chat_requests
	    drop constraint ai_chat_requests_user_id_fkey');
	($status, $text) = $run->();
	is $status, 0, 'without a foreign key';
	like $text, qr/NOTICE: +there is no table users in schema shop/,
	    '... it says that it does not find them';
	is keep($s, 5), undef, '... and chats are kept without their user';
	$s->sql("alter role ai_chat in database $s->{db} reset search_path");
}

done_testing;
