# Every statement of a chat and of the other endpoints concerns one user and
# says so: each use of our two tables compares telegram_id with a parameter. So
# the users can be divided between databases (docs/scaling.md).

use v5.36;
use AIChat::Proc qw(run);
use AIChat::Stack;
use Test::More;

my $TOP = AIChat::Stack::top();
my $TABLES = qr/\bai_chat_(?:daily_limits|requests)\b/;

# The statements that do not, and why they need not.
my %EXCEPTION = (
	prune_exchanges => 'walks a whole table, in each shard separately',
	prune_users => 'the same',
	usage_mark => 'finds the newest exchange, for the sums of an operator',
	usage_step => 'reads new exchanges in the order of their ids, for these sums',
	stats_all => 'sums all up, for an operator; a sum of each shard\'s sums',
);

# The statements of a source by name, as the compiler sees them: with macros
# expanded and pieces joined.
sub statements ($file)
{
	my $text = run([ 'sh', '-c', 'cc -E -P -std=c11 -D_GNU_SOURCE'
	    . ' -I"$1" -I"$2" $(pkg-config --cflags libpq json-c'
	    . ' libcurl libcrypto hiredis) "$3"', 'sh', AIChat::Stack::find_build(),
	    $TOP, $file ]);
	my $string = qr/(?:"(?:\\.|[^"\\])*"\s*)+/;
	my %sql;

	while ($text =~ /struct\s+aic_db_stmt\s+\w+\s*=\s*\{\s*($string),
	    \s*($string),/gx) {
		my ($name, $sql) = map { join '', /"((?:\\.|[^"\\])*)"/g } $1, $2;
		$sql{$name} = $sql =~ s/\\(.)/$1/gr;
	}
	return %sql;
}

# The levels of a statement: the text between each pair of parentheses, without
# that of inner pairs.
sub levels ($sql)
{
	my @levels;

	$sql =~ s/'(?:[^']|'')*'/''/g;
	while ($sql =~ s/\(([^()]*)\)/ # /) {
		push @levels, $1;
	}
	return (@levels, $sql);
}

# The levels that use a table of ours and name no user.
sub unkeyed ($sql)
{
	my @rows = $sql =~ /INSERT INTO $TABLES(?: AS \w+)? \(telegram_id\b/g;
	my @levels = grep { /$TABLES/ } levels($sql);
	my @bad;

	for (@levels) {
		my $uses = () = /$TABLES/g;
		my $keys = () = /\btelegram_id = \$\d\b/g;
		# The columns of an insert are a level of their own; the first
		# value is the user.
		$keys++ if /INSERT INTO/ && shift @rows
		    && /SELECT \$1::bigint/;
		push @bad, $_ if $keys < $uses;
	}
	return @bad;
}

# A test of this check.
is scalar(unkeyed('SELECT 1 FROM ai_chat_requests WHERE telegram_id = $1')), 0,
    'a statement with a user is recognized';
is scalar(unkeyed('SELECT 1 FROM ai_chat_requests WHERE id = $1')), 1,
    '... and one without';
is scalar(unkeyed('SELECT 1 FROM ai_chat_requests r WHERE r.telegram_id = $1'
    . ' AND EXISTS (SELECT FROM ai_chat_daily_limits l WHERE l.id = r.id)')), 1,
    '... inside another one, too';
is scalar(unkeyed('INSERT INTO ai_chat_requests (id, telegram_id)'
    . ' SELECT $1::bigint, 1')), 1, '... and an insert that begins otherwise';

my %sql = map { statements($_) } sort glob "$TOP/lib/*.c $TOP/app/worker/worker.c";
cmp_ok scalar keys %sql, '>=', 18, 'the statements are found';
ok $sql{$_}, "... $_ among them" for qw(reserve reserve_key save save_lazy release context
    repeat history stats forget_rest);
like $sql{reserve_key}, qr/chat_id BETWEEN \(left\(/, '... whole';

for my $name (sort keys %sql) {
	next if $sql{$name} !~ $TABLES || $EXCEPTION{$name};
	is join("\n", unkeyed($sql{$name})), '', "$name concerns one user";
}
for my $name (sort keys %EXCEPTION) {
	ok $sql{$name} && unkeyed($sql{$name}),
	    "$name does not: $EXCEPTION{$name}";
}

done_testing;
