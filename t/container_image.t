# The container image, with AIC_LONG=1: it is built from Containerfile with
# buildah, from a Debian that mmdebstrap makes, and run with podman, alone and by
# both compose files. AIC_CONTAINER_BASE names that Debian, a tar file, if there
# is one already. t/container.t tests the entry point in more detail.

use v5.36;
use utf8;
use AIChat::Containers;
use AIChat::Proc qw(wait_for slurp spew temp_dir remove_dir keep_dir);
use AIChat::Stack;
use File::Copy qw(copy);
use File::Path qw(make_path);
use JSON::PP ();
use Test::More;

# It takes minutes, and needs packages that ./dev check does not install.
plan skip_all => 'AIC_LONG is not set' if !$ENV{AIC_LONG};
if (my $why = AIChat::Containers::missing()) {
	plan skip_all => $why;
}

my $TOP = AIChat::Stack::top();
my $BASE = 'localhost/ai-chat-base';
my $IMAGE = 'localhost/ai-chat';
my $DEMO = 'localhost/ai-chat-demo';
my $dir = temp_dir('ai-chat-t');
my $c = AIChat::Containers->new(dir => $dir,
    env => { POSTGRES_IMAGE => 'localhost/postgres:15' });

# -- the kernel --------------------------------------------------------------

