# The units at work: a systemd of our own starts, watches and stops the workers.
# AIChat::Systemd lists what a user manager cannot do; t/systemd.t checks the
# complete units.

use v5.36;
use utf8;
use AIChat::FastCGI;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Systemd;
use AIChat::Test;
use Time::HiRes qw(time);

if (my $why = AIChat::Systemd::missing()) {
	plan skip_all => $why;
}

my $s = AIChat::Test->new(workers => 0, migrate => 0, nginx => 0, env => {
	AI_CHAT_DEADLINE_MS => 5000,
	AI_CHAT_DB_TIMEOUT_MS => 1000,
});
my %settings = (%{ $s->stack->settings },
    AI_CHAT_PROMPT_FILE => AIChat::Stack::top() . '/app/worker/prompt.txt');
my $d = AIChat::Systemd->start(dir => $s->dir . '/sd',
    build => AIChat::Stack::find_build(), settings => \%settings);
my @w = map { "ai-chat-worker\@$_.service" } 0 .. 3;

sub answers ($n)
{
	my ($status) = AIChat::FastCGI::request($d->socket($n),
	    { DOCUMENT_URI => '/health', X_REQUEST_ID => 'sd' });
	return ($status // 0) == 200;
}

sub active ($unit) { return $d->show($unit, 'ActiveState') eq 'active' }

# -- start -------------------------------------------------------------------

mkdir "$d->{dir}/units/ai-chat.target.wants";
symlink "../ai-chat-worker\@.service",
    "$d->{dir}/units/ai-chat.target.wants/$w[$_]" for 1, 2;
$d->ctl('daemon-reload');
$d->ctl('start', 'ai-chat.target');
ok active($w[$_]), "the target starts worker $_" for 1, 2;
ok answers($_), '... which answers as soon as it is active' for 1, 2;
ok active('ai-chat-migrate.service'), 'before it, the database was migrated';
cmp_ok $s->value('select count(*) from ai_chat_migrations'), '>=', 3,
    '... by its unit';
is $d->show($w[1], 'Type'), 'notify', '... which became active by READY=1';
is $d->show($w[1], 'NRestarts'), 0, '... at the first attempt';
is sprintf('%04o', 07777 & (stat $d->socket(1))[2]), '0660',
    'only the group may use the socket';
is sprintf('%04o', 07777 & (stat "$d->{dir}/run/ai-chat")[2]), '0750',
    '... in a directory of its own';
{
	my $pid = $d->pid($w[1]);
	my $status = slurp("/proc/$pid/status");
	like $status, qr/^NoNewPrivs:\s+1$/m,
	    'the worker can get no new privileges';
	like $status, qr/^Seccomp:\s+2$/m,
	    '... and has a filter of system calls';
	like slurp("/proc/$pid/limits"), qr/^Max core file size\s+0\s+0/m,
	    '... and writes no core';
}

# A worker that is not ready is not active: a database that is down does not
# prevent that, a stopped process does.
{
	$d->drop_in('ai-chat-worker@3.service', 'late', "[Service]\n"
	    . "ExecStart=\nExecStart=/bin/sleep 60\n");
	$d->ctl('daemon-reload');
	$d->ctl('start', '--no-block', $w[3]);
	wait_for(sub { $d->show($w[3], 'MainPID') > 0 }, 5, 'the process');
	is $d->show($w[3], 'ActiveState'), 'activating',
	    'a worker that does not send READY is not active';
	$d->ctl('stop', $w[3]);
	unlink "$d->{dir}/units/$w[3].d/late.conf";
}

# -- crashes
# --------------------------------------------------------------------

{
	my $pid = $d->pid($w[1]);
	my $start = time;
	kill 'KILL', $pid;
	wait_for(sub { $d->show($w[1], 'NRestarts') == 1 && active($w[1]) }, 5,
	    'a new one');
	cmp_ok time - $start, '<', 2,
	    'a killed worker is replaced within two seconds';
	ok answers(1), '... by one that answers';
	isnt $d->pid($w[1]), $pid, '... another one';
}

{
	$d->drop_in('ai-chat-worker@.service', 'watchdog',
	    "[Service]\nWatchdogSec=1s\n");
	$d->ctl('daemon-reload');
	$d->ctl('restart', $w[2]);
	my $pid = $d->pid($w[2]);
	my $start = time;
	wait_for(sub { time - $start > 1.5 }, 5, 'a watchdog time and a half');
	is $d->pid($w[2]), $pid,
	    'the watchdog does not restart a healthy worker';
	kill 'STOP', $pid;
	wait_for(sub { $d->show($w[2], 'NRestarts') == 1 && active($w[2]) }, 10,
	    'the watchdog');
	ok answers(2), '... and replaces a frozen one';
	unlink "$d->{dir}/units/ai-chat-worker\@.service.d/watchdog.conf";
	$d->ctl('daemon-reload');
	$d->ctl('restart', $w[2]);
}

# -- settings ----------------------------------------------------------------

{
	$d->settings(%settings, AI_CHAT_THREADS => 'many');
	ok !eval { $d->ctl('start', $w[3]); 1 },
	    'with an invalid setting a worker does not start';
	like $d->log, qr/AI_CHAT_THREADS must be a whole number/,
	    '... and logs the reason';
	ok active($w[1]), '... running workers continue';
	eval { $d->ctl('stop', $w[3]) };
	$d->settings(%settings);
}

# -- migrations --------------------------------------------------------------

{
	my @before = map { $d->pid($w[$_]) } 1, 2;
	$s->sql('delete from ai_chat_migrations where version = 3');
	$d->ctl('start', 'ai-chat-upgrade.service');
	is $s->value('select count(*) from ai_chat_migrations
	    where version = 3'), 1, 'an upgrade migrates';
	is_deeply [ map { $d->pid($w[$_]) } 1, 2 ], \@before,
	    '... while workers continue';
	$s->sql("update ai_chat_migrations set checksum = 'x'
	    where version = 3");
	ok !eval { $d->ctl('start', 'ai-chat-upgrade.service'); 1 },
	    'a migration that fails is reported';
	is_deeply [ map { $d->pid($w[$_]) } 1, 2 ], \@before,
	    '... and stops no worker';
}

# -- stop --------------------------------------------------------------------

{
	my $env = { REQUEST_METHOD => 'POST', DOCUMENT_URI => '/v1/chat/send',
	    CONTENT_TYPE => 'application/json', X_REQUEST_ID => 'last',
	    HTTP_X_API_KEY => $AIChat::Test::KEY };
	my $body = '{"telegram_id":1,"message":"[[delay=1500 id=last]]"}';
	my $pid = open my $chat, '-|';
	die "could not fork: $!\n" if !defined $pid;
	if (!$pid) {
		my ($status) = AIChat::FastCGI::request($d->socket(1),
		    { %$env, CONTENT_LENGTH => length $body }, $body);
		syswrite STDOUT, $status // 'nothing';
		POSIX::_exit(0);
	}
	wait_for(sub { $s->model_count('last') }, 10, 'a call of the model');
	my $start = time;
	$d->ctl('stop', 'ai-chat.target');
	wait_for(sub { !grep { $d->show($_, 'ActiveState') ne 'inactive' }
	    @w[1, 2] }, 10, 'the workers to end');
	is scalar(<$chat>), 200, 'a chat in flight is answered';
	cmp_ok time - $start, '<', 6.5, '... by its deadline';
	is $d->show($w[$_], 'Result'), 'success', "the target stops worker $_"
	    for 1, 2;
	is $d->show('ai-chat-migrate.service', 'ActiveState'), 'inactive',
	    '... and the next start of the target migrates again';
}

$d->stop;
done_testing;
