# ai-chatctl nginx: the site of Nginx from the settings, and what stays as it
# was when a step fails.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew free_port);
use AIChat::Stack;
use AIChat::Test;

my $s = AIChat::Test->new(workers => 1);
my $stack = $s->stack;
my $RUN = $stack->run_dir;
my $SITE = "$RUN/conf.d/ai-chat.conf";
my $TOP = AIChat::Stack::top();
my %own = (AI_CHATCTL_SITE => $SITE, AI_CHATCTL_NGINX_DIR => "$TOP/nginx",
    AI_CHATCTL_EXTRAS => "$RUN/extras/*.conf");

# nginx -t writes the first message to the log of Nginx, too.
$s->expect_log(qr/bind\(\) to 192\.0\.2\.1\S+ failed/,
    qr/access forbidden by rule, client: 127\.0\.0\.3/);

# Settings of the site only: the mandatory settings of the workers are missing.
my $FILE = "$RUN/site.env";
my %PORTS = (AI_CHAT_PORT => $s->port,
    AI_CHAT_METRICS_PORT => $s->metrics_port);
my $ssl_port = free_port();

sub nginx ($settings, @args)
{
	my %env = ref $args[-1] ? %{ pop @args } : ();

	spew($FILE, join '', map { "$_=$settings->{$_}\n" } sort keys %$settings);
	return $s->ctl('nginx', @args,
	    { env => { %own, AI_CHATCTL_ENV_FILE => $FILE, %env } });
}

sub done ($title, @args)
{
	my $got = nginx(@args);

	is $got->{status}, 0, $title or diag "$got->{out}$got->{err}";
	is $got->{err}, '', '... without a warning';
	return $got;
}

# A failure leaves the site and Nginx as they were.
sub fails ($title, $status, $why, @args)
{
	my $before = slurp($SITE);
	my $got = nginx(@args);

	is $got->{status}, $status, $title or diag "$got->{out}$got->{err}";
	like $got->{err}, $why, '... with the reason';
	is slurp($SITE), $before, '... and leaves the site as it was';
	is $s->get('/health')->{status}, 200, '... which Nginx uses';
	return $got;
}

# -- the text ----------------------------------------------------------------

