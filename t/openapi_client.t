# A client in another language, written from /openapi.json alone: the types are
# generated from the document, the client (t/npm/client.ts) compiles with them,
# calls every endpoint of a running service, and gets every documented status.

use v5.36;
use utf8;
use AIChat::NPM;
use AIChat::Proc qw(run spew slurp base_env);
use AIChat::Stack;
use AIChat::Test;
use File::Copy qw(copy);
use File::Path qw(make_path);
use JSON::PP ();

my $npm = eval { AIChat::NPM->install('npm') };
plan skip_all => AIChat::NPM::skip_reason($@) if !$npm;

my $s = AIChat::Test->new(own_pg => 1, read_timeout_s => 4, env => {
	API_ADMIN_KEY => 'an-admin-key',
	AI_CHAT_BREAKER_FAILURES => 2,
	AI_CHAT_BREAKER_OPEN_MS => 600_000,
	AI_CHAT_DAILY_LIMIT => 2,
	AI_CHAT_DEADLINE_MS => 3000,
	AI_CHAT_DB_TIMEOUT_MS => 500,
	AI_CHAT_USER_CONCURRENCY => 1,
});
$s->expect_log(qr/code=EDB/, qr/event=probe/, qr/FATAL/,
    qr/client intended to send too large body/,
    qr/client sent too long header/, qr/upstream timed out/,
    qr/connect\(\) to unix:\S+ failed/, qr/upstream prematurely closed/);

# -- the types and the client ------------------------------------------------

my $dir = $s->dir . '/client';
make_path($dir);
symlink $npm->dir . '/node_modules', "$dir/node_modules"
    or die "could not make a link: $!\n";
copy(AIChat::Stack::top() . "/t/npm/$_", "$dir/$_") or die "$_: $!\n"
    for qw(client.ts tsconfig.json package.json);
my $got = $s->get('/openapi.json', headers => { 'X-API-KEY' => undef });
is $got->{status}, 200, 'the document is served without a key';
spew("$dir/openapi.json", $got->{content});

my %env = (base_env(), PATH => $ENV{PATH}, AI_CHAT_URL => $s->url,
    AI_CHAT_KEY => $AIChat::Test::KEY, AI_CHAT_ADMIN_KEY => 'an-admin-key');
sub node (@args) { return run([ $npm->node, @args ], env => \%env) }

ok eval { node($npm->file('openapi-typescript/bin/cli.js'),
    '--default-non-nullable=false', "$dir/openapi.json", '-o', "$dir/api.d.ts"); 1 },
    'types are generated from the document' or diag $@;
ok eval { node($npm->file('typescript/bin/tsc'), '-p', $dir); 1 },
    'a client compiles with them' or diag $@;

# -- every endpoint and every status -----------------------------------------

my %seen;

sub part ($name, $title)
{
	my $said = eval { node("$dir/client.js", $name) };

	ok defined $said, $title or diag $@;
	$seen{$_}++ for split /\n/, $said // '';
}

part('usual', 'every endpoint is called');
part('requests', 'the client gets the errors of its requests');
part('limits', '... the refusals of a chat, with the state of the limit');
part('model', '... the failures of the model');
$s->restart_worker(1, API_ADMIN_KEY => '');
part('no_admin_key', '... endpoints that do not exist without their key');
$s->restart_worker(1, API_ADMIN_KEY => 'an-admin-key');
$s->stop_pg('immediate');
part('database', '... the absence of the database');
my $pid = $s->worker_pid(1);
kill STOP => $pid;
part('frozen_worker', '... the end of the wait for a worker');
kill CONT => $pid;
$s->start_pg;
$s->kill_worker(1);
part('no_worker', '... and the absence of a worker');

# A 500 of an endpoint that does not call the model is a lack of memory; a 429 of
# Nginx has to be configured, see t/nginx_snippets.t.
my %documented;
my $paths = $got->{json}{paths};
for my $path (keys %$paths) {
	for my $method (keys %{ $paths->{$path} }) {
		$documented{ uc($method) . " $path $_" } = 1
		    for grep { !/^(?:429|500)\z/ || $path eq '/v1/chat/send' }
		    keys %{ $paths->{$path}{$method}{responses} };
	}
}
cmp_ok scalar keys %documented, '>', 60, 'the document has statuses';
is join("\n", grep { !$seen{$_} } sort keys %documented), '',
    'the client got every documented status of every endpoint';
is join("\n", grep { !$documented{$_} } sort keys %seen), '',
    '... and no other';

done_testing;