$c->import_base($BASE);
$c->start;
# Some kernels, and most containers, refuse the namespaces or the mounts.
if (!eval { $c->podman(qw(run --rm), $BASE, 'true'); 1 }) {
	my ($why) = $@ =~ /(Error.*)/;
	$c->stop;
	remove_dir($dir);
	plan skip_all => 'the kernel does not let podman run a container: '
	    . ($why // 'no reason');
}
(delete $c->{proc})->stop('KILL');

# -- the images --------------------------------------------------------------

$c->build($DEMO, $TOP, '-f', "$TOP/Containerfile", '--build-arg',
    "BASE=$BASE", '--target', 'demo');
$c->build($IMAGE, $TOP, '-f', "$TOP/Containerfile", '--build-arg',
    "BASE=$BASE");
build_postgres();
$c->start;

my ($about) = @{ JSON::PP::decode_json($c->podman('inspect', $IMAGE)) };
my ($base) = @{ JSON::PP::decode_json($c->podman('inspect', $BASE)) };
my $mb = sub ($bytes) { sprintf '%.0f', $bytes / 1e6 };
note 'the image has ', $mb->($about->{Size}), ' MB, its base ',
    $mb->($base->{Size}), ' MB';
cmp_ok $about->{Size} - $base->{Size}, '<', 40e6,
    'the image adds less than 40 MB to Debian';
is $about->{User}, '10001:10001', 'it does not run as root';
like join(' ', @{ $about->{Healthcheck}{Test} // [] }),
    qr/ai-chat-container health/, 'it has a HEALTHCHECK';
unlike join(' ', @{ $about->{Config}{Env} }), qr/_KEY|PASSWORD|URL/,
    'its environment has no secret';
my @files = split /\n/, $c->podman(qw(run --rm --no-healthcheck --user 0),
    '--entrypoint', 'find', $IMAGE, qw(/etc/ai-chat /run/ai-chat /usr/bin
    -type f));
is join(' ', grep { m{^/etc/ai-chat|^/run} } @files), '',
    'it contains no settings and no key';
ok +(grep { $_ eq '/usr/bin/ai-chat-worker' } @files), '... and the worker';
ok !(grep { /ai-chat-model/ } @files), '... and no stub model';

# -- the demo: two commands ----------------------------------------------------

$c->compose($TOP, qw(-p demo -f compose.demo.yaml up -d --no-build));
wait_for(sub { ask('demo') == 200 }, 60, 'an answer');
ok 1, 'the demo answers a question';
for my $name (qw(worker-a worker-b nginx)) {
	wait_for(sub { healthy("demo_${name}_1") }, 20, "$name to be healthy");
}
ok 1, '... and its containers are healthy';
my $inside = $c->podman('exec', 'demo_worker-a_1', 'sh', '-c',
    'id -u; cat /proc/1/status; touch /usr/x 2>&1; cat /proc/1/comm');
like $inside, qr/^10001$/m, 'a worker has a user of its own';
like $inside, qr/^CapBnd:\s+0+$/m, '... no capabilities';
like $inside, qr/^NoNewPrivs:\s+1$/m, '... gets no privileges';
like $inside, qr/Read-only file system/, '... cannot write to the image';
like $inside, qr/^tini$/m, '... and has an init process';
like $c->podman('exec', 'demo_nginx_1', 'ai-chatctl', 'status'),
    qr/^ +1 +\d+ +running .*^ +2 +\d+ +running /ms,
    'ai-chatctl shows the workers';
my $check = eval { $c->podman('exec', 'demo_worker-a_1', 'ai-chatctl',
    'check') } // $@;
like $check, qr/^ok     site: Nginx reads/m,
    '... and check covers the configuration of Nginx';
unlike $check, qr/ listener: /,
    '... but not its listeners, which are in another network';

# A rolling upgrade, as docs/containers.md describes it.
my $load = start_load('demo');
for my $name (map { "demo_worker-${_}_1" } qw(a b)) {
	my $before = $c->podman(qw(inspect -f {{.Id}}), $name);
	$c->podman(qw(stop -t 80), $name);
	is $c->podman(qw(inspect -f {{.State.ExitCode}}), $name), "0\n",
	    "$name drains";
	$c->podman('rm', $name);
	$c->compose($TOP, qw(-p demo -f compose.demo.yaml up -d --no-build),
	    $name =~ /_(worker-.)_/);
	wait_for(sub { healthy($name) }, 30, "$name to be healthy");
	isnt $c->podman(qw(inspect -f {{.Id}}), $name), $before,
	    '... and is replaced';
}
my @all = end_load($load);
cmp_ok scalar @all, '>', 20, 'during a rolling upgrade chats are answered';
is join(' ', grep { $_ != 200 } @all), '', '... and none is lost';

$c->compose($TOP, qw(-p demo -f compose.demo.yaml down -t 80));
is $c->podman(qw(ps -aq)), '', 'the demo ends';

# -- compose.yaml, with secrets as files -------------------------------------------

my $project = "$dir/shop";
make_path("$project/secrets");
copy("$TOP/compose.yaml", $project) or die "copy: $!\n";
spew("$project/ai-chat.env", "OPENAI_BASE_URL=http://model:8089/v1\n"
    . "AI_CHAT_TIMEZONE=Europe/Moscow\n");
my %secret = (api_secret_key => 'shop-key', openai_api_key => 'x',
    database_password => 'pw',
    database_url => 'postgresql://ai_chat:pw@database/ai_chat');
for my $name (keys %secret) {
	my $path = "$project/secrets/$name";
	spew($path, "$secret{$name}\n", 0400);
	chown 10001, 10001, $path if $name ne 'database_password';
}
$c->compose($project, qw(-p shop up -d --no-build database migrate worker-a
    worker-b nginx));
$c->podman(qw(run -d --name model --network shop_default --network-alias model
    --no-healthcheck), $DEMO, qw(ai-chat-model --listen 0.0.0.0 --port 8089));
wait_for(sub { ask('shop-key') == 200 }, 60, 'an answer');
ok 1, 'compose.yaml: with secrets as files a question is answered';
is ask('wrong'), 403, '... and a wrong key is refused';
unlike $c->podman(qw(inspect shop_worker-a_1)), qr/shop-key|:pw\@/,
    '... and inspect shows no secret';

$c->podman(qw(kill -s KILL shop_worker-a_1));
is join(' ', grep { $_ != 200 } map { ask('shop-key') } 1 .. 6), '',
    'after a worker was killed, the other one answers';
$c->compose($project, qw(-p shop down -t 80 -v));
$c->podman(qw(rm -f -t 0 model));

# -- all in one --------------------------------------------------------------------

$c->podman(qw(network create one));
$c->podman(qw(run -d --name database --network one -e POSTGRES_USER=ai_chat
    -e POSTGRES_DB=ai_chat -e POSTGRES_PASSWORD=pw), 'localhost/postgres:15');
$c->podman(qw(run -d --name one --network one --read-only --tmpfs /tmp
    --cap-drop all -p 127.0.0.1:9001:9001 --stop-timeout 80
    -e API_SECRET_KEY=one -e OPENAI_API_KEY=x
    -e OPENAI_BASE_URL=http://127.0.0.1:8089/v1
    -e DATABASE_URL=postgresql://ai_chat:pw@database/ai_chat), $DEMO, 'all');
$c->podman(qw(exec -d one ai-chat-model --port 8089));
wait_for(sub { ask('one') == 200 }, 60, 'an answer');
ok healthy('one'), 'all in one container: a question is answered';
$c->podman(qw(stop one));
is $c->podman(qw(inspect -f {{.State.ExitCode}}), 'one'), "0\n",
    '... and a stop drains';

$c->stop;
undef $c;
Test::More->builder->is_passing ? remove_dir($dir) : keep_dir($dir);
done_testing;

END {
	my $status = $?;
	$c->stop if $c;
	$? = $status;
}

# -- helpers -----------------------------------------------------------------------

# An image with as much of the entry point of the official image of PostgreSQL
# as the compose files use.
sub build_postgres
{
	my $context = "$dir/postgres";

	make_path($context);
	spew("$context/Containerfile", <<"END");
FROM $BASE
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy \\
    --no-install-recommends postgresql-15 && rm -rf /var/lib/apt/lists/*
COPY entry /usr/bin/entry
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["entry"]
END
	spew("$context/entry", <<'END', 0755);
#!/bin/sh
set -e
export PATH=/usr/lib/postgresql/15/bin:$PATH
export PGDATA=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
	password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")}
	echo "$password" >/tmp/password
	chmod 644 /tmp/password
	chown postgres "$PGDATA"
	chmod 700 "$PGDATA"
	install -d -o postgres /var/run/postgresql
	exec setpriv --reuid postgres --regid postgres --clear-groups "$0"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb -N -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password \
	    ${POSTGRES_INITDB_ARGS:-}
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	echo "create database $POSTGRES_DB" |
	    postgres --single -D "$PGDATA" postgres
fi
exec postgres -c listen_addresses='*' -c fsync=off
END
	return $c->build('localhost/postgres:15', $context, '-f',
	    "$context/Containerfile");
}

sub healthy ($name)
{
	return eval { $c->podman('exec', $name, qw(ai-chat-container health));
	    1 } // 0;
}

# The status of a chat; 0 when nothing answers.
sub ask ($key)
{
	return (eval { $c->in('curl', '-s', '-o', '/dev/null', '-m', 20, '-w',
	    '%{http_code}', '-H', "X-API-KEY: $key", '-H',
	    'Content-Type: application/json', '-d',
	    '{"telegram_id": 7, "message": "Что с продажами?"}',
	    'http://127.0.0.1:9001/v1/chat/send') } // 0) + 0;
}

# Two callers that send chats of 100 ms until their standard input ends, each of
# another user, and print the statuses.
sub start_load ($key)
{
	state $n = 0;
	my $out = "$dir/load" . ++$n;
	pipe my $r, my $w or die "pipe: $!\n";
	my $pid = fork // die "fork: $!\n";

	if (!$pid) {
		close $w;
		open STDIN, '<&', $r;
		open STDOUT, '>', $out;
		exec $c->entry, 'perl', '-MHTTP::Tiny', '-MIO::Select', '-e', <<'PERL', $key;
my $first = 1e6 * (fork ? 1 : 2);
$| = 1;
my $http = HTTP::Tiny->new(timeout => 60, keep_alive => 0);
my $in = IO::Select->new(\*STDIN);
until ($in->can_read(0)) {
	print $http->post('http://127.0.0.1:9001/v1/chat/send', {
		headers => { 'X-API-KEY' => $ARGV[0],
			'Content-Type' => 'application/json' },
		content => sprintf('{"telegram_id": %d, '
		    . '"message": "[[delay=100]]"}', $first++),
	})->{status} . "\n";
}
wait;
PERL
		exit 127;
	}
	close $r;
	wait_for(sub { -s $out }, 20, 'the first chats');
	return { pid => $pid, stop => $w, out => $out };
}

sub end_load ($load)
{
	close $load->{stop};
	waitpid $load->{pid}, 0;
	return split ' ', slurp($load->{out});
}
