package AIChat::Bot;

# A caller that behaves like the bot in production: what it sends, how long it
# waits and how it treats each status. Telegram is simulated too, with its rules
# for messages. The result is the text on the seller's screen.
#
# There are two versions of the bot. The older one adds two lines with the
# remaining chats to each answer, and has one fixed sentence for all failures.
# The newer one shows the status and detail.message, else detail.error, else
# detail itself, cut at 200 characters, between code tags and without escaping.
# Neither version sends a format or an Idempotency-Key, handles parts, or
# repeats a request.

use v5.36;
use utf8;
use HTTP::Tiny;
use JSON::PP ();

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;

#   url, key     of the service
#   version      'old' or 'new'
sub new ($class, %o)
{
	return bless { %o, sent => [], refused => [] }, $class;
}

# One question.  Returns { screen => [ texts ], status, left_chat }.
sub ask ($self, $user, $text)
{
	my $got = $self->call(60, POST => '/v1/chat/send', $JSON->encode({
		telegram_id => $user, message => $text,
		user_context => undef }));

	$self->{screen} = [];
	my $left = $self->show($got);
	return { screen => $self->{screen}, status => $got->{status},
	    left_chat => $left, answer => $got };
}

# The limits, as a bar of ten characters; '' where the bot could not show them.
sub limits ($self, $user)
{
	my $got = $self->call(10, GET => "/v1/chat/limits/$user");
	my $data = $got->{json};

	return '' if $got->{status} != 200 || !$data->{daily_limit};
	my $filled = int $data->{requests_today} / $data->{daily_limit} * 10;
	return '█' x $filled . '░' x (10 - $filled);
}

sub call ($self, $timeout, $method, $path, $body = undef)
{
	my $http = HTTP::Tiny->new(timeout => $timeout, keep_alive => 0);
	my $got = $http->request($method, $self->{url} . $path, {
		defined $body ? (content => $body) : (),
		headers => { 'Content-Type' => 'application/json',
		    'X-API-KEY' => $self->{key} } });

	$got->{json} = eval { $JSON->decode($got->{content}) };
	return $got;
}

# True when the bot leaves its chat mode.
sub show ($self, $got)
{
	my $detail = ref $got->{json} eq 'HASH' ? $got->{json}{detail} : undef;

	if ($got->{status} == 200) {
		my $text = $got->{json}{response};
		$text .= "\n\n<i>Осталось: $got->{json}{remaining_requests}/30</i>"
		    if $self->{version} eq 'old';
		$self->telegram($text, 1);
		return 0;
	}
	if ($got->{status} == 599) {
		$self->telegram('Не удалось связаться.', 0);
		return 0;
	}
	if ($got->{status} == 429) {
		$self->telegram('⛔ ' . (ref $detail eq 'HASH'
		    ? $detail->{message} // 'Лимит исчерпан'
		    : printed($detail)) . "\n\nПопробуйте завтра.", 0);
		$self->telegram('<b>Диалог завершён</b>', 1)
		    if $self->{version} eq 'new';
		return 1;
	}
	if ($self->{version} eq 'old') {
		$self->telegram('Произошла ошибка. Попробуйте позже.', 0);
		return 0;
	}
	my $why = ref $detail eq 'HASH'
	    ? $detail->{message} // $detail->{error} // '?' : printed($detail);
	$self->telegram("Ошибка.\n\n<code>Статус: $got->{status}</code>\n"
	    . '<code>' . substr($why, 0, 200) . '</code>', 1);
	return 0;
}

# Roughly as Python prints the value.
sub printed ($detail)
{
	return ref $detail ? $JSON->canonical->latin1->encode($detail)
	    : $detail // 'None';
}

# Telegram: returns the text as it is shown, or nothing when it refuses the
# message.
sub telegram ($self, $text, $html)
{
	my $shown = $html ? eval { parse($text) } : $text;
	my $why = defined $shown ? '' : $@;

	$why = 'message is too long' if !$why && units($shown) > 4096;
	$why = 'message text is empty' if !$why && $shown !~ /\S/;
	push @{ $self->{ $why ? 'refused' : 'screen' } },
	    $why ? "$why: " . substr $text, 0, 80 : $shown;
}

# What parse_mode=HTML shows; dies where Telegram refuses it.
#
# Source: core.telegram.org/bots/api, "HTML style"
sub parse ($html)
{
	my %entity = (lt => '<', gt => '>', amp => '&', quot => '"');
	my ($text, @open) = ('');

	while ($html =~ /\G(?: ([^<&]+) | &(\#?\w+); | <(\/?)(\w+)([^<>]*)> )/gcx) {
		my ($plain, $name, $end, $tag, $rest) = ($1, $2, $3, $4, $5);
		if (defined $plain) {
			$text .= $plain;
		} elsif (defined $name) {
			$text .= $name =~ /^#(\d+)\z/ ? chr $1
			    : $entity{$name} // die "unknown entity $name\n";
		} elsif ($end) {
			die "unexpected end of $tag\n"
			    if $rest ne '' || !@open || pop @open ne $tag;
		} else {
			die "unsupported tag $tag\n" if $tag !~
			    /^(?:b|strong|i|em|u|ins|s|strike|del|code|pre|a
			    |blockquote|tg-spoiler)\z/x;
			die "odd attributes of $tag\n" if $rest ne ''
			    && $rest !~ /^ (?:href|class)="[^"<>]*"\z/;
			push @open, $tag;
		}
	}
	die 'cannot parse at ' . substr($html, pos($html) // 0, 40) . "\n"
	    if (pos($html) // 0) < length $html;
	die "no end of @open\n" if @open;
	return $text;
}

sub units ($text)
{
	return length($text) + (() = $text =~ /[\x{10000}-\x{10ffff}]/g);
}

1;
