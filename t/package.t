# The Debian package: its contents, and, with AIC_LONG=1, a machine that
# installs, upgrades, removes and purges it. AIC_DEB_ROOT names the root
# directory of that machine, which is only read; without it debootstrap makes
# one.

use v5.36;
use utf8;
use AIChat::Machine;
use AIChat::Proc qw(run slurp spew temp_dir remove_dir keep_dir base_env);
use AIChat::Stack;
use Digest::SHA;
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use JSON::PP ();
use Test::More;

my $TOP = AIChat::Stack::top();
my $BUILD = AIChat::Stack::find_build();

plan skip_all => 'dpkg-buildpackage, dh or lintian is not there'
    if grep { !-x "/usr/bin/$_" } qw(dpkg-buildpackage dh lintian);
# The package has a build of its own, so a sanitizer would add nothing.
plan skip_all => 'a sanitizer is built in'
    if qx(ldd '$BUILD/ai-chat-worker') =~ /lib(?:asan|tsan)/;

my $dir = temp_dir('ai-chat-t');
my $var = dirname($BUILD);
# The compilers of this build would slow down the tests that run at the same
# time.
my $said = eval { run([ 'nice', "$TOP/dev", 'deb' ],
    env => { base_env(), AI_CHAT_VAR => $var }) };
ok defined $said, './dev deb builds it, and lintian has nothing to say'
    or BAIL_OUT("no package: $@");
note $said;
my ($deb) = grep { !/dbgsym/ } glob "$var/deb/ai-chat_*_*.deb";

# -- contents
# -------------------------------------------------------------------

