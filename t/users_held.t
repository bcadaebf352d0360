# The users table belongs to another service: whatever that service does with
# it, an answered chat is saved.

use v5.36;
use utf8;
use AIChat::Test;

my $s = AIChat::Test->new(env => { AI_CHAT_DB_TIMEOUT_MS => 1000 });

$s->sql('create table users (id serial primary key,
    telegram_id bigint unique)');
$s->sql('insert into users (telegram_id) values (7), (8)');
$s->stack->migrate;

sub link_of ($user)
{
	my ($row) = $s->sql("select count(*), max(user_id)
	    from ai_chat_requests where telegram_id = $user");
	return $row;
}

is $s->send(telegram_id => 7)->{status}, 200, 'a chat of a known user';
is_deeply link_of(7), [ 1, 1 ], '... is linked to that user';

open my $psql, '|-', 'psql', '-XAtq', '-d', $s->db_url
    or die "could not run psql: $!\n";
print $psql "set application_name = 'holder'; begin;
    select from users where telegram_id = 8 for update;\n";
$psql->flush;
sub holder ($where = 'true')
{
	return scalar $s->stack->pg->admin("select 1 from pg_stat_activity
	    where application_name = 'holder' and datname = '$s->{db}'
	    and $where");
}
wait_for(sub {
	holder("state = 'idle in transaction' and query like '%update%'");
}, 10, 'the lock');
is $s->send(telegram_id => 8)->{status}, 200,
    'a chat of a user whose row is locked';
is_deeply link_of(8), [ 1, undef ], '... is saved without the link';
close $psql;
# The server releases the lock a moment after its client has disconnected.
wait_for(sub { !holder() }, 10, 'the lock to be gone');
is $s->send(telegram_id => 8)->{status}, 200,
    '... and when the lock is released';
is_deeply link_of(8), [ 2, 2 ], '... with the link';

$s->sql('alter table users rename telegram_id to tg');
is $s->send(telegram_id => 7)->{status}, 200, 'a renamed column';
is_deeply link_of(7), [ 2, 1 ], '... costs only the link';
$s->sql('drop table users cascade');
is $s->send(telegram_id => 7)->{status}, 200, 'a dropped table';
is_deeply link_of(7), [ 3, 1 ], '... costs only the link, too';
done_testing;
