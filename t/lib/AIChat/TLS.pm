package AIChat::TLS;

# A TLS end for a test: an independent proxy, nghttpx or Nginx, accepts TLS
# connections and forwards each request to a plain HTTP server, such as the
# stand-in model. This module also makes the certificates for it, from a CA that
# only the test trusts.
#
#	AIChat::TLS::make_certificates($dir);
#	my $end = AIChat::TLS->start(kind => 'h2', to => $port,
#	    certs => $dir, ...);
#	system 'curl', '--cacert', AIChat::TLS::ca_file($dir), $end->url;
#
# The proxy changes as little as possible. Each request is sent to the server
# once, whatever its result is, because tests count the requests there. Nothing
# times out before a test does. Faults of the server's connection are not
# forwarded as such: when the server closes it without a response, resets it, or
# sends a header that is too large, the client gets a 502 from the proxy, or
# nghttpx resets the stream. A test of such faults needs the plain connection.

use v5.36;
use AIChat::Proc qw(wait_for run slurp spew tail free_port base_env);
use Encode qw(encode_utf8);
use File::Path qw(make_path);
use IO::Socket::INET;

# -- certificates ------------------------------------------------------------

# name => what the server's certificate says. All but the first are to be
# refused.
my %CERTIFICATES = (
	good => { names => 'IP:127.0.0.1,DNS:localhost' },
	expired => { names => 'IP:127.0.0.1,DNS:localhost',
	    end => '20200201000000Z' },
	other_host => { names => 'DNS:model.example' },
	other_ca => { names => 'IP:127.0.0.1,DNS:localhost', ca => 'other' },
);

# "openssl ca" and not "openssl x509", which makes no certificate that has
# expired.
my $CA_CONF = <<'END';
[ca]
default_ca = test
[test]
database = $ENV::DIR/index.txt
new_certs_dir = $ENV::DIR
rand_serial = yes
unique_subject = no
default_md = sha256
copy_extensions = copy
policy = any
[any]
commonName = supplied
END

