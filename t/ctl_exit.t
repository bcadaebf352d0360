# The exit statuses of ai-chatctl: each case that its manual lists.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::Stack;
use AIChat::Test;
use Fcntl qw(:flock);

my $s = AIChat::Test->new(workers => 2, env => {
	AI_CHAT_DEADLINE_MS => 5000,
	AI_CHAT_DB_TIMEOUT_MS => 1800,
});
$s->expect_log(qr/connect\(\) to unix:\S+ failed/);
is $s->send(telegram_id => 1)->{status}, 200, 'the service answers';
my $RUN = $s->stack->run_dir;
my $LIST = "$RUN/upstream.conf";
my $verbs = do { $s->control->env; $s->control->{verbs} };

# The options of ctl() for settings of the workers that differ.
sub with (%settings)
{
	state $n = 0;
	my $file = "$RUN/differs-" . ++$n . '.env';

	spew($file, slurp("$RUN/worker.env") . join '',
	    map { "$_='$settings{$_}'\n" } sort keys %settings);
	return { env => { AI_CHATCTL_ENV_FILE => $file } };
}

sub own (%settings) { return { env => \%settings } }

# Runs a command while one verb of the service manager is replaced.
sub meddle ($verb, $do, @args)
{
	local $verbs->{$verb} = $do;
	return $s->ctl(@args);
}

my $no_database = with(DATABASE_URL => 'postgresql://u@127.0.0.1:1/x');

# Status => { case => [ commands ] }. A command is its arguments, or a function that
# runs it.
my %cases = (1 => {
	'status found a worker that is not well, or no worker;' => [ sub {
		$s->kill_worker(2);
		my $got = $s->ctl('status');
		$s->start_worker(2);
		return $got;
	} ],
	# This PostgreSQL runs without fsync.
	'check printed a line that begins with wrong;' => [ ['check'] ],
	'the database failed or did not answer;' => [
	    map { [ @$_, $no_database ] } [qw(limits 1)],
	    [qw(prune --older-than 9)] ],
	'the service manager, Nginx or a worker failed, or a worker did not'
	    . ' become ready;' => [
	    sub { meddle('list', sub { die "no list\n" }, 'reload') },
	    sub { meddle('test-nginx', sub { die "[emerg] no\n" }, 'scale', 3) },
	    # The worker does not exist after its start.
	    sub { meddle('start', sub { '' }, 'scale', 3) },
	],
	'Nginx is not running, and the command needs it;' => [ map {
		my @args = @$_;
		sub { meddle('list', sub { "1 $$\n2 $$\nnginx 0\n" }, @args) }
	    } ['reload'], [qw(scale 3)] ],
	'another ai-chatctl is changing the workers;' => [ sub {
		open my $lock, '>>', "$RUN/ctl.lock" or die "ctl.lock: $!\n";
		flock $lock, LOCK_EX or die "could not lock: $!\n";
		return $s->ctl('restart');
	} ],
	'the site of nginx was edited, and --force was not given;' => [
	    [ 'nginx', own(AI_CHATCTL_SITE => "$RUN/conf.d/ai-chat.conf",
		AI_CHATCTL_NGINX_DIR => AIChat::Stack::top() . '/nginx') ] ],
	'a signal interrupted the command;' => [ sub {
		my $real = $verbs->{start};
		my $run;
		local $verbs->{start} = sub ($n) {
			kill 'TERM', $run->{pid};
			return $real->($n);
		};
		$run = $s->start_ctl('scale', 3);
		return ($s->finish_ctl($run))[0];
	} ],
	'the user of reset-limit has no chats, or the worker of restart does not'
	    . ' exist;' => [ [qw(reset-limit 77)], [qw(restart 77)] ],
	'forget was not confirmed;' => [ [qw(forget 1), { input => "no\n" }] ],
	'the output could not be written.' => [ [qw(limits 1), { deaf => 1 }] ],
}, 2 => {
	'an unknown command or option, or a missing, superfluous or invalid'
	    . ' argument;' => [ [], ['fly'], [qw(status --fly)], ['scale'],
	    [qw(status 1)], [qw(restart 1 2)], [qw(restart x)], [qw(limits x)],
	    [qw(limits 1 --days 2)], [qw(stats --days)], ['prune'] ],
	'a setting that is missing, unknown or invalid;' => [
	    [qw(limits 1), with(API_SECRET_KEY => '')],
	    [qw(limits 1), with(AI_CHAT_FLY => 1)],
	    [qw(limits 1), with(AI_CHAT_THREADS => 'x')],
	    [qw(scale 3), with(AI_CHAT_THREADS => 'x')],
	    [qw(migrate), with(DATABASE_URL => '')],
	    [qw(status), own(AI_CHATCTL_FLY => 1)] ],
	'a file or a program that a setting names cannot be used;' => [
	    [qw(status), own(AI_CHATCTL_ENV_FILE => '/proc/no')],
	    [qw(reload), own(AI_CHATCTL_LOCK => '/proc/no')],
	    [qw(reload), own(AI_CHATCTL_HOOK => '/proc/no')],
	    [qw(scale 3), own(AI_CHATCTL_UPSTREAM => '/proc/no')],
	    [qw(migrate), own(AI_CHATCTL_BIN_DIR => '/proc/no')] ],
	'Nginx\'s list of workers has a line that ai-chatctl did not write.' => [
	    sub {
		my $list = slurp($LIST);
		spew($LIST, "$list\nserver 10.0.0.1:9000;\n");
		my $got = $s->ctl('scale', 3);
		spew($LIST, $list);
		return $got;
	    } ],
});

# The lists of the manual, without markup.
{
	my $page = slurp(AIChat::Stack::top() . '/man/ai-chatctl.8');
	my ($section) = $page =~ /^\.SH EXIT STATUS\n(.*?)^\.SH /ms;
	my %listed = map {
		my ($status, $text) = /\A\.B (\d)\n(.*)\z/s;
		my (undef, @items) = split /^\.IP .*\n/m, $text;
		$status => join "\n", sort map {
			s/^\.(?:RS|RE)\n//mgr =~ s/^\.BR (\S+) (\S+)$/$1$2/mgr
			    =~ s/^\.B //mgr =~ s/\\-/-/gr =~ s/\n\z//r
			    =~ tr/\n/ /r
		} @items;
	} split /^\.TP\n/m, $section =~ s/\A\.TP\n//r;

	is join(' ', sort keys %listed), '0 1 2', 'the manual has three statuses';
	is $listed{$_}, join("\n", sort keys %{ $cases{$_} }),
	    "... and the cases of $_ that are tried here" for 1, 2;
}

for my $status (sort keys %cases) {
	for my $case (sort keys %{ $cases{$status} }) {
		for my $command (@{ $cases{$status}{$case} }) {
			my $got = ref $command eq 'CODE' ? $command->()
			    : $s->ctl(@$command);
			my $name = ref $command eq 'CODE' ? ''
			    : ": @{[ grep { !ref } @$command ]}";
			is $got->{status}, $status, "$status: $case$name"
			    or diag "$got->{out}$got->{err}";
		}
	}
}
is join(' ', $s->stack->worker_numbers), '1 2', 'there are still two workers';
is $s->ctl(@$_)->{status}, 0, "0: @$_" for ['status'], ['reload'],
    [qw(scale 2)], ['migrate'], [qw(limits 1)], [qw(limits 77)],
    [qw(history 77)], [qw(stats)], [qw(clear 77)], [qw(reset-limit 1)],
    [qw(prune --older-than 9)], [qw(forget 1 --yes)], [qw(forget 77 --yes)],
    ['--help'], ['-h'], ['--version'];

done_testing;
