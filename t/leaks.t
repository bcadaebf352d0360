#!/usr/bin/perl
# A thousand requests of all kinds under valgrind: no uninitialized memory is
# read, and no memory is left at the end.

use v5.36;
use utf8;
use AIChat::Test;
use AIChat::Stack;

my $worker = AIChat::Stack::find_build() . '/ai-chat-worker';
my $valgrind = qx(sh -c 'command -v valgrind') =~ s/\n//r
    or plan skip_all => 'valgrind is not installed';
# A sanitizer replaces the same functions as valgrind.
plan skip_all => 'a sanitizer is built in'
    if qx(ldd '$worker') =~ /lib(?:asan|tsan)/;

# Valgrind makes a worker many times slower, so its timeouts are long.
my $s = AIChat::Test->new(
	env => { AI_CHAT_DAILY_LIMIT => 5, AI_CHAT_THREADS => 4,
	    AI_CHAT_DEADLINE_MS => 20000,
	    AI_CHAT_DB_TIMEOUT_MS => 5000, LOG_LEVEL => 'debug' },
	wrap => [ $valgrind, '--quiet', '--leak-check=full',
	    '--show-leak-kinds=definite,indirect,possible',
	    '--errors-for-leak-kinds=definite,indirect,possible',
	    '--error-exitcode=99', '--child-silent-after-fork=yes' ]);
like readlink('/proc/' . $s->worker_pid(1) . '/exe'), qr/valgrind|memcheck/,
    'the worker runs under valgrind';
my $long = 'Товар «Ёлка» 🎄 ' x 400;

# A request and its expected status; %d is the number of the round.
my @kinds = (
	[ 200, send => { message => 'Вопрос', user_context => $long } ],
	[ 500, send => { message => '[[status=400]]' } ],
	[ 500, send => { message => '[[body=cut close=middle]]' } ],
	[ 500, send => { message => '[[body=null]]' } ],
	[ 500, send => { message => '[[body=huge]]' } ],
	[ 200, send => { message => '[[body=badutf8]]' } ],
	[ 422, send => { message => ' ' } ],
	[ 422, send => { message => 'x' x 4001 } ],
	[ 422, raw => '{"telegram_id": 1, "message": "\ud800"}' ],
	[ 422, raw => '[' x 40 ],
	[ 422, raw => '' ],
	[ 200, post => '/v1/chat/history', { limit => 100 } ],
	[ 200, get => '/v1/chat/limits/%d' ],
	[ 422, get => '/v1/chat/limits/x%d' ],
	[ 200, get => '/v1/chat/stats/%d?days=30' ],
	[ 400, get => '/v1/chat/stats/%d?days=0' ],
	[ 200, post => '/v1/chat/reset-limit', {} ],
	[ 200, post => '/v1/chat/clear', {} ],
	[ 404, get => '/nothing/%d' ],
	[ 405, get => '/v1/chat/send?%d' ],
	[ 200, get => '/health/ready' ],
);

sub ask ($round, $kind)
{
	my (undef, $how, @args) = @$kind;

	return $s->send(telegram_id => $round, %{ $args[0] }) if $how eq 'send';
	return $s->post('/v1/chat/send', $args[0]) if $how eq 'raw';
	my $path = $args[0] =~ s/%d/$round/r;
	return $s->get($path) if $how eq 'get';
	return $s->post($path, { telegram_id => $round, %{ $args[1] } });
}

my $n = 0;
my %wrong;
for my $round (1 .. 50) {
	for my $kind (@kinds) {
		# Requests with retries take long, so they run only in some
		# rounds.
		next if $kind->[1] eq 'send' && $kind->[2]{message} =~ /close=/
		    && $round % 25;
		my $got = ask($round, $kind);
		$n++;
		$wrong{"$kind->[0] @{$kind}[1,2]: $got->{status}"}++
		    if $got->{status} != $kind->[0];
	}
}
for (1 .. 60) {
	$s->send(telegram_id => 1000);
	$n++;
}
is join("\n", %wrong), '', 'each request has the expected status';
cmp_ok $n, '>=', 1000, '... at least a thousand requests';
is $s->send(telegram_id => 1000)->{status}, 429,
    '... a refusal by the limit, too';

is $s->kill_worker(1, 'TERM'), 0, 'valgrind found no error and no leak'
    or diag(grep { /^==/ } split /^/, $s->worker_log(1));
done_testing;
