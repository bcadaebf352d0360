# Migrations: of an empty database, and of the tables of an earlier service;
# complete or not at all.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Test;
use File::Copy qw(copy);

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

sub columns ($s, $table)
{
	return { map { $_->[0] => [ @$_[1 .. 3] ] } $s->sql("select column_name,
	    data_type, is_nullable, coalesce(identity_generation, column_default)
	    from information_schema.columns where table_name = '$table'") };
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

# A directory of files: name => SQL, over copies of the real ones.
sub dir ($s, %files)
{
	state $n = 0;
	my $dir = $s->dir . '/sql-' . ++$n;
	mkdir $dir;
	copy($_, $dir) for glob "$TOP/sql/*.sql";
	for my $name (keys %files) {
		unlink "$dir/$name";
		spew("$dir/$name", $files{$name}) if defined $files{$name};
	}
	return $dir;
}

# The n-th number after those of the real files.
my $REAL = () = glob "$TOP/sql/[0-9]*.sql";
sub number ($n) { return sprintf '%04d', $REAL + $n }

# -- from nothing ------------------------------------------------------------

my $s = fresh();
{
	my ($status, $text) = migrate($s, '--status');
	is $status, 3, 'for an empty database all files are to do';
	like $text, qr/^to do 0001_create_tables\.sql$/m, '... and are listed';
	is $s->value("select to_regclass('ai_chat_migrations')"), undef,
	    '... --status writes nothing';
	($status, $text) = migrate($s);
	is $status, 0, 'it is migrated';
	like $text, qr/^applied 0001_create_tables\.sql$/m,
	    '... and the output says so';
	is $text =~ s/^applied \S+\.sql\n//gmr, '', '... and nothing else: no '
	    . 'notice of PostgreSQL that needs no action';
	($status, $text) = migrate($s, '--status');
	is $status, 0, 'afterwards nothing is to do';
	unlike $text, qr/to do/, '... and nothing is listed';
	my @rows = $s->sql('select * from ai_chat_migrations');
	($status, $text) = migrate($s);
	is $status, 0, 'a second run is no error';
	is $text, '', '... and prints nothing';
	is_deeply [ $s->sql('select * from ai_chat_migrations') ], \@rows,
	    '... and changes nothing';
}
{
	my $limits = columns($s, 'ai_chat_daily_limits');
	my $requests = columns($s, 'ai_chat_requests');
	my $time = 'timestamp with time zone';
	is_deeply $limits->{id}, [ 'bigint', 'NO', 'BY DEFAULT' ], 'id is bigint';
	is_deeply $requests->{id}, [ 'bigint', 'NO', 'BY DEFAULT' ],
	    '... in both tables';
	my @want = (
	    [ $limits, telegram_id => 'bigint', 'NO' ],
	    [ $limits, request_count => 'integer', undef, '0' ],
	    [ $limits, last_reset_date => 'date', 'NO' ],
	    [ $limits, created_at => $time ], [ $limits, updated_at => $time ],
	    [ $requests, telegram_id => 'bigint', 'NO' ],
	    [ $requests, user_id => 'integer', 'YES' ],
	    [ $requests, message => 'text', 'NO' ],
	    [ $requests, response => 'text', 'NO' ],
	    [ $requests, tokens_used => 'integer', undef, '0' ],
	    [ $requests, request_date => 'date', 'NO' ],
	    [ $requests, created_at => $time ]);
	for (@want) {
		my ($columns, $name, $type, $null, $default) = @$_;
		my $got = $columns->{$name};
		is $got->[0], $type, "$name is $type";
		is $got->[1], $null,
		    '... nullable as documented' if defined $null;
		is $got->[2], $default,
		    '... with this default' if defined $default;
	}
	$s->sql('insert into ai_chat_daily_limits (telegram_id, last_reset_date)
	    values (1, current_date)');
	ok !eval { $s->sql('insert into ai_chat_daily_limits
	    (telegram_id, last_reset_date) values (1, current_date)'); 1 },
	    'telegram_id is unique among the limits';
	$s->expect_log(qr/duplicate key value.*ai_chat_daily_limits/);
	is $s->value('select count(*) from ai_chat_daily_limits
	    where request_count = 0 and created_at is not null'), 1,
	    'a row of another writer gets the defaults';
}

# -- flags and failures ------------------------------------------------------

{
	my ($status, $text) = program('ai-chat-migrate', {}, '--help');
	is $status, 0, '--help';
	like $text, qr/--status/, '... mentions --status';
	($status, $text) = program('ai-chat-migrate', {}, '--version');
	is $text, "ai-chat-migrate 1.0.0\n", '--version';
	($status) = program('ai-chat-migrate', {}, $_), is $status, 2, "$_ is refused"
	    for '--nonsense', 'nonsense';
	($status, $text) = program('ai-chat-migrate', {});
	is $status, 2, 'without DATABASE_URL it does not start';
	like $text, qr/DATABASE_URL/, '... and names it';
	($status, $text) = migrate($s, '--dir', '/nowhere');
	is $status, 1, 'a directory that does not exist';
	like $text, qr{/nowhere}, '... is named';
	my $file = $s->dir . '/url';
	spew($file, $s->db_url . "\n");
	($status) = program('ai-chat-migrate', { DATABASE_URL_FILE => $file }, '--dir',
	    "$TOP/sql");
	is $status, 0, 'the address can come from a file';
}
for my $url ('canary', 'postgresql://u:canary%zz@h/d', 'postgresql://u:ca/nary@h/d',
    'postgresql://u:canary@[::1/db', 'postgresql://u:x@127.0.0.1:1/d?canary=x',
    'postgresql://u:canary@127.0.0.1:1/d') {
	my ($status, $text) = program('ai-chat-migrate', { DATABASE_URL => $url },
	    '--dir', "$TOP/sql");
	ok $status == 1 || $status == 2, "with $url it fails";
	like $text, qr/database|DATABASE_URL/,
	    '... with a message about the database';
	unlike $text, qr/nary|"ca"/, '... without a password';
}

# -- a URL of its own --------------------------------------------------------

{
	my $s = fresh();
	my $with = sub (%env) {
		return program('ai-chat-migrate', \%env, '--dir', "$TOP/sql",
		    '--status');
	};
	my ($status, $text) = $with->(AI_CHAT_MIGRATE_URL => $s->db_url,
	    DATABASE_URL => 'postgresql://u:canary@127.0.0.1:1/pooler');
	is $status, 3, 'AI_CHAT_MIGRATE_URL replaces DATABASE_URL';
	($status) = $with->(AI_CHAT_MIGRATE_URL => $s->db_url);
	is $status, 3, '... which can be missing then';
	spew($s->dir . '/url', $s->db_url . "\n", 0600);
	($status) = $with->(AI_CHAT_MIGRATE_URL_FILE => $s->dir . '/url');
	is $status, 3, '... and can come from a file';
	($status) = $with->(AI_CHAT_MIGRATE_URL => '',
	    DATABASE_URL => $s->db_url);
	is $status, 3, 'an empty one counts as not set';
	($status, $text) = $with->(DATABASE_URL => $s->db_url,
	    AI_CHAT_MIGRATE_URL => 'mysql://u:canary@h/d');
	is $status, 1, 'an invalid one';
	like $text, qr/AI_CHAT_MIGRATE_URL is not a connection string/,
	    '... is named';
	unlike $text, qr/canary/, '... and not quoted';
	($status, $text) = $with->();
	is $status, 2, 'neither of them';
	like $text, qr/DATABASE_URL is not set/, '... names DATABASE_URL';
}

# -- invalid files
# -----------------------------------------------------------------

{
	my ($first, $second) = (number(1), number(2));
	my $gap = dir($s, "${second}_more.sql" => 'select 1');
	my ($status, $text) = migrate($s, '--dir', $gap);
	is $status, 1, 'a gap in the numbers is refused';
	like $text, qr/${second}_more\.sql.*gap/, '... and named';
	($status) = migrate($s, '--dir', dir($s,
	    '0001_create_tables.sql' => undef));
	is $status, 1, 'so is a directory without the first';
	($status) = migrate($s, '--dir', dir($s, '0001_other.sql' => 'select 1'));
	is $status, 1, 'so are two of one number';
	my $changed = dir($s, '0001_create_tables.sql' =>
	    slurp("$TOP/sql/0001_create_tables.sql") . "\n");
	for my $args ([], [ '--status' ]) {
		($status, $text) = migrate($s, '--dir', $changed, @$args);
		is $status, 1, "a changed file is refused @$args";
		like $text, qr/0001_create_tables\.sql.*changed/, '... and named';
	}

	my $bad = dir($s, "${first}_bad.sql" => 'create table half (x int); '
	    . 'insert into ai_chat_daily_limits (telegram_id, last_reset_date) '
	    . 'values (77, current_date); select nonsense;',
	    "${second}_after.sql" => 'create table after_it (x int)');
	$s->expect_log(qr/column "nonsense" does not exist/);
	($status, $text) = migrate($s, '--dir', $bad);
	is $status, 1, 'a file that fails';
	like $text, qr/${first}_bad\.sql.*nonsense/, '... is named, with the reason';
	is $s->value("select to_regclass('half')"), undef, '... leaves no table';
	is $s->value('select count(*) from ai_chat_daily_limits
	    where telegram_id = 77'), 0, '... and no row';
	is $s->value("select to_regclass('after_it')"), undef,
	    '... the next file is not run';
	is $s->value('select count(*) from ai_chat_migrations'), $REAL,
	    '... and not recorded';
	($status, $text) = migrate($s, '--dir', $bad, '--status');
	is $status, 3, '... and both are still to do';
	spew("$bad/${first}_bad.sql", 'create table half (x int)');
	($status, $text) = migrate($s, '--dir', $bad);
	is $status, 0, 'when the file is corrected, the run succeeds';
	is $text, "applied ${first}_bad.sql\napplied ${second}_after.sql\n",
	    '... both are run, in order';
	works($s, 'a directory with fewer files than the database has');
}

# -- a worker that is newer than the schema
# ----------------------------------------

{
	my $s = fresh();
	my $old = dir($s, map { (s{.*/}{}r => undef) } grep { !/0001_/ }
	    glob "$TOP/sql/0*.sql");
	my ($status, $text) = migrate($s, '--dir', $old);
	is $status, 0,
	    'a database with the first version of the schema' or diag $text;
	$s->expect_log(qr/code=EDB.*context_seq/,
	    qr/column l.context_seq does not exist/);
	is chat($s, 1)->{status}, 503,
	    '... and a newer worker: a chat gets a 503';
	is $s->model_count, 0, '... without a call of the model';
	is $s->ready_with(503)->{status}, 503, '... it is not ready';
	works($s, 'migrated');
	is chat($s, 1)->{status}, 200,
	    '... chats are answered, without a restart';
}

# -- several at once ---------------------------------------------------------

{
	my $s = fresh();
	my @got = $s->parallel(4, sub { join '|', migrate($s) });
	is join(' ', map { /^(\d+)/ } @got), '0 0 0 0', 'four at once all succeed';
	is scalar(grep { /applied 0001/ } @got), 1,
	    '... and one of them applies the files';
}

# -- an earlier service's tables ---------------------------------------------

{
	my $s = fresh("
		create table ai_chat_daily_limits (id serial primary key,
		    telegram_id bigint unique not null,
		    request_count int default 0, last_reset_date date not null,
		    created_at timestamptz, updated_at timestamptz);
		create table ai_chat_requests (id serial primary key,
		    telegram_id bigint not null, user_id int,
		    message text not null, response text not null,
		    tokens_used int default 0, request_date date not null,
		    created_at timestamptz);
		insert into ai_chat_daily_limits (telegram_id, request_count,
		    last_reset_date) values (1, 29, current_date),
		    (2, null, current_date - 1);
		insert into ai_chat_requests (telegram_id, message, response,
		    tokens_used, request_date, created_at) values
		    (1, 'old one', 'a', 5, current_date, now() - interval '1 h'),
		    (1, 'old two', 'b', null, current_date, now()),
		    (1, 'old of no time', 'c', 0, current_date - 400, null)");
	works($s, 'tables of an earlier service are migrated');
	works($s, '... and a second run is no error');
	is_deeply [ $s->sql('select id, telegram_id, message, response,
	    tokens_used from ai_chat_requests order by id') ],
	    [ [ 1, 1, 'old one', 'a', 5 ], [ 2, 1, 'old two', 'b', undef ],
	    [ 3, 1, 'old of no time', 'c', 0 ] ], '... with their rows';
	is $s->value('select request_count from ai_chat_daily_limits
	    where telegram_id = 1'), 29, '... and counters';
	is columns($s, $_)->{id}[0], 'bigint', "$_ outlives 2^31 rows"
	    for qw(ai_chat_requests ai_chat_daily_limits);
	$s->sql("select setval(pg_get_serial_sequence('ai_chat_requests', 'id'),
	    2147483647), setval(pg_get_serial_sequence(
	    'ai_chat_daily_limits', 'id'), 2147483647)");
	is chat($s, 1)->{json}{remaining_requests}, 0, 'the chat after that is the '
	    . '30th of the day';
	is chat($s, 2)->{status}, 200, '... a null counter is 0';
	is chat($s, 3)->{status}, 200, '... and a new user chats';
	is $s->value('select max(id) > 2147483647 from ai_chat_requests'), 't',
	    '... under a number over 2^31';
	my @items = @{ $s->post('/v1/chat/history', { telegram_id => 1 })
	    ->{json}{items} };
	is_deeply [ map { $_->{message} } @items[1 .. 3] ], [ 'old two',
	    'old one', 'old of no time' ], 'history shows old and new';
	is scalar(grep { $_->{created_at} !~ /^\d{4}-\d\d-\d\dT.*\+00:00$/ }
	    @items), 0, '... each with its time';
	is $s->get('/v1/chat/stats/1?days=1')->{json}{total_requests}, 3,
	    '... and so do statistics';
}
{
	my $s = fresh('
		create table ai_chat_requests (id serial primary key,
		    telegram_id bigint not null, user_id int,
		    message text not null, response text not null,
		    tokens_used int default 0, request_date date not null,
		    created_at timestamptz default now());
		create view report as select id from ai_chat_requests');
	my ($status, $text) = migrate($s);
	is $status, 0, 'where a view uses the id';
	like $text, qr/32 bits/,
	    '... the id keeps its type, and a notice says so';
	is chat($s, 1)->{status}, 200, '... and chats are stored';
}

done_testing;
