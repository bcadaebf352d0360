# The units are valid, and as confined as possible.

use v5.36;
use AIChat::Proc qw(run slurp spew temp_dir remove_dir);
use AIChat::Stack;
use File::Path qw(make_path);
use Test::More;

my $TOP = AIChat::Stack::top();

# Below this value systemd rates a unit as OK; what remains is the network.
my $EXPOSURE_MAX = 1.5;

plan skip_all => 'systemd-analyze is not installed'
    if !eval { run([ 'systemd-analyze', '--version' ]) };

# A root directory of its own contains all that the units name, whatever this
# machine has.
my $root = temp_dir('ai-chat-t');
my $units = "$root/etc/systemd/system";
make_path($units, "$root/usr/bin");
my @units = map { s{.*/}{}r } glob "$TOP/systemd/*.{service,target,timer}";
cmp_ok scalar(grep { /\.service$/ } @units), '>=', 4, 'there are services';
spew("$units/$_", slurp("$TOP/systemd/$_")) for @units;
spew("$root/usr/bin/$_", "#!/bin/sh\n", 0755)
    for qw(ai-chat-migrate ai-chat-worker ai-chatctl spawn-fcgi);
spew("$units/$_.target", "[Unit]\nDescription=$_\nDefaultDependencies=no\n")
    for qw(basic network-online shutdown sysinit timers multi-user umount);

my @names = map { s/\@\.service$/\@1.service/r } @units;
my $said = eval { run([ 'systemd-analyze', "--root=$root", '--man=no',
    'verify', @names ]) } // $@;
is $said, '', 'systemd-analyze verify accepts the units';

for my $name (grep { /\.service$/ } @names) {
	my $text = eval { run([ 'systemd-analyze', "--root=$root",
	    '--offline=true', '--no-pager', 'security', $name ]) } // $@;
	my ($exposure) = $text =~ /exposure level for \S+: ([\d.]+)/;
	ok defined $exposure && $exposure <= $EXPOSURE_MAX,
	    "$name is confined" or diag $text;
	note "$name: ", $exposure // '?';
}

# Every service takes every secret as a credential, because otherwise an
# administrator would store one that is not used; so do files that may contain
# secrets. A secret of the migrations is for the units that run them, and for no
# worker.
my $table = slurp("$TOP/lib/conf.c");
my @secrets = map { lc }
    $table =~ /\{ "(\w+)", \w+,\s+[\w |]*\bSECRET\b[\w |]*,/g,
    $table =~ /\{ "(\w+)_FILE", \w+,\s+CREDENTIAL,/g;
my %is_for_migrations = map { lc($_) => 1 }
    $table =~ /\{ "(\w+)", \w+,\s+MIGRATE \| SECRET,/g;
is join(' ', keys %is_for_migrations), 'ai_chat_migrate_url',
    '... one of them only for migrations';
cmp_ok scalar @secrets, '>=', 13, 'there are secrets';
for my $unit (grep { /\.service$/ } @units) {
	my $text = slurp("$TOP/systemd/$unit");
	my @wanted = grep { !$is_for_migrations{$_}
	    || $text =~ m{^ExecStart=/usr/bin/ai-chat-migrate}m } @secrets;
	is_deeply [ sort $text =~ m{^LoadCredential=(\w+):
	    /etc/ai-chat/credentials/\1$}mgx ], [ sort @wanted ],
	    "$unit takes each of them as a credential";
	is_deeply [ sort $text =~ /^SetCredential=(\w+):\\n$/mg ],
	    [ sort @wanted ], '... and starts without it';
}

remove_dir($root) if Test::More->builder->is_passing;
done_testing;