my $edited = slurp($SITE);
my $text = done('--print', { %PORTS }, '--print')->{out};
is slurp($SITE), $edited, '... changes nothing';
{
	my $lines = sub ($text) {
		return join "\n", grep { !/^\s*(?:#|$)/ } split /\n/, $text;
	};
	my $want = $stack->fill('ai-chat.conf.in',
	    LISTEN => '127.0.0.1:' . $s->port,
	    METRICS => '127.0.0.1:' . $s->metrics_port,
	    SHARED => "$TOP/nginx", UPSTREAM => "$RUN/upstream.conf",
	    EXTRAS => "$RUN/extras/*.conf",
	    METRICS_EXTRAS => "$RUN/extras/metrics/*.conf",
	    READ_TIMEOUT => '65s');
	is $lines->($text), $lines->($want), '... prints the template, filled in';
	unlike $text, qr/\@[A-Z_]+\@/, '... without a name between at signs';
	like $text, qr/ai-chat\.env.*ai-chatctl nginx/s,
	    '... and with a comment that says where to change it';

	my $json = nginx({ %PORTS }, '--print', '--json')->{json};
	is $json->{text}, $text, '--print --json has the same text';

	$text = nginx({ AI_CHAT_ADDRESS => '10.1.2.3, ::1,0.0.0.0',
	    AI_CHAT_PORT => 443, AI_CHAT_DEADLINE_MS => 60001,
	    AI_CHAT_TLS_CERTIFICATE => '/nowhere/a.pem',
	    AI_CHAT_TLS_KEY => '/nowhere/b.pem' }, '--print')->{out};
	is join(', ', $text =~ /^\tlisten (.*) backlog=4096;$/mg),
	    '10.1.2.3:443 ssl, [::1]:443 ssl, 0.0.0.0:443 ssl',
	    'Nginx listens on each address, with TLS';
	like $text, qr{^\tssl_certificate /nowhere/a\.pem;$}m,
	    '... with the certificate';
	like $text, qr{^\tssl_certificate_key /nowhere/b\.pem;$}m,
	    '... and its key';
	is scalar(() = $text =~ /\bssl_certificate /g), 1, '... once';
	like $text, qr/^\tlisten 127\.0\.0\.1:9002;$/m,
	    '... and 127.0.0.1 for the metrics';
	is join(' ', $text =~ /fastcgi_(?:read|send)_timeout (\w+);/g), '71s 71s',
	    'Nginx waits 10 s longer than the deadline, in whole seconds';
}

# -- a site that ai-chatctl did not write ------------------------------------

fails('a site that was edited', 1, qr/was edited.*--force/, { %PORTS });
{
	my $got = done('--force replaces it', { %PORTS }, '--force');
	is slurp("$SITE.edited"), $edited, '... and keeps a copy';
	like $got->{out}, qr/\Q$SITE.edited\E/, '... whose name it prints';
	is slurp($SITE), nginx({ %PORTS }, '--print')->{out},
	    '... by what --print prints';
	is $s->send->{status}, 200, '... and chats are answered';

	$got = done('once more', { %PORTS });
	like $got->{out}, qr/up to date/, '... nothing is to be written';
	is_deeply nginx({ %PORTS }, '--json')->{json}, { site => $SITE,
	    written => JSON::PP::false, enabled => JSON::PP::true,
	    reloaded => JSON::PP::true }, '... as JSON';
}

# -- other settings ----------------------------------------------------------

{
	my $port = free_port();
	my $old = $s->port;
	done('another port', { %PORTS, AI_CHAT_PORT => $port });
	my $at = sub ($port) {
		return HTTP::Tiny->new(timeout => 5)
		    ->get("http://127.0.0.1:$port/health")->{status};
	};
	is $at->($port), 200, '... is served when the command returns';
	is $at->($old), 599, '... and the old port is not';
	done('the old port again', { %PORTS });
	is $at->($old), 200, '... is served again';

	spew("$RUN/extras/x.conf", "add_header X-Extra 1 always;\n");
	done('additions of the operator', { %PORTS });
	is $s->get('/health')->{headers}{'x-extra'}, 1, '... are in effect';
	unlink "$RUN/extras/x.conf";

	mkdir "$RUN/extras/metrics";
	my $metrics = free_port();
	spew("$RUN/extras/metrics/x.conf",
	    "listen 127.0.0.2:$metrics;\nallow 127.0.0.2;\n");
	done('a Prometheus on another machine', { %PORTS });
	is(HTTP::Tiny->new(local_address => "127.0.0.$_->[0]")
	    ->get("http://127.0.0.2:$metrics/metrics")->{status}, $_->[1],
	    "... $_->[2]") for [ 2, 200, 'is served' ], [ 3, 403, 'and no other' ];
	unlink "$RUN/extras/metrics/x.conf";
}

{
	my ($cert, $key) = ("$RUN/cert.pem", "$RUN/key.pem");
	run([ qw(openssl req -x509 -newkey ec -pkeyopt
	    ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost),
	    '-addext', 'subjectAltName=DNS:localhost', '-keyout', $key, '-out',
	    $cert ]);
	my %tls = (%PORTS, AI_CHAT_TLS_CERTIFICATE => $cert,
	    AI_CHAT_TLS_KEY => $key);
	fails('a certificate that does not exist', 1, qr/\[emerg\].*nowhere/,
	    { %tls, AI_CHAT_TLS_CERTIFICATE => '/nowhere/cert.pem' });
	fails('the key of another certificate', 1, qr/\[emerg\].*key/, { %tls,
	    AI_CHAT_TLS_KEY => do {
		run([ qw(openssl genpkey -algorithm EC -pkeyopt
		    ec_paramgen_curve:prime256v1 -out), "$RUN/other.pem" ]);
		"$RUN/other.pem";
	    } });
	done('TLS', { %tls, AI_CHAT_PORT => $ssl_port });
	my $got = run([ 'sh', '-c', 'printf "GET /health HTTP/1.0\r\n\r\n" | '
	    . 'openssl s_client -connect "$1" -servername localhost -CAfile "$2"'
	    . ' -verify_return_error -quiet 2>/dev/null || :', 'sh',
	    "127.0.0.1:$ssl_port", $cert ]);
	like $got, qr/^HTTP\/1\.1 200 .*"status":"ok"/s,
	    '... serves with the certificate';
	done('no TLS', { %PORTS });
	is $s->get('/health')->{status}, 200, '... serves without';
}

# Nginx cannot bind a port of one address and of all addresses at once.
{
	my %all = (%PORTS, AI_CHAT_ADDRESS => '0.0.0.0');
	# With the site of ai-chatctl, not that of the stack.
	my $restart = sub {
		no warnings 'redefine';
		local *AIChat::Stack::write_nginx_conf = sub ($stack) { };
		$stack->nginx->stop;
		$stack->start_nginx;
	};
	fails('all addresses instead of one', 1,
	    qr/port @{[ $s->port ]} between one.*--no-reload && .*restart nginx/,
	    { %all });
	done('all addresses with --no-reload', { %all }, '--no-reload');
	$restart->();
	like done('... after which it is in use', { %all })->{out},
	    qr/of 0\.0\.0\.0/, '... with its address';
	fails('one address instead of all', 1, qr/between one.*restart nginx/,
	    { %PORTS });
	done('--no-reload back', { %PORTS }, '--no-reload');
	$restart->();
	is $s->get('/health')->{status}, 200, '... and a restart';
}

# -- refusals ----------------------------------------------------------------

fails('an address of another machine', 1, qr/\[emerg\].*192\.0\.2\.1/,
    { %PORTS, AI_CHAT_ADDRESS => '192.0.2.1' });
fails("$_->[0] $_->[1]", 2, qr/\Q$_->[0]\E/, { %PORTS, $_->[0] => $_->[1] })
    for [ AI_CHAT_ADDRESS => 'localhost' ], [ AI_CHAT_PORT => 70000 ],
    [ AI_CHAT_METRICS_PORT => $s->port ], [ AI_CHAT_TLS_KEY => '/x' ],
    [ AI_CHAT_ADRESS => '::1' ], [ AI_CHAT_DEADLINE_MS => '55s' ];
fails('a path that Nginx would read as two words', 2, qr/quotes/, { %PORTS },
    { AI_CHATCTL_EXTRAS => '/a b/*.conf' });
fails('a directory without the template', 2, qr/nowhere/, { %PORTS },
    { AI_CHATCTL_NGINX_DIR => '/nowhere' });
{
	mkdir "$RUN/template";
	spew("$RUN/template/ai-chat.conf.in", "# about\n\nserver { \@NEW\@ }\n");
	fails('a template of another version', 2, qr/\@NEW\@/, { %PORTS },
	    { AI_CHATCTL_NGINX_DIR => "$RUN/template" });

	spew("$RUN/extras/x.conf", "nonsense on;\n");
	fails('an addition that Nginx does not accept', 1, qr/nonsense/,
	    { %PORTS, AI_CHAT_DEADLINE_MS => 50000 });
	unlink "$RUN/extras/x.conf";
}

# -- a site that is not enabled ----------------------------------------------

{
	my $other = "$RUN/not-enabled";
	my $got = done('a site that Nginx does not read', { %PORTS },
	    { AI_CHATCTL_SITE => $other });
	like $got->{out}, qr/does not read it yet.*ln -s \Q$other\E/s,
	    '... says how to enable it';
	ok -e $other, '... and writes it';
	$got = nginx({ %PORTS }, '--no-reload', '--json',
	    { AI_CHATCTL_SITE => $other, AI_CHATCTL_HOOK => '/nowhere' });
	is_deeply $got->{json}, { site => $other, written => JSON::PP::false,
	    enabled => undef, reloaded => JSON::PP::false },
	    '--no-reload needs no Nginx';

	# By a link, as on a Debian host.
	spew($other, slurp($SITE));
	unlink $SITE;
	symlink $other, $SITE;
	$got = done('a site that is enabled by a link',
	    { %PORTS, AI_CHAT_DEADLINE_MS => 50000 },
	    { AI_CHATCTL_SITE => $other });
	like $got->{out}, qr/Nginx uses it/, '... is used';
	ok -l $SITE, '... and the link stays';
	like run([ 'cat', $SITE ]), qr/fastcgi_read_timeout 60s/,
	    '... to the new site';
}

done_testing;
