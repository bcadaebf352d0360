# Additions that an operator may make to the site: TLS, an allow-list, limits of
# a caller, sizes, headers. Nginx accepts each of them alone and all together,
# and each does what its text says.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew);
use AIChat::Stack;
use AIChat::Test;
use File::Path qw(make_path remove_tree);

my $s = AIChat::Test->new;
my $stack = $s->stack;
my $RUN = $stack->run_dir;
my $ETC = $s->dir . '/etc';
my $HERE = AIChat::Stack::top() . '/nginx/snippets';
my %IS_HTTP = ('limit-zones' => 1);
my $KEY = "X-API-KEY: $AIChat::Test::KEY";

# Nginx logs the callers that it refuses.
$s->expect_log(qr/access forbidden by rule/, qr/SSL_do_handshake\(\) failed/);

make_path("$ETC/tls", "$ETC/nginx");
run([ 'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
    'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj',
    '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
    '-keyout', "$ETC/tls/key.pem", '-out', "$ETC/tls/fullchain.pem" ]);
spew("$ETC/nginx/allowed", "allow 127.0.0.1;\n");

# Copies the site and its http block into a directory that stands for /etc;
# $edit makes an operator's changes.
sub put_in (@names)
{
	my $edit = ref $names[-1] ? pop @names : sub {};

	remove_tree("$RUN/extras");
	unlink "$RUN/conf.d/ai-chat-$_.conf" for keys %IS_HTTP;
	make_path("$RUN/extras");
	for my $name (@names) {
		local $_ = slurp("$HERE/$name.conf");
		s{/etc/ai-chat/}{$ETC/}g;
		$edit->();
		spew($IS_HTTP{$name} ? "$RUN/conf.d/ai-chat-$name.conf"
		    : "$RUN/extras/$name.conf", $_);
	}
	$stack->{listen} = grep({ $_ eq 'tls' } @names) ? ' ssl' : undef;
	$stack->write_nginx_conf;
}

sub restart_with (@names)
{
	$stack->nginx->stop('QUIT');
	put_in(@names);
	$stack->start_nginx;
}

sub get_bytes ($path, @headers)
{
	return join "\r\n", "GET $path HTTP/1.1", 'Host: localhost', @headers,
	    '', '';
}

# -- each alone and all together ---------------------------------------------

my @all = map { m{([^/]+)\.conf$} } glob "$HERE/*.conf";
cmp_ok scalar @all, '>=', 6, 'there are snippets';
for my $names (map({ [ $_ ] } grep { $_ ne 'limits' } @all),
    [ qw(limit-zones limits) ], \@all) {
	put_in(@$names);
	my $said = eval { run([ 'nginx', '-t', '-q', '-c', "$RUN/nginx.conf",
	    '-p', $RUN ]) } // $@;
	is $said, '', "Nginx accepts @$names";
}

# -- TLS ---------------------------------------------------------------------

# The site that ai-chatctl writes includes another file with the same directives.
{
	my ($snippet, $shared) = map { join "\n",
	    grep { /^ssl_/ && !/^ssl_certificate/ } split /\n/, slurp($_) }
	    "$HERE/tls.conf", "$HERE/../ai-chat-tls.conf";
	is $shared, $snippet, 'both files about TLS have the same directives';
	like $shared, qr/^ssl_protocols /m, '... and there are some';
}

# The response, and what openssl reports about the connection.
sub ask_tls ($bytes, @args)
{
	my $file = $s->dir . '/tls';

	spew($file, $bytes);
	my $raw = run([ 'sh', '-c', 'file=$1; shift; openssl s_client "$@"'
	    . ' -brief -ign_eof <"$file" 2>"$file.err" || :', 'sh', $file,
	    '-connect', '127.0.0.1:' . $s->port, '-servername', 'localhost',
	    '-CAfile', "$ETC/tls/fullchain.pem", '-verify_return_error',
	    @args ]);
	return (AIChat::Test::parse_answer($raw), slurp("$file.err"));
}

restart_with('tls');
for my $version ('1.2', '1.3') {
	my ($got, $said) = ask_tls(get_bytes('/v1/chat/limits/1', $KEY,
	    'Connection: close'), '-tls' . $version =~ tr/./_/r);
	is $got->{status}, 200, "TLS $version: an answer";
	is $got->{json}{telegram_id}, 1, '... of the worker';
	like $said, qr/Protocol version: TLSv\Q$version\E/, '... over it';
	like $said, qr/Verification: OK/, '... with the certificate';
	is $got->{headers}{'strict-transport-security'}, undef,
	    '... without Strict-Transport-Security';
}
for my $version ('1', '1_1') {
	my ($got, $said) = ask_tls(get_bytes('/health', 'Connection: close'),
	    "-tls$version", '-cipher', 'ALL@SECLEVEL=0');
	is $got->{status}, 599, "-tls$version is refused";
	like $said, qr/alert protocol version/, '... by Nginx';
}
{
	my ($got) = ask_tls(get_bytes('/health', 'Connection: close'),
	    '-tls1_2', '-cipher', 'AES128-GCM-SHA256');
	is $got->{status}, 599, 'a cipher without forward secrecy: refused';

	$got = $s->get('/health');
	is $got->{status}, 400, 'a caller without TLS';
	is $got->{content}, '{"detail":"Bad Request"}',
	    '... gets an error in JSON';
}

