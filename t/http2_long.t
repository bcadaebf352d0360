# Answers longer than libcurl's buffer, many at once on few HTTP/2 connections.
# Each chat is answered as soon as the last byte of its answer has arrived,
# however the answer is divided into frames and TLS records, and whatever the
# other streams of the connection do.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::Test;
use List::Util qw(max);
use Time::HiRes qw(time);

# A stream that libcurl has stalled would end at the deadline.
my $DEADLINE_S = 10;

# More than any answer takes, even on a busy machine.
my $LATE_S = 3;

my $s = AIChat::Test->new(workers => 1, tls => 'h2', env => {
	AI_CHAT_CONTEXT_MESSAGES => 0,
	AI_CHAT_DEADLINE_MS => 1000 * $DEADLINE_S,
	AI_CHAT_THREADS => 128,
});

my @got = map { $s->send_many(map { {
	telegram_id => $_, message => '[[delay=' . $_ % 7
	    . ' text=abcdefghijklmnop repeat=' . int(300 + rand 6000) . ']]',
} } 1 .. 60) } 1 .. 6;

is join(' ', map { $_->{status} } grep { $_->{status} != 200 } @got), '',
    'answers of 5 to 100 KB, sixty at a time over HTTP/2: all are answered';
is join(' ', grep { $_ > 5 } map { $_->{seconds} } @got), '',
    '... none of them late';

# -- no length, and frames of all sizes ----------------------------------------

my $m = AIChat::HTTP2->start($s);
my $user = 1000;
my $seed = $ENV{AIC_SEED} // int rand 1e6;
srand $seed;

# All chats share a connection.
$s->restart_worker(1, $m->settings, AI_CHAT_UPSTREAM_CONNECTIONS => 1);
$m->set(raw => 'frames', raw_times => 1000);

# The text that the model sends for this size.
sub numbers ($size)
{
	return substr join('', map { sprintf '%07d', $_ } 0 .. $size / 7), 0, $size;
}

# Sends chats, each { size, frame, last }, and adds a text and a socket to each.
sub start (@chats)
{
	for my $c (@chats) {
		$c->{text} = 'T' . ++$user;
		my $marks = join ' ', map { "$_=$c->{$_}" } sort keys %$c;
		($c->{sock}) = $s->start_chats({ telegram_id => $user,
		    format => 'plain', message => "[[$marks]]" });
	}
	return @chats;
}

# Makes the model answer the chats.  Returns the time between the last byte of
# the model and the last response, and then what is wrong.
sub finish ($how, @chats)
{
	# A stopped worker finds all bytes at once when it goes on.
	$s->kill_worker(1, 'STOP') if $how->{burst};
	$m->do('release', %$how, texts => [ map { $_->{text} } @chats ]);
	$s->kill_worker(1, 'CONT') if $how->{burst};
	my $start = time;
	my @got = finish_chats(map { delete $_->{sock} } @chats);
	my $late = $start + max(map { $_->{seconds} } @got) - $m->seen->{last_byte};
	return $late, map {
		my $said = $got[$_]{json}{response} // '';
		$got[$_]{status} == 200 && $said eq numbers($chats[$_]{size}) ? ()
		    : "$chats[$_]{size}: $got[$_]{status} " . length $said
	} 0 .. $#chats;
}

# Sends chats whose answers come together, while other chats, the neighbours,
# wait on the same connection.
sub ask ($what, $neighbours, $how, @chats)
{
	my @neighbours = start(map { { size => 10 } } 1 .. $neighbours);

	$m->wait_pending($neighbours);
	start(@chats);
	$m->wait_pending($neighbours + @chats);
	my ($late, @wrong) = finish($how, @chats);
	is join(', ', @wrong), '', "$what: complete";
	cmp_ok $late, '<', $LATE_S,
	    '... and answered soon after the last byte has come';
	if ($neighbours) {
		(undef, @wrong) = finish({}, @neighbours);
		is join(', ', @wrong), '', '... and the neighbours are answered';
	}
	$m->forget;
	return $late;
}

sub note_late (@late)
{
	@late = sort { $a <=> $b } @late;
	note sprintf 'after the last byte: median %.0f ms, at most %.0f ms',
	    map { 1000 * $_ } $late[@late / 2], $late[-1];
}

# Two TLS records and a part of a third.  The last frame begins in the second
# record and ends the stream.  A buffer of 32 KB is full within that frame.
my @chats = map { { size => $_, frame => 16_000, last => 'full' } }
    32_700, 33_000, 40_000, 47_000;
for my $size (3000, 15_000, 33_000, 49_000, 100_000, 300_000, 1_000_000) {
	push @chats, map { { size => $size, frame => 16_384, last => $_ } }
	    qw(full empty);
}
note_late(map { ask("$_->{size} bytes at once in frames of $_->{frame}, the last one "
    . $_->{last}, 9, { burst => 1 }, $_) } @chats);

# Random sizes, frames, pauses and neighbours.
sub between ($from, $to) { return int($from + rand $to - $from + 1) }
sub one_of (@of) { return $of[ rand @of ] }

my @late;
for my $round (1 .. $ENV{AIC_ROUNDS} // 25) {
	my $n = one_of(1, 2, 3, 8);
	my $neighbours = one_of(0, 1, 5, 12);
	my %how = (seed => between(1, 1e9), stay => one_of(0, 50, 95, 100),
	    write => one_of(0, 0, 16_384, '1-40000', '200000-400000'),
	    pause => one_of(0, 0, 0, '0-2'), burst => one_of(0, 1, 1));
	my $what = join ', ', map { "$_=$how{$_}" } sort keys %how;
	push @late, ask("seed $seed, round $round: $n beside $neighbours, $what",
	    $neighbours, \%how, map { {
		size => int one_of(between(10, 40_000), between(33_000, 120_000),
		    between(33_000, 120_000), between(100_000, 1_000_000) / $n),
		frame => one_of(16_384, 16_384, '1-16384', '8000-9000', '100-400'),
		last => one_of(qw(full full empty)),
	} } 1 .. $n);
}
note_late(@late);

# An answer over the maximum size fails; the others do not wait for it.
{
	my @chats = start({ size => 2_000_000 }, { size => 40_000 }, { size => 10 });
	$m->wait_pending(3);
	my ($late, @wrong) = finish({ burst => 1, stay => 90 }, @chats);
	like "@wrong", qr/^2000000: 500 0$/, 'an answer of 2 MB fails, and no other does';
	cmp_ok $late, '<', $LATE_S, '... and none is late';
}

$m->stop;
done_testing;