my ($version) = slurp("$TOP/configure.ac") =~ /AC_INIT\(\[.*?\], \[(.*?)\]/;
is run([ 'dpkg-deb', '-f', $deb, 'Version' ]), "$version\n",
    'its version is that of the programs';
my $depends = run([ 'dpkg-deb', '-f', $deb, 'Depends' ]);
like $depends, qr/\b\Q$_\E\b/, "it depends on $_"
    for qw(nginx spawn-fcgi libpq5 libcurl4 libfcgi0ldbl libjson-c5);

my %file = map {
	my ($mode, $owner, undef, undef, undef, $path) = split ' ', $_, 6;
	($path =~ s{^\.|/$}{}gr => "$mode $owner");
} split /\n/, run([ 'dpkg-deb', '-c', $deb ]);
is $file{$_}, '-rwxr-xr-x root/root', "it contains $_"
    for map { "/usr/bin/ai-chat-$_" } qw(worker migrate);
is $file{$_}, '-rw-r--r-- root/root', "it contains $_"
    for (map { "/usr/share/ai-chat/nginx/pages/docs/$_" } 'index.html',
	'docs.js', 'swagger-ui/swagger-ui-bundle.js', 'swagger-ui/NOTICE'),
    (map { "/usr/share/ai-chat/nginx/pages/admin/$_" } 'index.html',
	'admin.js', 'uplot/LICENSE', 'uplot/dist/uPlot.iife.min.js'),
    '/usr/lib/sysusers.d/ai-chat.conf', '/usr/share/ai-chat/prompt.txt',
    '/usr/share/bash-completion/completions/ai-chatctl',
    (map { '/usr/share/ai-chat/sql/' . s{.*/}{}r } glob "$TOP/sql/*.sql"),
    (map { '/lib/systemd/system/' . s{.*/}{}r }
	glob "$TOP/systemd/*.{service,target,timer}");
is $file{'/etc/ai-chat/credentials'}, 'drwx------ root/root',
    'keys are readable by root only';
is join(' ', grep { m{^/(?:run|var|home|tmp|usr/local|usr/lib/systemd)/} }
    sort keys %file), '', 'no file is in another directory';
is join(' ', grep { $file{$_} !~ m{root/root$} || $file{$_} =~ /^.{8}w/
    || $file{$_} =~ /^\S*s/ } sort keys %file), '',
    'all files belong to root and are writable by root only';
is join(' ', grep { m{/ai-chat\.env$} && m{^/etc/} } keys %file), '',
    'the settings are no conffile';

my $tree = "$dir/tree";
run([ 'dpkg-deb', '-R', $deb, $tree ]);
ok !-e "$tree/DEBIAN/conffiles", '... and neither is any other file';
for (qw(postinst prerm postrm)) {
	ok eval { run([ 'sh', '-n', "$tree/DEBIAN/$_" ]); 1 },
	    "$_ is a valid script" or diag $@;
}

# -- a copy of this system ---------------------------------------------------

# Runs a script in a copy of this system, which is in memory and is discarded.
# $1: a directory of ours, $2: the directory to show as /run/deb, $3: that of
# debian/tests, $4: the script.
my $COPY = <<'SH';
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/m" "$1/u" "$1/w"
R=$1/m
mount -t overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" overlay "$R"
mount -t proc proc "$R/proc"
mount --rbind /dev "$R/dev"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mkdir -m 1777 "$R/run/lock"
mkdir "$R/run/deb" "$R/run/tests"
mount --bind "$2" "$R/run/deb"
mount --bind "$3" "$R/run/tests"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
rm -rf "$R"/etc/postgresql/* "$R/etc/nginx/sites-enabled/ai-chat"
cd "$R"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive AUTOPKGTEST_TMP=/tmp/autopkgtest \
    chroot . sh -ec "$4" 2>&1
SH
sub in_copy ($debs, $script)
{
	make_path("$dir/copy");
	return run([ qw(unshare -m -p -f -n --kill-child sh -c), $COPY, 'sh',
	    "$dir/copy", $debs, "$TOP/debian", $script ]);
}
# Only root can make it, and some kernels refuse.
my $no_copy = $> != 0 ? 'only root can copy this system'
    : eval { in_copy($dir, 'true'); 1 } ? undef
    : "this kernel makes no copy of the system: $@";

# -- the site of Nginx -------------------------------------------------------

# Earlier builds of 1.0.0 had the site as a conffile. A package with one is
# installed and upgraded.
sub with_packages ($script)
{
	return in_copy($dir, 'S=/etc/nginx/sites-available/ai-chat; '
	    . 'put() { dpkg --force-depends --no-triggers -i /run/deb/$1.deb; }; '
	    . $script);
}
SKIP: {
	skip $no_copy, 1 if $no_copy;
	# An installation here would be upgraded instead.
	skip 'the package is installed here', 1
	    if !eval { in_copy($dir, '! dpkg -s ai-chat >/dev/null 2>&1'); 1 };
	my $old = "$dir/old";
	run([ 'cp', '-a', $tree, $old ]);
	make_path("$old/etc/nginx/sites-available");
	spew("$old/etc/nginx/sites-available/ai-chat",
	    "server { listen 127.0.0.1:9001 backlog=4096; }\n");
	spew("$old/DEBIAN/conffiles", "/etc/nginx/sites-available/ai-chat\n");
	spew("$old/DEBIAN/postinst", slurp("$old/DEBIAN/postinst")
	    =~ s/^\tmake_site .*\n//mr, 0755);
	spew("$old/DEBIAN/control", slurp("$old/DEBIAN/control")
	    =~ s/^Version: .*/Version: 0.9/mr);
	run([ 'dpkg-deb', '-b', '--root-owner-group', '-Znone', $$_[0],
	    "$dir/$$_[1].deb" ]) for [ $old, 'conffile' ], [ $tree, 'new' ];

	my $mark = qr/^# Written by ai-chatctl nginx/m;
	my $got = with_packages('put new; cat $S; dpkg -P ai-chat >&2; ! test -e $S');
	like $got, $mark, 'the installation writes the site';
	like $got, qr/^\tlisten 127\.0\.0\.1:9001 /m, '... for this machine only';
	$got = with_packages('mkdir -p /run/systemd/system; '
	    . 'echo "nonsense on;" >/etc/nginx/conf.d/x.conf; put new 2>&1; cat $S');
	like $got, $mark, '... also when another site of Nginx is invalid';
	$got = with_packages('put conffile; put new; cat $S; ls $S.edited 2>&1 || :;'
	    . 'echo "# mine" >>$S; put new 2>&1; tail -1 $S');
	like $got, $mark, 'an upgrade replaces a conffile that was not edited';
	like $got, qr/\.edited'?: No such file/, '... and keeps no copy of it';
	like $got, qr/was edited, so it is not changed.*^# mine$/ms,
	    '... an edited site survives the next upgrade';
	$got = with_packages('put conffile; echo "# mine" >>$S; put new 2>&1; cat $S');
	like $got, qr/was edited.*^# mine$/ms,
	    'an edited conffile survives the upgrade';
	unlike $got, $mark, '... unchanged';
	$got = with_packages('put conffile; echo AI_CHAT_PORT=80 '
	    . '>>/etc/ai-chat/ai-chat.env; put new 2>&1; cat $S');
	like $got, qr/AI_CHAT_PORT is not 9001.*^server \{ listen/ms,
	    'an upgrade does not change the port';
	$got = with_packages('put conffile; echo AI_CHAT_PORT=x '
	    . '>>/etc/ai-chat/ai-chat.env; put new 2>&1; cat $S');
	like $got, qr/AI_CHAT_PORT.*run ai-chatctl nginx --force.*^server \{/ms,
	    '... and names a setting that is invalid';
	unlike $got, qr/is not 9001/, '... as such';
	$got = with_packages('put conffile; rm $S; put new; ls $S 2>&1 || :');
	like $got, qr/cannot access/, 'a conffile that was deleted stays away';
}

# -- the bill of materials ---------------------------------------------------

{
	my $sbom = JSON::PP->new->utf8->decode(
	    slurp("$tree/usr/share/doc/ai-chat/ai-chat.spdx.json"));
	is join(' ', @$sbom{qw(spdxVersion dataLicense SPDXID name)}), 'SPDX-2.3'
	    . " CC0-1.0 SPDXRef-DOCUMENT ai-chat_${version}_"
	    . run([ 'dpkg-deb', '-f', $deb, 'Architecture' ]) =~ s/\n//r,
	    'the bill of materials is an SPDX document of the package';
	like $sbom->{documentNamespace}, qr{^https://spdx\.org/spdxdocs/[\w.-]+$},
	    '... with a namespace';
	like $sbom->{creationInfo}{created}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
	    '... and a time';
	my @elements = map { @$_ } @$sbom{qw(packages files)};
	my %has = map { $_->{SPDXID} => 1 } @elements;
	is scalar keys %has, scalar @elements, '... each element has its own id';
	is join(' ', grep { !/^SPDXRef-[A-Za-z0-9.-]+$/ } keys %has), '',
	    '... which is valid';
	is join(' ', grep { $_ ne 'SPDXRef-DOCUMENT' && !$has{$_} }
	    map { @$_{qw(spdxElementId relatedSpdxElement)} }
	    @{ $sbom->{relationships} }), '', '... relationships name elements';
	for my $name (qw(SPDXID name downloadLocation licenseConcluded
	    licenseDeclared copyrightText externalRefs)) {
		is join(' ', map { $_->{SPDXID} } grep { !$_->{$name} }
		    @{ $sbom->{packages} }), '', "... each package has $name";
	}
	my %package = map { $_->{name} => $_ } @{ $sbom->{packages} };
	is join(' ', grep { !$package{$_} } qw(ai-chat libc6 libpq5 libcurl4 nginx)),
	    '', '... it lists the package and its dependencies';
	my $built_with = run([ 'dpkg-query', '-W', '-f', '${Version}', 'libpq5' ]);
	is $package{libpq5}{versionInfo}, $built_with, '... with the versions of'
	    . ' the build';
	like $package{libpq5}{externalRefs}[0]{referenceLocator},
	    qr{^pkg:deb/debian/libpq5\@[\w.~%-]+\?arch=\w+&distro=debian-12$},
	    '... and their package URLs';
	is $package{'ai-chat'}{licenseDeclared} =~ /\bMIT\b/, 1, '... and the license';

	# Symbolic links have no contents of their own.
	my %listed = map { $_->{fileName} => $_ } @{ $sbom->{files} };
	my @there = grep { $_ ne './usr/share/doc/ai-chat/ai-chat.spdx.json' }
	    map { ".$_" } grep { $file{$_} =~ /^-/ } keys %file;
	is_deeply [ sort keys %listed ], [ sort @there ],
	    '... it lists every file of the package';
	my %sums = map { $_ => $listed{$_}{checksums}[0]{checksumValue} } keys %listed;
	my %is = map { $_ => Digest::SHA->new(1)->addfile("$tree/$_")->hexdigest }
	    @there;
	is_deeply \%sums, \%is, '... with its checksum';
}

# -- debian/tests ------------------------------------------------------------

# ./dev deb --autopkgtest runs them in a new system. Here they run in a copy of
# this one, so that they cost seconds.
SKIP: {
	my @tests = slurp("$TOP/debian/tests/control") =~ /^Tests: (\S+)$/mg;
	is join(' ', @tests), 'smoke chat', 'debian/tests has tests';
	skip $no_copy, 1 if $no_copy;
	skip 'the programs that debian/tests needs are not there', 1
	    if grep { !-x "/usr/bin/$_" } qw(curl promtool spawn-fcgi
	    pg_createcluster);
	make_path("$dir/deb");
	copy($deb, "$dir/deb/ai-chat.deb") or die "copy: $!\n";
	my $said = eval { in_copy("$dir/deb", 'dpkg -i /run/deb/ai-chat.deb'
	    . ' && mkdir /tmp/autopkgtest && for t in ' . join(' ', @tests)
	    . '; do echo "-- $t"; /run/tests/tests/$t; done') };
	ok defined $said, "debian/tests pass: @tests" or diag $@;
	like $said // '', qr/ai-chat: installed; .*README\.Debian/s,
	    '... the installation prints the next steps';
	like $said // '', qr/^  \d\. .*\n?.*\Q$_\E/m, "... among them $_"
	    for qw(database_url openai_api_key ai-chat.target sites-available);
}

# -- a machine ---------------------------------------------------------------

my $why = machine_is_missing();
SKIP: {
	skip $why, 1 if $why;
	my $m;
	subtest 'a machine', sub {
		eval { machine(\$m); 1 } or fail("a command failed: $@");
		diag $m->sh('journalctl --no-pager -n 30')
		    if $m && !Test::More->builder->is_passing;
		$m->stop if $m;
	};
}
if (Test::More->builder->is_passing) {
	remove_dir($dir);
} else {
	keep_dir($dir);
	diag "everything is kept in $dir";
}
done_testing;

sub machine_is_missing
{
	return 'AIC_LONG is not set' if !$ENV{AIC_LONG};
	return 'only root can start a machine' if $> != 0;
	return 'debootstrap is not there, nor AIC_DEB_ROOT'
	    if !$ENV{AIC_DEB_ROOT} && !-x '/usr/sbin/debootstrap';
	return 'the stand-in model was not built' if !-x "$BUILD/ai-chat-model";
	return;
}

sub make_root
{
	return $ENV{AIC_DEB_ROOT} if $ENV{AIC_DEB_ROOT};
	my ($uri) = map { /^(?:URIs:|deb)\s+(?:\[.*?\]\s+)?(http\S+)/m }
	    map { slurp($_) } grep { -e } '/etc/apt/sources.list.d/debian.sources',
	    '/etc/apt/sources.list';
	my ($suite) = slurp('/etc/os-release') =~ /^VERSION_CODENAME=(\w+)/m;
	# Not in /tmp, which may be in memory.
	my $root = temp_dir('ai-chat-root', '/var/tmp');
	run([ 'debootstrap', '--variant=minbase', '--include=nginx-light,'
	    . 'spawn-fcgi,postgresql,systemd-sysv,libcurl4,libfcgi0ldbl,'
	    . 'libjson-c5,libpq5,curl,ca-certificates', $suite, $root,
	    $uri // () ], log => "$dir/debootstrap.log");
	return $root;
}

# Builds the package again with another version and the change of $change.
sub repack ($share, $new, $change = undef)
{
	my $text = slurp("$tree/DEBIAN/control")
	    =~ s/^Version: .*/Version: $new/mr;
	spew("$tree/DEBIAN/control", $text);
	$change->("$tree/usr/share/ai-chat/sql") if $change;
	run([ 'dpkg-deb', '-b', '--root-owner-group', '-Znone', $tree,
	    "$share/$new.deb" ]);
}

sub machine ($ret_m)
{
	my $share = "$dir/share";
	make_path($share);
	copy($deb, "$share/first.deb") or die "copy: $!\n";
	run([ 'cp', '-L', '-t', $share, "$BUILD/ai-chat-model",
	    run([ 'ldd', "$BUILD/ai-chat-model" ]) =~ /=> (\S*libevent\S*)/g ]);
	run([ 'cp', '-r', "$TOP/debian", $share ]);
	my $m = $$ret_m = AIChat::Machine->start(dir => $dir, root => make_root(),
	    share => $share);
	$m->sh('mkdir -p /run/systemd/system && printf "%s\n" "[Service]" '
	    . 'Environment=LD_LIBRARY_PATH=/run/deb '
	    . '"ExecStart=/run/deb/ai-chat-model --port 8089" '
	    . '>/run/systemd/system/model.service; systemctl daemon-reload; '
	    . 'systemctl start model');
	my $there = sub ($path) { return eval { $m->cmd('test', '-e', $path);
	    1 } // 0 };

	# The tests of the package, with systemd; they leave nothing.
	$m->cmd(qw(dpkg -i /run/deb/first.deb));
	for my $test (qw(smoke chat)) {
		next if $test eq 'smoke' && !$there->('/usr/bin/promtool');
		ok eval { $m->sh('mkdir -p /tmp/tests && AUTOPKGTEST_TMP=/tmp/tests '
		    . "/run/deb/debian/tests/$test"); 1 },
		    "debian/tests/$test passes with systemd" or diag $@;
	}
	$m->cmd(qw(dpkg -P ai-chat));

	$m->sh(q(su postgres -c 'psql -qc "create role ai_chat login )
	    . q(password '"'pw'"'" -c "create database ai_chat owner ai_chat"'));
	my $cred = '/etc/ai-chat/credentials';
	my $ask = sub {
		return $m->sh('curl -s -o /dev/null -w "%{http_code}" '
		    . 'http://127.0.0.1:9001/v1/chat/send '
		    . "-H \"X-API-KEY: \$(cat $cred/api_secret_key)\" "
		    . "-H 'Content-Type: application/json' "
		    . q(-d '{"telegram_id": 1, "message": "?"}'));
	};
	my $pids = sub {
		return $m->sh('systemctl show --value -p MainPID '
		    . 'ai-chat-worker@1 ai-chat-worker@2 | xargs');
	};

	# Installation.
	$m->cmd(qw(dpkg -i /run/deb/first.deb));
	is $m->cmd(qw(stat -c), '%a %U:%G', '/etc/ai-chat/ai-chat.env'),
	    "640 root:ai-chat\n", 'the service can read the settings';
	is $m->cmd(qw(stat -c), '%a %U:%G', "$cred/api_secret_key"),
	    "600 root:root\n", 'the key is root\'s';
	my $key = $m->cmd('cat', "$cred/api_secret_key");
	like $key, qr/^[0-9a-f]{48}\n\z/, '... and the key was generated';
	is $m->sh('systemctl is-active ai-chat-worker@1 || true'), "inactive\n",
	    'installing starts no worker';
	ok !$there->('/etc/nginx/sites-enabled/ai-chat'),
	    '... and enables no site';

	$m->sh("cd $cred && umask 077 && echo postgresql://ai_chat:pw\@127.0.0.1"
	    . '/ai_chat >database_url && echo key >openai_api_key && '
	    . 'echo OPENAI_BASE_URL=http://127.0.0.1:8089/v1 '
	    . '>>/etc/ai-chat/ai-chat.env');
	$m->cmd(qw(systemctl enable --now ai-chat.target ai-chat-worker@1
	    ai-chat-worker@2));
	$m->sh('ln -s ../sites-available/ai-chat /etc/nginx/sites-enabled/ && '
	    . 'ai-chatctl nginx');
	is $ask->(), 200, 'after five commands a chat is answered';
	like $m->sh('cat /proc/$(systemctl show --value -p MainPID '
	    . 'ai-chat-worker@1)/status'), qr/^CapBnd:\s+0+$/m,
	    '... by a worker without capabilities';

	# Upgrade.
	my $before = $pids->();
	repack($share, '9.1', sub ($sql) {
		spew("$sql/0100_x.sql", 'select 1/0');
		my $n = () = glob "$sql/[0-9]*.sql";
		rename "$sql/0100_x.sql", sprintf '%s/%04d_fail.sql', $sql, $n;
	});
	my $word = eval { $m->cmd(qw(dpkg -i /run/deb/9.1.deb)) } // $@;
	like $word, qr/could not be brought up to date/,
	    'an upgrade with a failing migration reports it';
	like $word, qr/dpkg --configure ai-chat/, '... and how to continue';
	is $pids->(), $before, '... the old workers continue';
	is $ask->(), 200, '... and answer';

	repack($share, '9.2', sub ($sql) {
		my ($file) = glob "$sql/*_fail.sql";
		spew($file =~ s/_fail/_add_x/r, 'create table added (x int)');
		unlink $file;
	});
	$m->cmd(qw(dpkg -i /run/deb/9.2.deb));
	is $m->sh(q(su postgres -c "psql -XAtc 'select count(*) from added' )
	    . 'ai_chat"'), "0\n", 'an upgrade migrates';
	my ($one, $two) = split ' ', $before;
	unlike ' ' . $pids->(), qr/ (?:$one|$two)\b/, '... and restarts all workers';
	is $ask->(), 200, '... which answer';
	is $m->cmd('cat', "$cred/api_secret_key"), $key,
	    '... the key is unchanged';
	is $m->sh('grep -c 8089 /etc/ai-chat/ai-chat.env'), "1\n",
	    '... and so are the settings';

	# Removal and purge.
	$m->cmd(qw(dpkg -r ai-chat));
	is $m->sh('systemctl is-active ai-chat-worker@1 || true'), "inactive\n",
	    'removal stops the workers';
	ok eval { $m->cmd(qw(nginx -t)); 1 },
	    '... and leaves a valid configuration of Nginx'
	    or diag $@;
	ok $there->($_), "... $_ stays" for '/etc/ai-chat/ai-chat.env',
	    "$cred/api_secret_key";
	$m->cmd(qw(dpkg -P ai-chat));
	ok !$there->($_), "purge removes $_" for '/etc/ai-chat', '/run/ai-chat',
	    '/etc/nginx/ai-chat-upstream.conf',
	    '/etc/nginx/sites-available/ai-chat',
	    '/etc/systemd/system/ai-chat.target.wants',
	    '/etc/systemd/system/multi-user.target.wants/ai-chat.target';
	is $m->sh(q(su postgres -c "psql -XAtc 'select count(*) > 0 from )
	    . q(ai_chat_requests' ai_chat")), "t\n",
	    '... and keeps the database';
}
