# A refusal in Redis ends at midnight, not a second later.

use v5.36;
use utf8;
use AIChat::Test;

my $LIMIT = 2;
my $s = AIChat::Test->new(redis => 1, env => { AI_CHAT_DAILY_LIMIT => $LIMIT });

# The function now() of the workers is replaced, as in t/day_change.t.
$s->sql('create schema later;
    create table later.clock as select interval \'0\' as shift;
    create function later.now() returns timestamptz language sql stable
	as $$ select pg_catalog.now() + shift from later.clock $$');
$s->sql("alter database $s->{db} set search_path = later, pg_catalog, public");
$s->stack->settings->{DATABASE_URL} .=
    '&options=-c%20search_path%3Dlater,pg_catalog,public';
$s->restart_worker(1);
wait_for(sub { $s->get('/health/ready')->{json}{checks}{cache} eq 'ok' }, 15,
    'Redis');

sub until_tomorrow { return $s->value("select extract(epoch from
    date_trunc('day', now() + interval '1 day') - now())") }

# So that the remaining seconds are rounded up by nearly a whole second.
$s->sql("update later.clock set shift = date_trunc('day',
    pg_catalog.now() + interval '2 days') - interval '3.1 s' - pg_catalog.now()");
my $n = 0;
sub chat { return $s->send(telegram_id => 1, message => ++$n . ' [[text=да]]') }

is chat()->{status}, 200, 'a chat' for 1 .. $LIMIT;
is chat()->{status}, 429, 'the day is used up';
wait_for(sub { $s->redis_cli('keys', 'aic:*:used:1') || !chat() }, 10,
    'the refusal in Redis') if until_tomorrow() < 10;
wait_for(sub { until_tomorrow() > 10 }, 10, 'midnight');
is chat()->{status}, 200, 'a new day begins at midnight';
is $s->ledger(1)->{count}, 1, '... with its first chat';

done_testing;
