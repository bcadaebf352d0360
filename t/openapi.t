# /openapi.json: an independent linter accepts it, it is what the worker checks
# with, its examples are as its schemas say, and a setting turns it off.

use v5.36;
use utf8;
use AIChat::NPM;
use AIChat::Proc qw(run slurp spew base_env);
use AIChat::Stack;
use AIChat::Test;
use JSON::PP ();

my $TOP = AIChat::Stack::top();
my $JSON = JSON::PP->new->utf8->canonical;
my %no_key = (headers => { 'X-API-KEY' => undef });

my $s = AIChat::Test->new(idle => [ 'model' ],
    env => { API_ADMIN_KEY => 'an-admin-key' });
my $got = $s->get('/openapi.json', %no_key);
is $got->{status}, 200, 'the document is served without a key';
is $got->{headers}{'content-type'}, 'application/json', '... as JSON';
my $doc = $got->{json};
is $doc->{openapi}, '3.1.1', '... of OpenAPI 3.1';
{
	# Which key opens reset-limit depends on the settings.
	my $printed = $JSON->decode((program('ai-chat-worker', {}, '--openapi'))[1]);
	my @security = map { delete $_->{paths}{'/v1/chat/reset-limit'}{post}{security} }
	    my $served = $JSON->decode($got->{content}), $printed;
	is $JSON->encode($printed), $JSON->encode($served),
	    'the worker prints the same without any setting';
	is_deeply \@security, [ [ { AdminKey => [] } ],
	    [ { AdminKey => [] }, { ApiKey => [] } ] ],
	    '... but for the keys of reset-limit';
}
unlike $got->{content}, qr/\Q$AIChat::Test::KEY\E|an-admin-key/,
    'it has no key';

# -- it is what the worker checks with ---------------------------------------

my $request = $doc->{components}{schemas}{ChatRequest};
my $message = $request->{properties}{message};
for my $length ($message->{maxLength}, $message->{maxLength} + 1) {
	is $s->post('/v1/chat/send', { telegram_id => 0,
	    message => 'я' x $length })->{json}{detail}[-1]{loc}[1],
	    $length > $message->{maxLength} ? 'message' : 'telegram_id',
	    "a message of $length characters is as the document says";
}
is_deeply $request->{required}, [qw(telegram_id message)],
    'the mandatory fields are in it';
my $pattern = $message->{pattern} =~ s/\\u(\w{4})/\\x{$1}/gr;
like 'я', qr/$pattern/, 'a letter fits the pattern of a message';
unlike $_, qr/$pattern/, '... and white space does not'
    for " \t\r\n", "\x{a0}\x{2003}\x{3000}";
my $days = (grep { $_->{name} // '' eq 'days' }
    @{ $doc->{paths}{'/v1/chat/stats/{telegram_id}'}{get}{parameters} })[-1];
is_deeply [ @{ $days->{schema} }{qw(minimum maximum default)} ],
    [ 1, 365, 7 ], 'a parameter has its range and its default';

# The texts of Nginx are in two places.
my $maps = slurp("$TOP/nginx/ai-chat-maps.conf");
utf8::decode($maps);
my $responses = $doc->{paths}{'/v1/chat/send'}{post}{responses};
for ([ 429, 'flood' ], [ 502, 'lost' ], [ 504, 'timeout' ]) {
	my ($status, $key) = @$_;
	my $detail = $responses->{$status}{content}{'application/json'}
	    {examples}{$key}{value}{detail};
	ok index($maps, qq("$detail->{$_}";)) > 0,
	    "the $_ of a $status is that of Nginx" for qw(error message);
}
is_deeply [ sort keys %{ $responses->{503}{content}{'application/json'}
    {examples} } ], [qw(EBUSY EDB EOPEN)], 'each cause of a 503 has an example';

# -- independent programs ----------------------------------------------------

spew($s->dir . '/openapi.json', $got->{content});
# Examples of the document are checked as responses are.
my @lines;
for my $path (sort keys %{ $doc->{paths} }) {
	for my $method (sort keys %{ $doc->{paths}{$path} }) {
		my $all = $doc->{paths}{$path}{$method}{responses};
		for my $status (sort keys %$all) {
			my $media = $all->{$status}{content}{'application/json'}
			    or next;
			my @schemas = grep { $_ } map { m{([^/]+)\z} }
			    grep { defined } $media->{schema}{'$ref'};
			push @lines, map { $JSON->encode({ method => $method,
			    path => $path, status => $status, body => $_,
			    headers => { 'content-type' => 'application/json',
				'x-request-id' => 'a', 'retry-after' => '1' } })
			} map({ $_->{value} } values %{ $media->{examples} // {} }),
			    grep { $_ } map { $doc->{components}{schemas}{$_}
				{example} } @schemas;
		}
	}
}
cmp_ok scalar @lines, '>', 50, 'there are examples of responses';
spew($s->dir . '/examples', join '', map { "$_\n" } @lines);
my $said = run([ 'sh', '-c', 'exec /usr/bin/python3 "$0" "$1" <"$2"',
    "$TOP/t/tools/openapi_check.py", $s->dir . '/openapi.json',
    $s->dir . '/examples' ], env => { base_env(), PYTHONUTF8 => 1 });
is join("\n", grep { $_ ne '[]' } split /\n/, $said), '',
    '... which are valid';

SKIP: {
	my $npm = eval { AIChat::NPM->install('npm') };
	skip AIChat::NPM::skip_reason($@), 1 if !$npm;
	my $lint = eval { run([ $npm->node, $npm->file('@redocly/cli/bin/cli.js'),
	    'lint', '--extends', 'recommended-strict', '--max-problems', 20,
	    $s->dir . '/openapi.json' ], env => { base_env(),
		PATH => $ENV{PATH}, REDOCLY_TELEMETRY => 'off',
		REDOCLY_SUPPRESS_UPDATE_NOTICE => 'true' }) };
	ok $lint, 'the linter of Redocly finds nothing' or diag $@;
}

# -- the setting -------------------------------------------------------------

$s->restart_worker(1, AI_CHAT_API_DOCS => 0);
for my $path ('/openapi.json', '/docs', '/docs/docs.js') {
	is $s->get($path)->{status}, 404, "without AI_CHAT_API_DOCS: no $path";
	is $s->get($path, %no_key)->{status}, 403, '... and no trace of it';
}
delete $s->stack->settings->{API_ADMIN_KEY};
$s->restart_worker(1, AI_CHAT_API_DOCS => 1);
is_deeply [ grep { m{^/v1/admin/} }
    keys %{ $s->get('/openapi.json')->{json}{paths} } ], [],
    'the document has no endpoint that the settings turn off';

done_testing;
