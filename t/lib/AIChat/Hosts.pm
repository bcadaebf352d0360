package AIChat::Hosts;

# Several hosts on one simulated network, each in a network namespace of its
# own. The test itself is on the same private network.
#
#	my $why = AIChat::Hosts::enter();	# first of all: starts the test anew
#	plan skip_all => $why if $why;
#	my $hosts = AIChat::Hosts->new($dir, qw(front one two));
#	AIChat::Proc->start(net => $hosts->net('one'), ...);
#	$hosts->cut('one');
#
# Nothing of it has a name outside: a namespace lives as long as a process in
# it, and these processes end with the test, however it ends.

use v5.36;
use AIChat::Proc qw(wait_for run base_env);

my $NET = '10.77.0';
my $MARK = 'AIC_ON_A_WIRE';

# Restarts the test in a namespace of its own. Returns only there, or with the
# reason why that is not possible.
sub enter
{
	return if $ENV{$MARK};
	return 'network namespaces take root' if $> != 0;
	my $said = eval {
		run([ qw(unshare --net sh -c), 'ip link add wire type bridge &&'
		    . ' ip link add one type veth peer name two && nsenter -V' ]);
		1;
	} ? undef : $@;
	return 'no network namespaces here: ' . $said =~ s/\s+/ /gr
	    if defined $said;
	$ENV{$MARK} = 1;
	exec qw(unshare --net --), $^X, map({ "-I$_" } @INC), $0, @ARGV
	    or return "could not run unshare: $!";
}

sub new ($class, $dir, @names)
{
	my $self = bless { host => {} }, $class;

	die "not on a wire of our own\n" if !$ENV{$MARK};
	ip(qw(link set lo up));
	ip(qw(link add wire type bridge));
	ip('addr', 'add', "$NET.1/24", 'dev', 'wire');
	ip(qw(link set wire up));
	$self->add($dir, $names[$_], "$NET." . (10 + $_)) for 0 .. $#names;
	return $self;
}

sub ip (@args) { run([ 'ip', @args ]) }

sub add ($self, $dir, $name, $address)
{
	my $proc = AIChat::Proc->start(name => "the host $name",
	    cmd => [ qw(unshare --net sleep infinity) ],
	    env => { base_env() }, log => "$dir/hosts.log");
	my $net = '/proc/' . $proc->pid . '/ns/net';
	my $host = $self->{host}{$name} = { proc => $proc, net => $net,
	    address => $address };
	my @there = ('nsenter', "--net=$net", 'ip');

	wait_for(sub {
		(eval { readlink $net } // '') ne readlink '/proc/self/ns/net'
		    && $proc->alive;
	}, 10, "the host $name");
	ip('link', 'add', "to-$name", qw(type veth peer name eth0 netns),
	    $proc->pid);
	ip('link', 'set', "to-$name", qw(master wire up));
	run([ @there, qw(link set lo up) ]);
	run([ @there, 'addr', 'add', "$address/24", qw(dev eth0) ]);
	run([ @there, qw(link set eth0 up) ]);
}

# The address of the test on this network, and the range of addresses.
sub own_address { return "$NET.1" }
sub range { return "$NET.0/24" }

sub address ($self, $name) { return $self->{host}{$name}{address} }

# For AIChat::Proc->start.
sub net ($self, $name) { return $self->{host}{$name}{net} }

# Runs a command on that host; returns its output.
sub run_on ($self, $name, @cmd)
{
	return run([ 'nsenter', '--net=' . $self->net($name), @cmd ]);
}

# Pulls the plug: packets to and from the host are dropped silently.
sub cut ($self, $name) { ip('link', 'set', "to-$name", 'down') }
sub join ($self, $name) { ip('link', 'set', "to-$name", 'up') }

1;
