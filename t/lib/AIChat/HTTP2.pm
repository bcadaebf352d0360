package AIChat::HTTP2;

# A model over TLS with connections that a test controls: t/lib/http2_model.js,
# by Node.js.
#
#	my $m = AIChat::HTTP2->start($s);
#	$s->restart_worker(1, $m->settings);
#	$m->set(settings => { maxConcurrentStreams => 1 });
#	$s->send(message => '[[text=A rst=7 times=1]]');
#	$m->do('goaway');
#	$m->requests('A');

use v5.36;
use AIChat::Proc qw(wait_for tail free_port base_env slurp);
use AIChat::TLS;
use HTTP::Tiny;
use JSON::PP ();
use Test::More ();

my $JSON = JSON::PP->new->utf8;

# Its certificates are those of the test, which has a TLS end of its own, or
# those in "certs".
sub start ($class, $s, %o)
{
	my $self = bless { s => $s, port => free_port(), control => free_port(),
	    certs => $o{certs} // $s->stack->{certs}, log => $s->dir . '/log/http2.log' }, $class;

	$self->{proc} = AIChat::Proc->start(name => 'the HTTP/2 model',
	    cmd => [ 'node', __FILE__ =~ s{AIChat/[^/]+$}{http2_model.js}r,
		$JSON->encode({ map { $_ => $self->{$_} } qw(port control certs) }) ],
	    env => { base_env() }, log => $self->{log});
	wait_for(sub {
		die "$self->{proc}{name} " . $self->{proc}->how_it_ended . ":\n"
		    . tail($self->{log}) if !$self->{proc}->alive;
		return eval { $self->seen };
	}, 20, $self->{proc}{name});
	return $self;
}

# The settings with which a worker calls it. Connections are opened for chats
# only.
sub settings ($self)
{
	return (OPENAI_BASE_URL => "https://127.0.0.1:$self->{port}/v1",
	    OPENAI_CA_FILE => AIChat::TLS::ca_file($self->{certs}),
	    OPENAI_KEEP_WARM => 0, AI_CHAT_BREAKER_FAILURES => 0);
}

sub ask ($self, $method, $path, $o = undef)
{
	my $got = HTTP::Tiny->new(timeout => 20, keep_alive => 0)->request($method,
	    "http://127.0.0.1:$self->{control}/$path",
	    $o ? { content => $JSON->encode($o) } : {});

	die "the HTTP/2 model: $got->{status} $got->{content}\n"
	    . tail($self->{log}) if !$got->{success};
	return $JSON->decode($got->{content});
}

sub set ($self, %o) { return $self->ask('POST', 'set', \%o) }
sub do ($self, $order, %o)
{
	return $self->ask('POST', 'do', { order => $order, %o });
}

# { connections, handshakes, resumed, hanging, open, requests }
sub seen ($self) { return $self->ask('GET', 'seen') }
sub forget ($self) { $self->do('forget') }

# Each { connection, text, ended }; of one text or of all.
sub requests ($self, $text = undef)
{
	return grep { !defined $text || ($_->{text} // '') eq $text }
	    @{ $self->seen->{requests} };
}

sub pending ($self)
{
	return scalar grep { $_->{ended} eq 'pending' } $self->requests;
}

sub wait_pending ($self, $n)
{
	wait_for(sub { $self->pending >= $n }, 15, "$n requests at the model");
}

sub stop ($self) { $self->{proc}->stop }

# -- what must add up --------------------------------------------------------

# Checks the number of attempts in the log line of a user.
sub attempts ($s, $user)
{
	return wait_for(sub {
		$s->worker_log(1) =~ /event=request .*user=$user .*attempts=(\d+)/
		    ? $1 : 0;
	}, 10, "the log line of user $user");
}

# Checks that chats, each { telegram_id, text }, and their answers are
# consistent: no chat has the answer of another one; a chat without an answer
# failed with a 500 in JSON; answered = stored = counted; and the number of
# requests at the model is the number of attempts.
#   refused  attempts may have ended before the model saw them, because its
#            HTTP/2 has refused the stream
#   again    the model refused streams itself, which are sent again within an
#            attempt
# Returns how many chats were answered.
sub add_up ($self, $chats, $got, $title, %o)
{
	my $s = $self->{s};
	my (@wrong, @ledger);
	my ($answered, $attempts) = (0, 0);

	for my $i (0 .. $#$chats) {
		my ($user, $text) = @{ $chats->[$i] }{qw(telegram_id text)};
		my $is_answer = $got->[$i]{status} == 200;
		my $said = $is_answer ? $got->[$i]{json}{response}
		    : $got->[$i]{status} . (ref $got->[$i]{json} ? '' : ' no JSON');
		$answered += $is_answer;
		push @wrong, "$text: $said" if $said ne ($is_answer ? $text : 500);
		my $l = $s->ledger($user);
		my $want = $is_answer ? '1 1 0' : '0 0 0';
		push @ledger, "$text: @$l{qw(count rows leases)}, not $want"
		    if "@$l{qw(count rows leases)}" ne $want;
		$attempts += attempts($s, $user);
	}
	my $asked = $self->requests;
	Test::More::is(join(', ', @wrong), '',
	    "$title: each has its own text or a 500");
	Test::More::is(join(', ', @ledger), '', '... answered = stored = counted');
	Test::More::ok($o{refused} ? $asked <= $attempts
	    : $o{again} ? $asked >= $attempts : $asked == $attempts,
	    '... and there is one request for each attempt')
	    or Test::More::diag("$asked requests, $attempts attempts");
	return $answered;
}

1;
