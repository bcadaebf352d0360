# A minute of callers that repeat, and of faults everywhere: stored = counted =
# answered, and never more than the limit. For a longer run: ./dev soak MINUTES.

use v5.36;
use utf8;
use AIChat::Soak;
use AIChat::Test;
use List::Util qw(sum0);

# In less time the faults do not reach all parts.
my $LEAST_S = 10;
my $seconds = $ENV{AIC_SOAK_SECONDS} // 60;
die "AIC_SOAK_SECONDS is $seconds, and must be at least $LEAST_S\n"
    if $seconds < $LEAST_S;
my $seed = $ENV{AIC_SOAK_SEED} // int rand 1e6;

# The order of the faults; which requests they meet differs from run to run.
diag "AIC_SOAK_SEED=$seed";
my $r = AIChat::Soak->run(seconds => $seconds, seed => $seed, say => \&note);
my $faults = sum0(values %{ $r->{faults} });

note "chats $r->{chats} in $r->{requests} requests: $r->{answered} answered, "
    . "$r->{replayed} more than once, $r->{refused} refused "
    . "(requests that Redis remembered: $r->{remembered}), "
    . "$r->{failed} failed";
note "faults injected $faults: " . join ', ',
    map { "$_ $r->{faults}{$_}" } sort keys %{ $r->{faults} };
note "answers lost $r->{lost}";
note "paid twice $r->{twice}";
note "over the limit $r->{over}";

cmp_ok $r->{answered}, '>=', 2 * $seconds, 'many chats are answered';
cmp_ok $r->{replayed}, '>=', $seconds / 10, '... some of them again';
cmp_ok $r->{refused}, '>=', $seconds / 10, '... some meet the limit';
cmp_ok $faults, '>=', $seconds / 3, '... during many faults';
is $r->{lost}, 0, 'no answer is lost';
is $r->{twice}, 0, 'no answer is paid for twice';
is $r->{over}, 0, 'no user is over the limit';
is join("\n", @{ $r->{wrong} }), '', 'there is no other inconsistency';

done_testing;
