package AIChat::FastCGI;

# A FastCGI client, to call one worker directly at its socket.

use v5.36;
use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_RCVTIMEO SO_SNDTIMEO);

use constant { FCGI_BEGIN => 1, FCGI_END => 3, FCGI_PARAMS => 4,
    FCGI_IN => 5, FCGI_OUT => 6, FCGI_RESPONDER => 1 };

sub record ($type, $content)
{
	return pack('CCnnCC', 1, $type, 1, length $content, 0, 0) . $content;
}

sub length_of ($s)
{
	my $n = length $s;
	return $n < 128 ? pack 'C', $n : pack 'N', $n | 0x80000000;
}

sub take ($sock, $n)
{
	my $got = '';

	while (length $got < $n) {
		sysread $sock, $got, $n - length $got, length $got or return;
	}
	return $got;
}

# Sends one request with these params and body. Returns the whole response as
# bytes, or nothing when the worker does not respond in time. A param that is
# sent several times is a list.
sub exchange ($path, $params, $body = '', $seconds = 5)
{
	my $sock = IO::Socket::UNIX->new(Peer => $path) or return;
	my $limit = pack 'l!l!', $seconds, 0;
	setsockopt $sock, SOL_SOCKET, $_, $limit for SO_RCVTIMEO, SO_SNDTIMEO;
	local $SIG{PIPE} = 'IGNORE';

	my %all = (REQUEST_METHOD => 'GET', QUERY_STRING => '',
	    CONTENT_LENGTH => length $body, %$params);
	my $pairs = join '', map {
		my $name = $_;
		map { length_of($name) . length_of($_) . $name . $_ }
		    ref $all{$name} ? @{ $all{$name} } : $all{$name};
	} sort keys %all;
	my $out = record(FCGI_BEGIN, pack 'nCx5', FCGI_RESPONDER, 0)
	    . record(FCGI_PARAMS, $pairs) . record(FCGI_PARAMS, '')
	    . join('', map { record(FCGI_IN, $_) } unpack '(a32768)*', $body)
	    . record(FCGI_IN, '');
	syswrite($sock, $out) == length $out or return;

	my $said = '';
	while (my $head = take($sock, 8)) {
		my (undef, $type, undef, $len, $pad) = unpack 'CCnnC', $head;
		my $rest = '';
		$rest = take($sock, $len + $pad) // return if $len + $pad;
		$said .= $head . $rest;
		last if $type == FCGI_END;
	}
	return $said;
}

# Sends one request; returns status and body of the response.
sub request (@args)
{
	my $said = exchange(@args) // return;
	my $answer = '';

	for (my $at = 0; $at < length $said;) {
		my (undef, $type, undef, $len, $pad) =
		    unpack 'CCnnC', substr $said, $at, 8;
		$answer .= substr $said, $at + 8, $len if $type == FCGI_OUT;
		$at += 8 + $len + $pad;
	}
	my ($headers, $text) = split /\r\n\r\n/, $answer, 2;
	return if !defined $text;
	return ($headers =~ /^Status: (\d+)/mi ? $1 : 200, $text);
}

1;
