# The instructions in docs/migrating.md work: its settings exist, its paths are
# those of the seller-data API, and its SQL takes over the tables of the earlier
# service.

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

# -- settings ----------------------------------------------------------------

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
	cmp_ok scalar @here, '>', 12, 'the table has settings';
	is join(' ', grep { !$ours{$_} } @here), '', '... and all exist';

	my ($names) = text_of('lib/conf_hints.c') =~ /foreign\[\] = \{(.*?)\n\};/s;
	my %told = map { $_ => 1 } @there;
	is join(' ', grep { !$told{$_} && !/^OPENAI_(?:MAX_RETRIES|RETRY)_/ }
	    $names =~ /\{ "([A-Z_]+)"/g), '',
	    'each setting that is reported at the start is in the table';
}
{
	my ($paths) = text_of('docs/integration.md')
	    =~ /^    SERVER_CONTEXT_PATHS=(\S+)$/m;
	is $paths, AIChat::Shop::paths(),
	    'the paths are those of the seller-data API';
}

# -- the database ------------------------------------------------------------

{
	my $s = AIChat::Test->new(migrate => 0, workers => 0, own_pg => 1,
	    env => { AI_CHAT_TIMEZONE => 'UTC' });
	my $pg = $s->stack->pg;
	my $value = sub ($sql) { ($pg->admin($sql, $s->{db}))[0][0] };
	my @blocks = $doc =~ /^```sql\n(.*?)^```$/msg;
	is scalar @blocks, 2, 'there are two pieces of SQL';
	# The cluster of the test has a role of that name already.
	s/\bai_chat\b/mover/g for @blocks;

	# As the earlier service creates them; one user has been deleted since.
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
	is $s->send(telegram_id => 7)->{status}, 429,
	    '... a used-up day is still used up';
	is $s->send(telegram_id => 8)->{status}, 200,
	    '... other users can chat';
	is $s->post('/v1/chat/history', { telegram_id => 7 })->{json}{items}[0]
	    {message}, 'q', '... the history is kept';
	is $value->('select user_id from ai_chat_requests where telegram_id = 8'),
	    2, '... and chats are linked to users';

	# Going back: the earlier service inserts as before.
	$pg->admin($_, $s->{db}) for "INSERT INTO ai_chat_requests (telegram_id,
	    user_id, message, response, tokens_used, request_date)
	    VALUES (7, 1, 'back', 'a', 5, current_date)",
	    "UPDATE ai_chat_daily_limits SET request_count = request_count + 1,
	    updated_at = now() WHERE telegram_id = 8";
	is $value->('select count(*) from ai_chat_requests where telegram_id = 7'),
	    2, 'the earlier service can use the tables again';
}

done_testing;