# Makes two CAs, of which ca_file is the one to trust, and all server
# certificates.
sub make_certificates ($dir)
{
	make_path($dir);
	spew("$dir/ca.conf", $CA_CONF);
	spew("$dir/index.txt", '');
	for my $ca (qw(ca other)) {
		openssl($dir, qw(req -x509 -days 30), new_key("$dir/$ca.key"),
		    '-subj', "/CN=AI Chat test $ca", '-out', "$dir/$ca.pem");
	}
	for my $name (sort keys %CERTIFICATES) {
		my $want = $CERTIFICATES{$name};
		my $ca = $want->{ca} // 'ca';
		openssl($dir, 'req', new_key("$dir/$name.key"), '-subj',
		    "/CN=$name", '-addext', "subjectAltName=$want->{names}",
		    '-out', "$dir/$name.csr");
		openssl($dir, qw(ca -batch -notext -config), "$dir/ca.conf",
		    '-cert', "$dir/$ca.pem", '-keyfile', "$dir/$ca.key",
		    '-in', "$dir/$name.csr", '-out', "$dir/$name.pem",
		    '-startdate', '20200101000000Z',
		    '-enddate', $want->{end} // '20400101000000Z');
	}
}

# A P-256 key takes milliseconds; an RSA key takes a second.
sub new_key ($path)
{
	return (qw(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout),
	    $path);
}

sub openssl ($dir, @args)
{
	run([ 'openssl', @args ], env => { base_env(), DIR => $dir });
}

sub ca_file ($dir) { return "$dir/ca.pem" }

# -- the proxy ---------------------------------------------------------------

my %COMMAND = (
	h2 => \&nghttpx,
	http1 => \&nginx,
	'nginx-h2' => \&nginx,
	'nginx-plain' => \&nginx,
);

#   kind   the protocol over TLS: "h2", HTTP/2 or HTTP/1.1, as the client
#          prefers, by nghttpx; "nginx-h2", the same by Nginx; "http1",
#          HTTP/1.1, by Nginx; "nginx-plain", HTTP/1.1 without TLS, to compare
#   to     the port of the server
#   body   JSON: Nginx reads each request and responds with this body itself;
#          there is no server then
#   certs  the directory that make_certificates has filled
#   cert   the name of a certificate in it; default "good"
#   dir    a directory of its own, with a short path
#   log    a file
#   port   the port on which it listens; default a free one
#   net    the network namespace to be in, as a file
#   load   true: for a benchmark, by Nginx alone. The proxy takes thousands of
#          requests in flight, never ends a connection because of the number of
#          its requests, does as little work for a request as possible, and
#          records the protocols of the clients, see spoken()
sub start ($class, %o)
{
	my $self = bless { cert => 'good', port => free_port(), %o }, $class;
	my $command = $COMMAND{ $o{kind} }
	    // die "there is no TLS end of the kind $o{kind}\n";

	make_path($o{dir});
	$self->{proc} = AIChat::Proc->start(name => "the TLS end ($o{kind})",
	    cmd => [ $command->($self) ], env => { base_env() },
	    log => $o{log}, net => $o{net});
	wait_for(sub {
		die "$self->{proc}{name} " . $self->{proc}->how_it_ended . ":\n"
		    . tail($o{log}) if !$self->{proc}->alive;
		return defined $o{net} || IO::Socket::INET->new(
		    PeerAddr => '127.0.0.1', PeerPort => $self->{port});
	}, 20, $self->{proc}{name});
	return $self;
}

sub port ($self) { return $self->{port} }
sub proc ($self) { return $self->{proc} }
sub url ($self) { return "https://127.0.0.1:$self->{port}" }
sub stop ($self) { return $self->{proc}->stop }

# What the clients spoke so far, such as "HTTP/2.0 TLSv1.3", and how many
# connections did; only with "load". A connection is recorded up to a second
# after its first request.
sub spoken ($self)
{
	my %n;

	$n{$_}++ for split /\n/, eval { slurp("$self->{dir}/spoken.log") } // '';
	return %n;
}

sub cert_file ($self) { return "$self->{certs}/$self->{cert}.pem" }
sub key_file ($self) { return "$self->{certs}/$self->{cert}.key" }

# In one process, so that none is left behind when it is killed.
sub nghttpx ($self)
{
	return ('nghttpx', '--conf=/dev/null', '--single-process', '--workers=1',
	    '--no-ocsp', '--log-level=WARN', '--errorlog-file=/dev/stderr',
	    "--frontend=127.0.0.1,$self->{port}",
	    "--backend=127.0.0.1,$self->{to}",
	    # After it could not connect, it would not try again for a while.
	    '--backend-max-backoff=0',
	    (map { "--$_=1h" } qw(backend-read-timeout backend-write-timeout
		frontend-http2-read-timeout frontend-read-timeout
		frontend-write-timeout stream-write-timeout)),
	    $self->key_file, $self->cert_file);
}

# Of the http block, for a benchmark. A line of the log for each connection and
# not for each request. TLS 1.3 is off by default in Debian's Nginx. An HTTP/2
# connection of Nginx also ends after an hour, keepalive_time.
my $LOAD_HTTP = <<'END';
	map $connection_requests $is_first { 1 1; default 0; }
	log_format spoken "$server_protocol $ssl_protocol";
	access_log DIR/spoken.log spoken buffer=32k flush=1s if=$is_first;
	keepalive_requests 1000000000;
	http2_max_concurrent_streams 128;
	client_body_buffer_size 256k;
	ssl_protocols TLSv1.2 TLSv1.3;
END

my $PROXY = <<'END';
			proxy_pass http://server;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_next_upstream off;
			proxy_read_timeout 1h;
			proxy_send_timeout 1h;
END

# For tests: each byte is passed on when it comes.
my $UNBUFFERED = <<'END' =~ s/\n\z//r;
			proxy_buffering off;
			proxy_request_buffering off;
END

sub nginx ($self)
{
	my $dir = $self->{dir};
	my $ssl = { 'nginx-h2' => ' ssl http2', http1 => ' ssl',
	    'nginx-plain' => '' }->{ $self->{kind} };
	my $load = $self->{load};
	my %n = $load ? (connections => 32768, backlog => ' backlog=8192',
	    keepalive => 10000) : (connections => 8192, backlog => '',
	    keepalive => 256);

	my $answer = $self->{body} // '';
	die "the body cannot be quoted\n" if $answer =~ /['\$\\]/;
	my $module = $answer eq '' ? ''
	    : 'load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;';
	my $location = $answer ne '' ? <<"END" : $PROXY . ($load ? '' : $UNBUFFERED);
			default_type application/json;
			echo_read_request_body;
			echo '$answer';
END
	my $server = $answer ne '' ? '' : <<"END";
	upstream server {
		server 127.0.0.1:$self->{to};
		keepalive $n{keepalive};
@{[ $load ? "\t\tkeepalive_requests 1000000000;" : '' ]}
	}
END
	spew("$dir/nginx.conf", encode_utf8(<<"END"));
$module
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log stderr;
events {
	worker_connections $n{connections};
}
http {
@{[ $load ? $LOAD_HTTP =~ s/DIR/$dir/gr : "\taccess_log off;" ]}
	client_body_temp_path $dir/body;
	fastcgi_temp_path $dir/fastcgi;
	proxy_temp_path $dir/proxy;
	scgi_temp_path $dir/scgi;
	uwsgi_temp_path $dir/uwsgi;
	client_max_body_size 0;
	client_header_timeout 1h;
	client_body_timeout 1h;
	keepalive_timeout 1h;
	send_timeout 1h;
$server
	server {
		listen 127.0.0.1:$self->{port}$ssl$n{backlog};
		ssl_certificate @{[ $self->cert_file ]};
		ssl_certificate_key @{[ $self->key_file ]};
		location / {
$location
		}
	}
}
END
	return ('nginx', '-e', 'stderr', '-p', $dir, '-c', "$dir/nginx.conf");
}

1;
