package AIChat::Provider;

# A stand-in for the API of one provider that checks each request against the
# rules of that provider: authentication, headers, names of models, parameters
# and the order of roles. (t/stub/ simulates the faults that all providers have
# in common.)
#
#	my $p = AIChat::Provider->start(rules => 'yandex', key => 'AQVN...');
#	... OPENAI_BASE_URL => $p->url('/v1') ...
#	is_deeply $p->state->{refused}, [], 'it took each request';
#	$p->set(token_status => 503);
#
# It speaks plain HTTP. It can also be the proxy on the way to the provider:
# over SOCKS5, or with the whole URL in the request. It is a process of its own,
# which ends with the process that started it.

use v5.36;
use utf8;
use AIChat::Proc qw(base_env);
use Fcntl qw(F_SETFD);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use List::Util qw(min);
use MIME::Base64 qw(encode_base64);
use Socket;
use Time::HiRes qw(time);

my $JSON = JSON::PP->new->utf8->canonical;

# -- for the test ------------------------------------------------------------

#   rules    the provider, a name of %RULES
#   key      the key that a request must have
#   log      file for errors of the stand-in itself
# and the settings of set().
sub start ($class, %o)
{
	socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, 0
	    or die "could not make a pair of sockets: $!\n";
	# This descriptor must survive exec; the others must not.
	fcntl $theirs, F_SETFD, 0;
	my $self = bless { control => $ours, name => $o{rules} }, $class;
	my $log = delete $o{log} // '/dev/null';
	$self->{proc} = AIChat::Proc->start(
		name => "the provider $o{rules}",
		cmd => [ $^X, '-I' . (__FILE__ =~ s{/AIChat/[^/]+$}{}r),
		    '-MAIChat::Provider', '-e',
		    'AIChat::Provider::main(@ARGV)', fileno $theirs ],
		env => { base_env() }, log => $log);
	close $theirs;
	$self->{port} = $self->ask(set => \%o)->{port};
	return $self;
}

sub port ($self) { return $self->{port} }
sub url ($self, $path = '') { return "http://127.0.0.1:$self->{port}$path" }

# Settings from now on:
#   token_life_ms    of the tokens that are issued from now on
#   token_delay_ms   before a response of the token endpoint
#   token_status     of such a response, instead of 200
#   token            the text of a token, before its number
#   revoke           the tokens issued so far become invalid
#   quote            errors have the "token", or the "header" X-Secret, as code
#   proxy            "user:password": all requests must use this proxy
sub set ($self, %o)
{
	$self->ask(set => \%o);
	return $self;
}

#   chats      requests that were answered
#   tokens     issued or refused
#   valid      whether the last token is still valid
#   refused    why requests were refused, a text each
#   last       the last chat: headers, body, host
sub state ($self) { return $self->ask(state => undef) }

sub stop ($self)
{
	close $self->{control};
	return $self->{proc}->stop('TERM', 5);
}

sub ask ($self, $what, $arg)
{
	my $line = '';

	local $SIG{PIPE} = 'IGNORE';
	syswrite $self->{control}, $JSON->encode([ $what, $arg ]) . "\n";
	while ($line !~ /\n/) {
		IO::Select->new($self->{control})->can_read(20)
		    && sysread $self->{control}, $line, 65536, length $line
		    or die "the provider $self->{name} does not answer\n";
	}
	return $JSON->decode($line);
}

# -- the rules ---------------------------------------------------------------

my (%set, %state, %valid, %rquid);	# of this process

sub refuse ($status, $why, %error)
{
	die { status => $status, why => $why,
	    body => { error => { message => $why, %error } } };
}

