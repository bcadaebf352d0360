# ./dev up --server: the prompt contains the data of the stand-in for the
# seller-data API.

use v5.36;
use utf8;
use AIChat::Proc qw(temp_dir remove_dir free_port run tail base_env);
use AIChat::Stack;
use HTTP::Tiny;
use JSON::PP ();
use Test::More;

my $tap = Test::More->builder;
binmode $_, ':encoding(UTF-8)' for $tap->output, $tap->failure_output;
my $dir = temp_dir('ai-chat-t');
# ./dev uses the programs that were built for the tests.
symlink AIChat::Stack::find_build(), "$dir/build" or die "link: $!\n";
my %env = (base_env(), AI_CHAT_VAR => $dir, AI_CHAT_PORT => free_port(),
    map { exists $ENV{$_} ? ($_ => $ENV{$_}) : () }
    qw(ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS));

sub dev (@args)
{
	return run([ AIChat::Stack::top() . '/dev', @args ], env => \%env);
}

# Returns the seller's data in the prompt of a first question.
sub told (@args)
{
	my $up = eval { dev('up', '-d', '--workers', 1, @args) };

	ok $up, "./dev up @args starts the service"
	    or diag "$@\n" . tail("$dir/log/dev.log") or return '';
	my ($url) = $up =~ m{(http://\S+/last)$}m;
	my $last = $url ? JSON::PP->new->utf8->decode(
	    HTTP::Tiny->new->get($url)->{content}) : undef;
	my @messages = @{ $last->{body}{messages} // [] };
	like dev('status'), $url ? qr/^server pid \d+/m : qr/\A(?!.*^server )/ms,
	    '... and status lists the stand-in exactly with --server';
	dev('down');
	my $content = @messages ? $messages[-1]{content} : '';
	return $content =~ m{<(seller-data-\w+)>\n(.*)\n</\g1>}s ? $2 : '';
}

my $told = told('--server');
like $told, qr/^Заказы:.*^- сумма: 1 234 567 ₽$/ms,
    '... and the prompt has the data of seller 1';
is told(), '', 'without --server the prompt has no seller\'s data';

remove_dir($dir);
done_testing;
