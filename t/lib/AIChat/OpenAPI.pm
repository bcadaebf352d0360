package AIChat::OpenAPI;

# Compares the responses of a test with the OpenAPI document of the worker.
#
#	my $api = AIChat::OpenAPI->new(build => $dir, dir => "$tmp/responses");
#	$api->note('GET', '/health', $got);
#	my @faults = $api->faults;
#
# Many responses differ only in their values, so one of each form is validated:
# its members, its types, and texts without their digits and long words. A form
# that was found valid is noted in the build directory, by the digest of the
# document, and is not validated again. So most test files validate nothing.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew base_env);
use AIChat::Stack;
use Digest::SHA qw(sha256_hex);
use File::Path qw(make_path);
use JSON::PP ();

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;
my $CHECK = AIChat::Stack::top() . '/t/tools/openapi_check.py';

# Pages and files, which are no part of the API.
my $OTHER = qr{\A/(?:docs|admin|openapi\.json)(?:/|\z)};

#   build   the directory of the programs
#   dir     where the responses are written, which a test's own processes share
sub new ($class, %o)
{
	my $text = run([ "$o{build}/ai-chat-worker", '--openapi' ],
	    env => { base_env(), %{ $o{env} // {} } });
	my $self = bless { %o, document => $JSON->decode($text), seen => {} },
	    $class;
	make_path($o{dir});
	$self->{known} = "$o{build}/openapi-checked/"
	    . sha256_hex($text . slurp($CHECK));
	for my $path (keys %{ $self->{document}{paths} }) {
		my $pattern = join '[^/]+', map { quotemeta }
		    split /\{\w+\}/, $path, -1;
		$self->{patterns}{$path} = qr/\A$pattern\z/;
	}
	return $self;
}

# A path as Nginx passes it to the worker.
sub plain_path ($path)
{
	my @segments;

	$path =~ s/[?#].*//s;
	$path =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
	for my $segment (split m{/+}, $path =~ s{^/+}{}r, -1) {
		pop @segments if $segment eq '..';
		push @segments, $segment if $segment !~ /^\.\.?\z/;
	}
	return '/' . join '/', @segments;
}

# The path of the document; undef where there is none.
sub path_of ($self, $path)
{
	my $plain = plain_path($path);

	for my $known (keys %{ $self->{patterns} }) {
		return $known if $plain =~ $self->{patterns}{$known};
	}
	return;
}

# The form of a value, as text.
sub form ($value)
{
	return ref $value eq 'HASH'
	    ? '{' . join(',', map { "$_:" . form($value->{$_}) }
		sort keys %$value) . '}'
	    : ref $value eq 'ARRAY' ? list_form(@$value)
	    : ref $value ? 'bool' : !defined $value ? 'null'
	    : $JSON->encode($value) =~ /\A"/ ? text_form($value)
	    : $value == 0 ? '0' : ($value < 0 ? '-' : '') . ($value =~ /[.e]/i ? '1.0' : '1');
}

# Elements of the same form count once.
sub list_form (@values)
{
	my %forms = map { (form($_) => 1) } @values;

	return '[' . join(',', sort keys %forms) . ']';
}

sub text_form ($text)
{
	return '"' . substr($text =~ s/\d+/1/gr =~ s/\p{Cyrillic}[\p{Cyrillic}\s]*/я/gr
	    =~ s/\w{13,}/word/gr, 0, 40) . '"';
}

# Keeps a response, unless one of its form is known. Called with what
# AIChat::Test's request() returns.
sub note ($self, $method, $path, $got)
{
	return if $got->{status} == 599 || $method eq 'HEAD' || $path =~ $OTHER;
	my $known = $self->path_of($path);
	my %headers = map { ($_ => ref $got->{headers}{$_}
	    ? $got->{headers}{$_}[0] : $got->{headers}{$_}) }
	    keys %{ $got->{headers} };
	my $is_json = ($headers{'content-type'} // '') =~ /json/;
	my $form = join ' ', $method, $known // '', $got->{status},
	    (map { "$_=" . text_form($headers{$_}) }
		grep { !/^(?:date|content-length|connection|keep-alive|server|x-request-id)$/ }
		sort keys %headers),
	    $is_json ? form($got->{json}) : 'text';

	return if $self->{seen}{$form}++;
	utf8::encode($form);
	my $file = sha256_hex($form);
	return if -e "$self->{known}/$file" || -e "$self->{dir}/$file.json";
	# Other processes of the test may write the same file.
	my $new = "$self->{dir}/$file.$$";
	spew($new, $JSON->encode({ method => $method,
	    path => $known, status => $got->{status} + 0, headers => \%headers,
	    $is_json ? (body => $got->{json}) : (text => substr $got->{content}, 0, 1000) }));
	rename $new, "$self->{dir}/$file.json" or die "could not write $file: $!\n";
}

# What the responses have that the document does not allow.
sub faults ($self)
{
	my @files = glob "$self->{dir}/*.json" or return;
	my $input = "$self->{dir}/input";
	spew("$self->{dir}/document", $JSON->encode($self->{document}));
	spew($input, join '', map { slurp($_) . "\n" } @files);
	my $said = run([ 'sh', '-c', 'exec /usr/bin/python3 "$0" "$1" <"$2"',
	    $CHECK, "$self->{dir}/document", $input ],
	    env => { base_env(), PYTHONUTF8 => 1 });
	my @lines = split /\n/, $said;
	my @faults;
	make_path($self->{known});
	for my $i (0 .. $#files) {
		my $got = $JSON->decode(slurp($files[$i]));
		my @found = @{ $JSON->decode($lines[$i]) };
		push @faults, map { "$got->{method} "
		    . ($got->{path} // '(another path)')
		    . " $got->{status}: $_" } @found;
		next if @found;
		open my $valid, '>>', $files[$i]
		    =~ s{.*/(\w+)\.json\z}{$self->{known}/$1}r
		    or die "could not write to $self->{known}: $!\n";
	}
	return @faults;
}

1;
