# The TLS ends of the tests themselves: curl, an independent client of TLS and
# HTTP/2, gets the model's responses through each of them and refuses the bad
# certificates.

use v5.36;
use utf8;
use AIChat::Proc qw(slurp spew);
use AIChat::TLS;
use AIChat::Test;
use Time::HiRes qw(time);

my %VERSION = (h2 => 2, 'nginx-h2' => 2, http1 => '1.1');

# Sends one question to a model; returns { exit, status, version, content }.
sub ask ($s, $question, %o)
{
	my $file = $s->dir . '/curl';
	my $url = $o{url} // $s->stack->settings->{OPENAI_BASE_URL};

	spew("$file.in", JSON::PP->new->utf8->encode({ model => 'm',
	    messages => [ { role => 'user', content => $question } ] }));
	unlink "$file.out";
	open my $curl, '-|', 'curl', '-sq', '-o', "$file.out", '-m', 30,
	    '-w', '%{http_code} %{http_version}',
	    '-H', 'Authorization: Bearer key',
	    '-H', 'Content-Type: application/json',
	    $o{no_ca} ? () : ('--cacert', $s->stack->settings->{OPENAI_CA_FILE}),
	    '--data-binary', "\@$file.in", "$url/chat/completions"
	    or die "could not run curl: $!\n";
	my ($status, $version) = split ' ', <$curl>;
	close $curl;
	return { exit => $? >> 8, status => $status, version => $version,
	    content => -e "$file.out" ? slurp("$file.out") : '' };
}

sub is_answer ($got, $version, $title)
{
	is "$got->{exit} $got->{status} $got->{version}", "0 200 $version",
	    $title;
}

# -- requests ----------------------------------------------------------------

for my $kind (sort keys %VERSION) {
	my $start = time;
	my $s = AIChat::Test->new(workers => 0, migrate => 0, tls => $kind,
	    second_model => 1, proxy => [ qw(model model_plain) ]);
	note sprintf '%s: all of it was there after %.2f s', $kind, time - $start;
	my $version = $VERSION{$kind};

	my $got = ask($s, '[[id=one text=hello]]');
	is_answer($got, $version, "$kind: curl gets an answer");
	like $got->{content}, qr/"content": ?"hello"/, '... the model\'s own';
	is $s->model_last('one')->{headers}{authorization}, 'Bearer key',
	    '... which received the key';
	my $second = $s->stack->settings->{OPENAI_FALLBACK_BASE_URL};
	$got = ask($s, '[[id=two]]', url => $second);
	is_answer($got, $version, '... the fallback model answers, too');
	is $s->second_count('two'), 1, '... behind an end of its own';
	$got = ask($s, '[[text=local]]', url =>
	    $s->stack->settings->{OPENAI_BASE_URL} =~ s/127\.0\.0\.1/localhost/r);
	is_answer($got, $version, '... and as localhost');

	is_answer(ask($s, '[[delay=3000]]'), $version, 'a slow answer');
	$got = ask($s, '[[body=huge size=20000000]]');
	is_answer($got, $version, 'a large answer');
	is length($got->{content}) > 20_000_000, 1, '... is complete';
	is_answer(ask($s, 'x' x 3_000_000 . '[[id=large]]'), $version,
	    'a large question');

	for my $how (qw(before reset)) {
		$got = ask($s, "[[id=$how close=$how]]");
		isnt $got->{status}, 200, "the model closes its connection ($how)";
		is $s->model_count($how), 1, '... after one request';
	}
	is_answer(ask($s, '[[keepclose=1]]'), $version,
	    'a connection that the model closes when it is reused');
	$got = ask($s, '[[id=again]]');
	is $s->model_count('again'), 1, '... carries one request, too';

	$s->stack->model->stop('KILL');
	isnt ask($s, 'x')->{status}, 200, 'without a model' for 1, 2;
	$s->stack->start_model;
	is_answer(ask($s, '[[id=back]]'), $version,
	    '... until it listens again');

	# The places of the fault proxies.
	$s->proxy('model_plain')->cut_all;
	$s->proxy('model_plain')->fault(refuse => 1);
	for (1 .. 4) {
		$got = ask($s, '[[id=y]]');
		isnt $got->{status}, 200,
		    'a fault proxy between the end and the model refuses';
	}
	$s->proxy('model_plain')->clear;
	$s->proxy('model')->fault(refuse => 1);
	$got = ask($s, '[[id=y]]');
	is "$got->{version} " . ($got->{exit} != 0), '0 1',
	    'a fault proxy before the end refuses: there is no TLS';
	$s->proxy('model')->clear;
	is_answer(ask($s, '[[id=y]]'), $version, '... and then answers');
	is $s->model_count('y'), 1, '... after one request';
}

# -- a worker ----------------------------------------------------------------

{
	for my $kind (sort keys %VERSION) {
		my $s = AIChat::Test->new(tls => $kind, second_model => 1, env => {
			OPENAI_MODEL =>
			    'm[[status=429 code=insufficient_quota]]',
			OPENAI_FALLBACK_MODEL => 'm' });
		like $s->stack->settings->{OPENAI_BASE_URL}, qr/^https:/,
		    "$kind: a worker has the address of the end";
		is $s->send->{status}, 200, '... and answers a chat';
		is $s->model_count, 1, '... with one call of the primary model';
		is $s->second_count, 1, '... and one of the fallback model';
	}
}

# -- certificates ------------------------------------------------------------

{
	my $s = AIChat::Test->new(workers => 0, migrate => 0, tls => 'h2');
	is ask($s, 'x', no_ca => 1)->{exit}, 60,
	    'a CA that is not trusted: refused';
	for my $kind (sort keys %VERSION) {
		for my $cert (qw(expired other_host other_ca good)) {
			my $end = AIChat::TLS->start(kind => $kind, cert => $cert,
			    to => $s->stack->model_port,
			    certs => $s->stack->{certs},
			    dir => $s->dir . "/$kind-$cert",
			    log => $s->dir . "/log/$cert.log");
			my $got = ask($s, 'x', url => $end->url . '/v1');
			is "$got->{exit} $got->{status}",
			    $cert eq 'good' ? '0 200' : '60 000',
			    "$kind, the certificate \"$cert\": "
			    . ($cert eq 'good' ? 'taken' : 'refused');
			$end->stop;
		}
	}
}

done_testing;
