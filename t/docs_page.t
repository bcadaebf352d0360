# The page /docs: how it is served, and its use in Chromium at the width of a
# desktop and of a telephone. AIC_SCREENSHOTS names a directory for the
# screenshots.

use v5.36;
use utf8;
use AIChat::NPM;
use AIChat::Proc qw(run slurp base_env);
use AIChat::Stack;
use AIChat::Test;
use HTTP::Tiny;

my $s = AIChat::Test->new;
my %no_key = (headers => { 'X-API-KEY' => undef });

# -- how it is served --------------------------------------------------------

my $page = $s->get('/docs', %no_key);
is $page->{status}, 200, 'the page is served without a key';
is $page->{headers}{'content-type'}, 'text/html; charset=utf-8', '... as HTML';
my $policy = $page->{headers}{'content-security-policy'};
like $policy, qr/\b\Q$_\E(?:;|\z)/, "the policy has $_" for "default-src 'none'",
    "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'";
unlike $policy, qr/unsafe|https?:|\*/, '... and nothing that weakens it';
is $page->{headers}{'x-content-type-options'}, 'nosniff',
    'no browser guesses the type of a file';
like $page->{headers}{'x-request-id'}, qr/^\w+$/, 'the page has a request id';

my @files = $page->{content} =~ /(?:src|href)="(docs\/[^"]+)"/g;
cmp_ok scalar @files, '>=', 4, 'the page names its files';
for my $file (@files) {
	my $got = $s->get("/$file", %no_key);
	is $got->{status}, 200, "$file is there";
	is $got->{headers}{'content-security-policy'}, $policy,
	    '... with the policy';
	my $again = $s->get("/$file", headers => { 'X-API-KEY' => undef,
	    'If-None-Match' => $got->{headers}{etag} });
	is $again->{status}, 304, '... and is not sent twice';
}
my $zipped = $s->get('/docs/swagger-ui-bundle.js', headers => {
	'X-API-KEY' => undef, 'Accept-Encoding' => 'gzip' });
is $zipped->{headers}{'content-encoding'}, 'gzip', 'a script is compressed';

is $s->get($_, %no_key)->{status}, 404, "$_ is not served"
    for '/docs/', '/docs/index.html', '/docs/package.json',
    '/.pages/docs/index.html';
is $s->post('/docs', '')->{status}, 405, 'the page cannot be posted to';

# -- in a browser ------------------------------------------------------------

my $npm = eval { AIChat::NPM->install('npm') };
my $why = !$npm ? AIChat::NPM::skip_reason($@)
    : -x '/usr/bin/chromium' ? undef : 'there is no Chromium';
my $dir = $ENV{AIC_SCREENSHOTS} // $s->dir;
SKIP: {
	skip $why, 1 if $why;
	# The script has to be where its modules are.
	my $script = $npm->script('docs.mjs');
	for my $width (1280, 360) {
		my $said = eval { run([ $npm->node, $script, $s->stack->url,
		    $AIChat::Test::KEY, $dir, $width ],
		    env => { base_env(), PATH => $ENV{PATH},
			TMPDIR => $s->dir, HOME => $s->dir }) };
		ok defined $said, "the page can be used at $width pixels"
		    or diag $@;
		for (split /\n/, $said // '') {
			ok /^ok /, s/^(?:not )?ok (.*?)(?:: .*)?\z/... $1/r
			    or diag $_;
		}
	}
}

done_testing;
