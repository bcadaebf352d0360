# The query that loads the context reads by its index, and reads few pages
# however many rows there are.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Stack;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 0, model => 0);
my $TOP = AIChat::Stack::top();

# The query as it is in the code, with its string literals joined.
my ($pieces) = slurp("$TOP/lib/context.c") =~ /"context",\n((?:\s*".*",?\n)+)/;
my $query = join '', $pieces =~ /"(.*?)"/g;
like $query, qr/^SELECT .*LIMIT \$2/, 'the code has the query';

sub explained ($options, $id)
{
	return join "\n", map { $_->[0] } $s->sql("
	    set plan_cache_mode = force_generic_plan;
	    prepare context as $query;
	    explain ($options, costs off) execute context($id, 5)");
}

sub is_by_index ($title, $id)
{
	my $plan = explained('analyze off', $id);
	like $plan, qr/Index Scan Backward using ai_chat_requests_user_time_idx/,
	    $title;
	unlike $plan, qr/Sort|Seq Scan|Bitmap/, '... and nothing else'
	    or diag $plan;
	explained('analyze, buffers', $id);	# warms the buffer cache
	my ($pages) = explained('analyze, buffers', $id) =~ /shared hit=(\d+)/;
	cmp_ok $pages // 'unknown', '<=', 20, '... which reads few pages';
}

# Fills the table with rows of many users.  User 5 has every other row.
sub fill ($rows, $users)
{
	$s->sql("truncate ai_chat_requests");
	$s->sql("insert into ai_chat_requests (telegram_id, message, response,
	    request_date, created_at)
	    select case when g % 2 = 0 then 5 else g % $users + 10 end,
	    'm', 'r', current_date, now() - g * interval '1 s'
	    from generate_series(1, $rows) g");
	$s->sql('vacuum analyze ai_chat_requests');
}

is_by_index('a new table is read by its index', 5);
for ([ 1000, 10 ], [ 200_000, 20_000 ]) {
	my ($rows, $users) = @$_;
	fill($rows, $users);
	is_by_index("so is a table of $rows rows, for a user with "
	    . $s->value("select count(*)
	    from ai_chat_requests where telegram_id = $_") . ' of them', $_)
	    for 5, 11, 4;
}

done_testing;