# -- limits ------------------------------------------------------------------

# So many requests of one caller at once, over one connection; returns the
# responses.
sub burst ($n, $path, @headers)
{
	my $sock = $s->connect;
	my @answers;

	print $sock get_bytes($path, @headers) x ($n - 1),
	    get_bytes($path, @headers, 'Connection: close');
	$sock->flush;
	my $raw = do { local $/; <$sock> };
	return map { AIChat::Test::parse_answer($_) }
	    split /(?=HTTP\/1\.1 \d\d\d )/, $raw;
}

sub count ($status, @got)
{
	return scalar grep { $_->{status} == $status } @got;
}

restart_with(qw(limit-zones limits), sub {
	s/rate=100r/rate=1r/;
	s/rate=300r/rate=1r/;
	s/burst=200/burst=9/;
	s/burst=600/burst=49/;
	s/flights 1000/flights 2/;
});
my $path = '/v1/chat/limits/1';
{
	my @got = burst(15, $path, $KEY);
	is count(200, @got), 10,
	    'a burst of a caller is answered up to its limit';
	my ($over) = grep { $_->{status} == 429 } @got;
	is count(429, @got), 5, '... and requests above it are refused';
	is why($over), 'Too Many Requests', '... in JSON';
	is $over->{headers}{'content-type'}, 'application/json',
	    '... with its content type';
	like $over->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... with Retry-After';
	like $over->{headers}{'x-request-id'}, qr/^\w+$/, '... with its id';

	@got = burst(5, $path, 'X-API-KEY: another');
	is count(403, @got), 5, 'another key is not affected';
	@got = burst(10, $path);
	is count(403, @got), 10,
	    'callers without a key are not affected either';
	is count(429, burst(2, $path)), 2,
	    '... but share a limit by their address';
	is count(429, burst(1, $path, 'X-API-KEY: ' . 'x' x 129)), 1,
	    '... with callers whose key is too long';
	is count(200, burst(30, '/health', $KEY)), 30,
	    'health is answered without a key';
	cmp_ok count(429, burst(120, '/health/ready')), '>=', 40,
	    '... but only up to a limit';
	cmp_ok count(429, burst(120, '/v1/chat/health')), '>=', 40,
	    '... with either path';

	my @made_up = map { burst(1, $path, "X-API-KEY: made-up-$_") } 1 .. 40;
	cmp_ok count(429, @made_up), '>', 0,
	    'invented keys are limited by the address';
	cmp_ok count(403, @made_up), '>', 10,
	    '... above the limit of one caller';
}

restart_with(qw(limit-zones limits), sub { s/flights 1000/flights 2/ });
{
	my @socks = $s->start_chats(map { { telegram_id => $_,
	    message => '[[id=slow delay=1500]]' } } 1, 2);
	wait_for(sub { $s->model_count('slow') == 2 }, 10, 'two in flight');
	my $got = $s->send(telegram_id => 3);
	is $got->{status}, 429, 'one request in flight above the limit';
	is why($got), 'Too Many Requests', '... in JSON';
	like $got->{headers}{'retry-after'}, qr/^[1-9]\d*$/,
	    '... with Retry-After';
	is $s->get($path, headers => { 'X-API-KEY' => 'another' })->{status},
	    403, '... another key is not affected';
	is join(' ', map { $_->{status} } finish_chats(@socks)), '200 200',
	    '... nor are the two in flight';
	# Nginx counts a request for a moment after its last byte.
	wait_for(sub { $s->send(telegram_id => 3)->{status} == 200 }, 10,
	    'a free place');
	is $s->ledger(3)->{count}, 1,
	    '... and the refused request was not counted';
}

# -- the allow-list ----------------------------------------------------------

restart_with('allow-list');
{
	is $s->get($path)->{status}, 200, 'an address in the list is served';
	my $got = AIChat::Test::with_json(HTTP::Tiny->new(
	    local_address => '127.0.0.2')->get($s->url('/health')));
	is $got->{status}, 403, 'another address is refused';
	is $got->{content}, '{"detail":"Forbidden"}', '... in JSON';
	is $got->{headers}{'content-type'}, 'application/json',
	    '... with its content type';
}

# -- sizes and headers -------------------------------------------------------

restart_with(qw(sizes headers));
{
	is $s->get('/health', headers => { 'X-A' => 'a' x 3900 })->{status}, 200,
	    'a header of nearly 4 KB is accepted';
	is $s->get('/health', headers => { 'X-A' => 'a' x 4200 })->{status}, 400,
	    '... and one over 4 KB is refused';
	is $s->get('/health?' . 'a' x 4200)->{status}, 414,
	    'a URI over 4 KB is refused';

	my %want = ('x-content-type-options' => 'nosniff',
	    'content-security-policy' =>
		"default-src 'none'; frame-ancestors 'none'",
	    'referrer-policy' => 'no-referrer', 'cache-control' => 'no-store');
	for ([ 200, $s->get($path) ], [ 404, $s->get('/nothing') ],
	    [ 414, $s->get('/health?' . 'a' x 4200) ]) {
		my ($status, $got) = @$_;
		is $got->{status}, $status, "with a $status";
		my %got = map { $_ => $got->{headers}{$_} } keys %want;
		is_deeply \%got, \%want, '... have the headers';
		like $got->{headers}{'x-request-id'}, qr/^\w+$/,
		    '... and the request id';
	}
}

done_testing;
