# What docs/migrating.md says to do is what works: its settings are ours, its list of paths is
# what the Server has, and its SQL takes over the tables of the service before us.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp);
use AIChat::Shop;
use AIChat::Stack;
use AIChat::Test;

my $TOP = AIChat::Stack::top();

sub text_of ($path)
{
	my $text = slurp("$TOP/$path");
	utf8::decode($text);
	return $text;
}

my $doc = text_of('docs/migrating.md');

# -- settings ------------------------------------------------------------------

{
	my %ours = map { $_ => 1 }
	    text_of('systemd/ai-chat.env') =~ /^#?([A-Z_]+)=/mg;
	my (@there, @here);
	for (grep { /`[A-Z_]+/ } $doc =~ /^\| (.*) \|$/mg) {
		my ($there, $here) = split /\s*\|\s*/;
		last if $there eq 'a blank message';
		push @there, $there =~ /`([A-Z_]+)/g;
		push @here, $here =~ /`([A-Z_]+)/g;
	}
	cmp_ok scalar @here, '>', 12, 'there are settings';
	is join(' ', grep { !$ours{$_} } @here), '', '... and all are ours';

	my ($names) = text_of('lib/conf.c') =~ /foreign\[\] = \{(.*?)\n\t\};/s;
	my %told = map { $_ => 1 } @there;
	is join(' ', grep { !$told{$_} && !/^OPENAI_(?:MAX_RETRIES|RETRY)_/ }
	    $names =~ /\{ "([A-Z_]+)"/g), '',
	    'each that is named at the start stands there';
}
{
	my ($paths) = text_of('docs/integration.md')
	    =~ /^    SERVER_CONTEXT_PATHS=(\S+)$/m;
	is $paths, AIChat::Shop::paths(), 'the paths of the Server are those it has';
}

# -- the database ----------------------------------------------------------------

{
	my $s = AIChat::Test->new(migrate => 0, workers => 0, own_pg => 1,
	    env => { AI_CHAT_TIMEZONE => 'UTC' });
	my $pg = $s->stack->pg;
	my $value = sub ($sql) { ($pg->admin($sql, $s->{db}))[0][0] };
	my @blocks = $doc =~ /^```sql\n(.*?)^```$/msg;
	is scalar @blocks, 2, 'there are two pieces of SQL';
	# The test's own cluster has a role of that name already.
	s/\bai_chat\b/mover/g for @blocks;

	# As the service before us makes them; a user has left since.
	$pg->admin($_, $s->{db}) for <<'END', @blocks;
CREATE TABLE users (id serial PRIMARY KEY, telegram_id bigint UNIQUE NOT NULL);
INSERT INTO users (telegram_id) VALUES (7), (8);
CREATE TABLE ai_chat_requests (id serial PRIMARY KEY, telegram_id bigint NOT NULL,
  user_id int, message text NOT NULL, response text NOT NULL, tokens_used int,
  request_date date NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE ai_chat_daily_limits (id serial PRIMARY KEY,
  telegram_id bigint UNIQUE NOT NULL, request_count int NOT NULL,
  last_reset_date date NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO ai_chat_requests (telegram_id, user_id, message, response, tokens_used,
  request_date) VALUES (7, 1, 'q', 'a', 5, current_date),
  (9, 99, 'left', 'a', 5, current_date);
INSERT INTO ai_chat_daily_limits (telegram_id, request_count, last_reset_date)
  VALUES (7, 30, (now() AT TIME ZONE 'UTC')::date);
END
	my $url = $s->db_url =~ s/\buser=\w+/user=mover/r;
	my ($status, $text) = program('ai-chat-migrate', { DATABASE_URL => $url },
	    '--dir', "$TOP/sql");
	is $status, 0, 'the role that it makes can migrate them' or diag $text;

	$s->stack->settings->{DATABASE_URL} = $url;
	$s->stack->start_workers(1);
	$s->stack->start_nginx;
	is $s->send(telegram_id => 7)->{status}, 429, '... 30 of 30 are still used';
	is $s->send(telegram_id => 8)->{status}, 200, '... others chat';
	is $s->post('/v1/chat/history', { telegram_id => 7 })->{json}{items}[0]
	    {message}, 'q', '... history stays';
	is $value->('select user_id from ai_chat_requests where telegram_id = 8'),
	    2, '... and users are found';

	# Going back: the service before us inserts as ever.
	$pg->admin($_, $s->{db}) for "INSERT INTO ai_chat_requests (telegram_id,
	    user_id, message, response, tokens_used, request_date)
	    VALUES (7, 1, 'back', 'a', 5, current_date)",
	    "UPDATE ai_chat_daily_limits SET request_count = request_count + 1,
	    updated_at = now() WHERE telegram_id = 8";
	is $value->('select count(*) from ai_chat_requests where telegram_id = 7'),
	    2, 'the service before us can go on with them';
}

done_testing;