sub bearer ($rq)
{
	refuse(401, 'no or another key', code => 'invalid_api_key')
	    if ($rq->{headers}{authorization} // '') ne "Bearer $set{key}";
}

# Checks that there are only these parameters besides model and messages.
sub parameters ($rq, @names)
{
	my %known = map { $_ => 1 } @names, qw(model messages);

	for my $name (sort keys %{ $rq->{body} }) {
		refuse(400, "Unknown parameter: '$name'", param => $name,
		    code => 'unknown_parameter') if !$known{$name};
	}
}

# Checks that there is one system message, at the beginning; then questions and
# answers in turn, with a question at the end.
sub strict_roles ($rq)
{
	my $roles = join ' ', map { $_->{role} } @{ $rq->{body}{messages} };

	refuse(400, "System message must be at the beginning: $roles")
	    if $roles =~ / system/;
	refuse(400, "Conversation roles must alternate: $roles")
	    if $roles !~ /\A(?:system )?(?:user assistant )*user\z/;
}

sub has_model ($rq, $pattern)
{
	refuse(404, "no such model: $rq->{body}{model}",
	    code => 'model_not_found') if $rq->{body}{model} !~ /\A$pattern\z/;
}

# The checks of each provider; each dies with the reason of a refusal.
my %RULES = (
	openai => {
		path => '/v1/chat/completions',
		check => sub ($rq) {
			bearer($rq);
			has_model($rq, qr/gpt-4o-mini|gpt-5-mini/);
			parameters($rq, qw(temperature max_tokens
			    max_completion_tokens reasoning_effort));
			return if $rq->{body}{model} !~ /^gpt-5/;
			refuse(400, "Unsupported parameter: 'max_tokens' is not"
			    . ' supported with this model. Use'
			    . " 'max_completion_tokens' instead.",
			    code => 'unsupported_parameter', param => 'max_tokens')
			    if exists $rq->{body}{max_tokens};
			refuse(400, "Unsupported value: 'temperature' does not"
			    . ' support 0.7 with this model. Only the default'
			    . ' (1) value is supported.',
			    code => 'unsupported_value', param => 'temperature')
			    if ($rq->{body}{temperature} // 1) != 1;
		},
	},
	azure => {
		path => '/openai/v1/chat/completions',
		check => sub ($rq) {
			refuse(401, 'no or another key') if
			    ($rq->{headers}{'api-key'} // '') ne $set{key};
			refuse(401, 'Authorization is for a token of Entra')
			    if exists $rq->{headers}{authorization};
			parameters($rq, qw(temperature max_tokens));
		},
	},
	yandex => {
		path => '/v1/chat/completions',
		check => sub ($rq) {
			my $folder = $rq->{headers}{'openai-project'} // '';

			bearer($rq);
			refuse(400, 'no OpenAI-Project') if $folder eq '';
			has_model($rq, qr{gpt://\Q$folder\E/[\w.-]+/\w+});
			refuse(400, 'the question would be kept in a log') if
			    ($rq->{headers}{'x-data-logging-enabled'} // '')
			    ne 'false';
			parameters($rq, qw(temperature max_tokens));
		},
	},
	gigachat => {
		path => '/v1/chat/completions',
		token => '/api/v2/oauth',
		check => sub ($rq) {
			my ($token) = ($rq->{headers}{authorization} // '')
			    =~ /\ABearer (.+)\z/;

			refuse(401, 'Token has expired')
			    if !defined $token || time >= ($valid{$token} // 0);
			has_model($rq, qr/GigaChat[\w-]*/);
			strict_roles($rq);
			parameters($rq, qw(temperature max_tokens));
		},
	},
	deepseek => {
		path => '/v1/chat/completions',
		check => sub ($rq) {
			bearer($rq);
			has_model($rq, qr/deepseek-chat/);
			parameters($rq, qw(temperature max_tokens));
		},
	},
	openrouter => {
		path => '/api/v1/chat/completions',
		check => sub ($rq) {
			bearer($rq);
			has_model($rq, qr{[\w.-]+/[\w.:-]+});
			parameters($rq, qw(temperature max_tokens provider));
			refuse(404, 'No endpoints found matching your data policy')
			    if ($rq->{body}{provider}{data_collection} // '')
			    ne 'deny';
			refuse(400, 'the app does not say what it is')
			    if !length($rq->{headers}{'x-title'} // '');
		},
	},
	vllm => {
		path => '/v1/chat/completions',
		check => sub ($rq) {
			bearer($rq);
			has_model($rq, qr{Qwen/[\w.-]+});
			strict_roles($rq);
			parameters($rq, qw(temperature max_tokens
			    chat_template_kwargs));
			my $kwargs = $rq->{body}{chat_template_kwargs} // {};
			refuse(400, 'the model would think aloud')
			    if $kwargs->{enable_thinking} // 1;
		},
	},
	ollama => {
		path => '/v1/chat/completions',
		check => sub ($rq) {
			has_model($rq, qr{[\w.-]+:[\w.-]+});
			strict_roles($rq);
			parameters($rq, qw(temperature max_tokens));
		},
	},
);

sub check_way ($rq)
{
	my $proxy = $set{proxy} or return;
	my $basic = 'Basic ' . encode_base64($proxy, '');

	return if $rq->{socks};
	refuse(407, 'not through the proxy, or without its password')
	    if !$rq->{absolute}
	    || ($rq->{headers}{'proxy-authorization'} // '') ne $basic;
}

sub chat ($rq)
{
	my $rules = $RULES{ $set{rules} };

	check_way($rq);
	refuse(404, "no such path: $rq->{path}") if $rq->{path} ne $rules->{path};
	refuse(415, 'the body is no JSON') if ref $rq->{body} ne 'HASH'
	    || ($rq->{headers}{'content-type'} // '') ne 'application/json';
	if ($set{quote}) {
		my %h = %{ $rq->{headers} };
		my $quoted = $set{quote} eq 'token'
		    ? $h{authorization} =~ s/^\S+ //r : "x.$h{'x-secret'}";
		refuse(400, "quoted: $quoted",
		    map { ($_ => $quoted) } qw(code type param));
	}
	$rules->{check}->($rq);
	$state{chats}++;
	return { choices => [ { index => 0, finish_reason => 'stop', message =>
	    { role => 'assistant', content => "Ответ $set{rules}" } } ],
	    usage => { total_tokens => 42 } };
}

# A worker requests it to keep its connection open, without a token.
sub models ($rq)
{
	check_way($rq);
	return { object => 'list', data => [] };
}

sub token ($rq)
{
	my $now = time;
	my $id = $rq->{headers}{rquid} // '';

	$state{tokens}++;
	refuse($set{token_status}, 'no token, said the test')
	    if ($set{token_status} // 200) != 200;
	check_way($rq);
	refuse(401, 'no or another key')
	    if ($rq->{headers}{authorization} // '') ne "Basic $set{key}";
	refuse(400, 'RqUID is no UUID of version 4') if $id !~
	    /\A[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z/;
	refuse(400, 'RqUID was used before') if $rquid{$id}++;
	refuse(400, 'the body is no form') if
	    ($rq->{headers}{'content-type'} // '')
	    ne 'application/x-www-form-urlencoded';
	refuse(400, 'no scope') if $rq->{raw} !~ /\Ascope=GIGACHAT_API_\w+\z/;
	my $token = ($set{token} // 'eyJ.token') . "-$state{tokens}";
	my $end = $now + ($set{token_life_ms} // 1_800_000) / 1000;
	$valid{$token} = $state{expires} = $end;
	return { access_token => $token, expires_at => int($end * 1000) };
}

# -- the process -------------------------------------------------------------

my %STATUS = (200 => 'OK', 401 => 'Unauthorized',
    407 => 'Proxy Authentication Required');

sub respond ($c, $rq)
{
	my $rules = $RULES{ $set{rules} };
	my $is_token = $rq->{path} eq ($rules->{token} // '');
	my $is_models = $rq->{method} eq 'GET'
	    && $rq->{path} eq $rules->{path} =~ s{/chat/completions}{/models}r;
	my ($status, $body) = (200, undef);

	$state{last} = { headers => $rq->{headers}, body => $rq->{body},
	    host => $rq->{host} } if !$is_token && !$is_models;
	if (!eval { $body = $is_token ? token($rq) : $is_models ? models($rq)
	    : chat($rq); 1 }) {
		my $e = $@;
		die $e if !ref $e;
		($status, $body) = @$e{qw(status body)};
		push @{ $state{refused} }, "$rq->{path}: $e->{why}";
	}
	my $json = $JSON->encode($body);
	push @{ $c->{replies} }, [ time + ($is_token
	    ? $set{token_delay_ms} // 0 : 0) / 1000,
	    "HTTP/1.1 $status " . ($STATUS{$status} // 'Status') . "\r\n"
	    . "Content-Type: application/json\r\nContent-Length: "
	    . length($json) . "\r\n\r\n$json" ];
}

# RFC 1928 and 1929; only with the user and the password of the proxy.
sub socks ($c)
{
	my $in = \$c->{in};

	if ($c->{socks} == 1) {
		my (undef, $n) = unpack 'CC', $$in;
		return 0 if length $$in < 2 || length $$in < 2 + $n;
		my %offers = map { $_ => 1 } unpack 'C*', substr $$in, 2, $n;
		substr $$in, 0, 2 + $n, '';
		send_now($c, $offers{2} ? "\5\2" : "\5\xff");
	} elsif ($c->{socks} == 2) {
		return 0 if $$in !~ s/\A\x01//;
		my ($user, $password) = unpack 'C/a C/a', $$in;
		my $ok = "$user:$password" eq ($set{proxy} // '');
		push @{ $state{refused} }, 'another password of the proxy' if !$ok;
		$$in = '';
		send_now($c, $ok ? "\1\0" : "\1\1");
	} else {
		# A name, not an address that the client has looked up.
		return 0 if length $$in < 5;
		my (undef, undef, undef, $type) = unpack 'CCCC', $$in;
		push @{ $state{refused} }, 'the client resolves names' if $type != 3;
		my ($name) = unpack 'x4 C/a', $$in;
		substr $$in, 0, 4 + 1 + length($name) + 2, '';
		$c->{through} = $name;
		send_now($c, "\5\0\0\1\0\0\0\0\0\0");
	}
	$c->{socks} = $c->{socks} == 3 ? 0 : $c->{socks} + 1;
	return 1;
}

sub send_now ($c, $bytes) { syswrite $c->{sock}, $bytes }

# Reads one request when it is complete.
sub take_request ($c)
{
	$c->{socks} //= $c->{in} =~ /\A\x05/ ? 1 : 0;
	return socks($c) if $c->{socks};
	my ($head) = $c->{in} =~ /\A(.*?\r\n)\r\n/s or return 0;
	my ($line, @lines) = split /\r\n/, $head;
	my %headers = map { /\A([^:]+):\s*(.*?)\s*\z/ ? (lc $1 => $2) : () } @lines;
	my $n = $headers{'content-length'} // 0;
	return 0 if length $c->{in} < length($head) + 2 + $n;
	my $raw = substr $c->{in}, length($head) + 2, $n;
	substr $c->{in}, 0, length($head) + 2 + $n, '';
	my ($method, $target) = split / /, $line;
	my ($absolute, $path) = $target =~ m{\A(?:http://([^/]+))?(/.*)\z};
	respond($c, { method => $method, headers => \%headers, raw => $raw, path => $path // '',
	    absolute => $absolute, socks => $c->{through},
	    host => $absolute // $c->{through} // $headers{host},
	    body => scalar eval { $JSON->decode($raw) } });
	return 1;
}

sub control ($fh, $line, $port)
{
	my ($what, $arg) = @{ $JSON->decode($line) };

	if ($what eq 'set') {
		%valid = () if delete $arg->{revoke};
		%set = (%set, %$arg);
		syswrite $fh, $JSON->encode({ port => $port }) . "\n";
		return;
	}
	my $valid = grep { $_ > time } values %valid;
	syswrite $fh, $JSON->encode({ chats => 0, tokens => 0, refused => [],
	    last => undef, %state, valid => $valid ? 1 : 0 }) . "\n";
}

sub main ($fd)
{
	open my $control, '+<&=', $fd or die "descriptor $fd: $!\n";
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
	    Listen => 1024, ReuseAddr => 1) or die "could not listen: $!\n";
	my $select = IO::Select->new($control, $listen);
	my %client;

	$SIG{PIPE} = 'IGNORE';
	while (1) {
		my @due = map { $_->[0] } map { @{ $_->{replies} } } values %client;
		my $wait = @due ? min(@due) - time : undef;
		for my $fh ($select->can_read($wait && $wait < 0 ? 0 : $wait)) {
			if ($fh == $control) {
				sysread $control, my $line, 65536 or return;
				control($control, $line, $listen->sockport);
			} elsif ($fh == $listen) {
				my $sock = $listen->accept or next;
				$select->add($sock);
				$client{$sock} = { sock => $sock, in => '',
				    replies => [] };
			} else {
				my $c = $client{$fh};
				if (!sysread $fh, $c->{in}, 65536, length $c->{in}) {
					$select->remove($fh);
					delete $client{$fh};
					next;
				}
				1 while length $c->{in} && take_request($c);
			}
		}
		for my $c (values %client) {
			send_now($c, (shift @{ $c->{replies} })->[1])
			    while @{ $c->{replies} }
			    && $c->{replies}[0][0] <= time;
		}
	}
}

1;
