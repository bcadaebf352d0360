# The commands of docs/install.md that create roles and databases work, also
# without the rights of a superuser, which a managed PostgreSQL does not give.
# README.Debian has the same commands; debian/tests runs them.

use v5.36;
use utf8;
use AIChat::Postgres;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use AIChat::Test;

my $TOP = AIChat::Stack::top();
my $install = slurp("$TOP/docs/install.md");

# The commands in a text, each on one line, without prompts.
sub commands ($text, $indent)
{
	my $code = join '', map { s/^ {$indent}//r }
	    grep { /^ {$indent}\S|^ {@{[ $indent + 1 ]},}/ } split /^/, $text;
	return $code =~ s/^# //gmr =~ s/\s+/ /gr;
}

# -- README.Debian -----------------------------------------------------------

{
	my $readme = commands(slurp("$TOP/debian/README.Debian"), 6);
	my $all = commands($install, 4);
	my ($database, $rest) = $readme
	    =~ /^apt install postgresql (password=.*?ai_chat") (install -m 600 .*) $/
	    or die "no commands in README.Debian: $readme\n";
	ok index($all, $database) >= 0,
	    'README.Debian creates role and database like install.md'
	    or diag "$database\n$all";
	for my $command ('/credentials/openai_api_key', 'systemctl enable --now',
	    'sites-enabled/', 'ai-chatctl check') {
		ok index($rest, $command) >= 0 && index($all, $command) >= 0,
		    "... and both have $command";
	}
}

# -- managed PostgreSQL ------------------------------------------------------

my $s = AIChat::Test->new(migrate => 0, workers => 0, model => 0, nginx => 0);
my $pg = $s->stack->pg;
my ($section) = $install =~ /^## Managed PostgreSQL\n(.*?)^## /ms
    or die "no section on managed PostgreSQL\n";
my ($own, $schema) = map { [ /^ {4}([A-Z].*;)$/mg ] }
    $section =~ /^((?: {4}[A-Z].*;\n)+)/mg;
my ($admin, $role, $db) = map { "${_}_$$" } qw(install_admin install_role install_db);

# Runs the statements as the administrator, one after another as psql does.
sub as_admin ($in, @statements)
{
	for (@statements) {
		my $sql = s/\bDATABASE ai_chat\b/DATABASE $db/r
		    =~ s/\bai_chat\b/$role/gr;
		AIChat::Postgres::psql($pg->url($in, $admin), $sql);
	}
}

sub migrate (%env)
{
	return AIChat::Test::program('ai-chat-migrate',
	    { DATABASE_URL => $pg->url($db, $role), %env }, '--dir', "$TOP/sql");
}

# What the role made.
sub tables
{
	return join ' ', map { $_->[0] } $pg->admin("select schemaname from
	    pg_tables where tablename = 'ai_chat_requests' and
	    tableowner = '$role'", $db);
}

$pg->admin("create role $admin login createrole createdb");
is scalar @$own, 3, 'install.md creates a role and a database';
ok eval { as_admin('postgres', @$own); 1 },
    '... also by an administrator that is no superuser' or diag $@;
is_deeply [ $pg->admin("select pg_encoding_to_char(encoding) from pg_database
    where datname = '$db'") ], [ ['UTF8'] ], '... in UTF-8';
{
	my ($status, $text) = migrate();
	is $status, 0, '... which the service migrates' or diag $text;
	is tables(), 'public', '... in the schema public';
}

# The same role, in a database of somebody else.
$pg->drop_database($db);
$pg->admin("create database $db owner $admin");
{
	my ($status, $text) = migrate();
	is $status, 1, 'in the database of another role it cannot create tables';
	is scalar @$schema, 2, '... install.md creates a schema';
	ok eval { as_admin($db, @$schema); 1 }, '... by the administrator'
	    or diag $@;
	($status, $text) = migrate(AI_CHAT_DB_SCHEMA => $role);
	is $status, 0, '... which the service migrates' or diag $text;
	is tables(), $role, '... with the setting of install.md';
}
$pg->drop_database($db);
$pg->admin("drop role $role");
$pg->admin("drop role $admin");

done_testing;
