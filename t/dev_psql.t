# ./dev psql connects to the database of any connection string, and passes no
# password in arguments, which any user of the machine could list.

use v5.36;
use utf8;
use AIChat::Postgres;
use AIChat::Proc qw(slurp spew);
use AIChat::Test;

my $s = AIChat::Test->new(workers => 0, model => 0);
my $top = AIChat::Stack::top();
my $password = 'canary-word';
my ($db, $host, $user) = $s->db_url
    =~ m{///(\w+)\?host=([^&]+)&user=(\w+)} or die $s->db_url;

# A wrapper that records its arguments and runs the real psql.
my $bin = $s->dir . '/bin';
mkdir $bin;
spew("$bin/psql", <<'END');
#!/bin/sh
tr '\0' ' ' </proc/$$/cmdline >"$SEEN"
exec /usr/bin/psql "$@"
END
chmod 0755, "$bin/psql";

my @forms = (
	"postgresql://$user:$password\@/$db?host=$host",
	"postgresql:///$db?host=$host&user=$user&password=$password",
	"postgres://:$password\@/$db?user=$user&host=" . $host =~ s{/}{%2F}gr,
	"postgresql://$user:$password\@" . $host =~ s{/}{%2F}gr . "/$db",
	"host=$host dbname = $db user='$user' password='$password'",
	"dbname=$db user=$user password=$password host='$host'",
);
for my $url (@forms) {
	local $ENV{PATH} = "$bin:$ENV{PATH}";
	local $ENV{SEEN} = $s->dir . '/seen';
	local $ENV{DATABASE_URL} = $url;
	my $said = AIChat::Proc::run([ "$top/dev", 'psql', '-XAtc',
	    'select current_database()' ], env => { %ENV });
	my $shown = $url =~ s/\Q$host\E/DIR/r =~ s/\Q$db\E/DB/r;
	is $said, "$db\n", "$shown: reaches the database";
	unlike slurp($ENV{SEEN}), qr/\Q$password\E/,
	    '... without a password in the arguments';
}

is_deeply { AIChat::Postgres::settings_of(
	'postgresql://a%40b:p%3Aw@one:5433,[::1]:5434,two/x%20y?sslmode=require') },
    { user => 'a@b', password => 'p:w', host => 'one,::1,two', port => '5433,5434,',
	dbname => 'x y', sslmode => 'require' },
	    'several hosts and escaped characters';

done_testing;
