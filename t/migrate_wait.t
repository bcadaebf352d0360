# A machine that boots faster than its database.

use v5.36;
use AIChat::Proc qw(slurp base_env);
use AIChat::Stack;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 0, nginx => 0, model => 0, own_pg => 1,
    migrate => 0);
my $pg = $s->stack->pg;
my $log = $s->dir . '/log/waiting.log';
my %env = (base_env(), DATABASE_URL => $s->stack->settings->{DATABASE_URL});

sub start_migrate (@args)
{
	return AIChat::Proc->start(name => 'ai-chat-migrate', log => $log,
	    env => \%env, cmd => [ AIChat::Stack::find_build()
	    . '/ai-chat-migrate', '--dir', AIChat::Stack::top() . '/sql',
	    @args ]);
}

$pg->stop;
is((program('ai-chat-migrate', \%env))[0], 1,
    'without --wait a database that is down is a failure');
my $waits = start_migrate('--wait');
wait_for(sub { -e $log && slurp($log) =~ /waiting for it/ }, 10,
    'the log line');
ok $waits->alive, '... with --wait the migration waits for it';
$pg->start;
wait_for(sub { !$waits->alive }, 20, 'the migration to end');
is $waits->status, 0, '... and runs when the database is up';
cmp_ok $s->value('select count(*) from ai_chat_migrations'), '>=', 3,
    '... with all files';

$s->expect_log(qr{role "nobody_at_all" does not exist});
$env{DATABASE_URL} =~ s/user=\w+/user=nobody_at_all/;
my $refused = start_migrate('--wait');
wait_for(sub { !$refused->alive }, 20, 'the migration to end');
is $refused->status >> 8, 1,
    'for a database that refuses the connection it does not wait';

done_testing;
