# The TLS proxy before the model, nghttpx or Nginx, is restarted under load.

use v5.36;
use utf8;
use AIChat::HTTP2;
use AIChat::TLS;
use AIChat::Test;

for my $case ([ 'h2', 'TERM' ], [ 'nginx-h2', 'QUIT' ], [ 'nginx-h2', 'TERM' ]) {
	my ($kind, $sig) = @$case;
	my $s = AIChat::Test->new(tls => $kind, env => { OPENAI_KEEP_WARM => 0,
	    AI_CHAT_RETRY_FLOOR => 100000, AI_CHAT_BREAKER_FAILURES => 0,
	    AI_CHAT_DAILY_LIMIT => 100000 });
	my @users = 1 .. 20;
	my $load = $s->start_load(callers => 20, users => \@users,
	    message => '[[delay=20]]');
	wait_for(sub { $load->count(200) > 50 }, 20, 'chats');

	for my $round (1 .. 3) {
		my $ends = $s->stack->{tls_ends};
		my %o = map { ($_ => $ends->{model}{$_}) } qw(kind to certs port dir);
		$ends->{model}{proc}->stop($sig);
		$ends->{model} = AIChat::TLS->start(%o,
		    log => $s->dir . '/log/tls-model.log');
		my $now = $load->count(200);
		wait_for(sub { $load->count(200) > $now + 50 }, 20,
		    'chats after a restart');
	}
	my @answers = $load->stop;
	my %n;
	$n{ $_->{status} }++ for @answers;
	note "$kind: ", join ' ', map { "$_: $n{$_}" } sort keys %n;
	is join(' ', grep { !/^(?:200|500)$/ } sort keys %n), '',
	    "$kind restarted ($sig) under load: answers and 500, nothing else";
	cmp_ok $n{500} // 0, '<', @answers / 20, '... fewer than 5 % fail';
	is((grep { !$_->{whole} || !$_->{json} } @answers), 0, '... all in JSON');
	my $count = $s->value('select sum(request_count) from ai_chat_daily_limits');
	is $count, $n{200}, '... answered chats = counted chats';
	is $s->value('select count(*) from ai_chat_requests'), $n{200},
	    '... = saved exchanges';
	my @attempts = $s->worker_log(1) =~ /event=request .*attempts=(\d+)/g;
	my $attempts = 0;
	$attempts += $_ for @attempts;
	cmp_ok $s->model_count, '<=', $attempts,
	    '... and the model got no more requests than there were attempts';
}

done_testing;
