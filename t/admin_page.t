# The page /admin/: when it exists, its views in Chromium at the width of a
# desktop and of a telephone, in both languages, light and dark, and every task
# of an operator at both widths. AIC_SCREENSHOTS names a directory for the screenshots.

use v5.36;
use utf8;
use AIChat::NPM;
use AIChat::Proc qw(run base_env);
use AIChat::Test;

my $s = AIChat::Test->new(env => {
	API_ADMIN_KEY => 'anna-key',
	AI_CHAT_ADMIN_KEY_NAMES => 'anna',
	AI_CHAT_DAILY_LIMIT => 12,
});
my %no_key = (headers => { 'X-API-KEY' => undef });
my %anna = (headers => { 'X-API-KEY' => 'anna-key' });

# -- how it is served --------------------------------------------------------

my $page = $s->get('/admin/', %no_key);
is $page->{status}, 200, 'the page is served without a key';
is $page->{headers}{'content-type'}, 'text/html; charset=utf-8', '... as HTML';
my $policy = $page->{headers}{'content-security-policy'};
like $policy, qr/default-src 'none'; script-src 'self'; style-src 'self'/,
    '... with a strict policy';
unlike $policy, qr/unsafe|https?:|\*/, '... that nothing weakens';
unlike $page->{content}, qr/<script>|<style|style=|\son\w+=/,
    '... and without a script or style of its own';
my @files = $page->{content} =~ /(?:src|href)="([^"]+)"/g;
is scalar @files, 5, 'the page names its files';
for my $file (@files) {
	my $got = $s->get("/admin/$file", %no_key);
	is $got->{status}, 200, "$file is there";
	is $got->{headers}{'content-security-policy'}, $policy,
	    '... with the policy';
}
like $s->get('/admin', %no_key)->{content}, qr{url=admin/"},
    'the address without its slash leads to the page';
is $s->get($_, %no_key)->{status}, 404, "$_ is not served"
    for '/admin/index.html', '/admin/slash.html', '/.pages/admin/admin.js';
is $s->post('/admin/', '')->{status}, 405, 'the page cannot be posted to';

# -- in a browser ------------------------------------------------------------

my $npm = eval { AIChat::NPM->install('npm') };
my $why = !$npm ? AIChat::NPM::skip_reason($@)
    : -x '/usr/bin/chromium' ? undef : 'there is no Chromium';
# The last column: whether each task is done.
my @runs = ([ 1280, 'en', 'light', 101, 1 ], [ 360, 'ru', 'dark', 102, 1 ],
    [ 1280, 'ru', 'dark', 103, 0 ], [ 360, 'en', 'light', 104, 0 ]);

sub use_page ($width, $language, $scheme, $user, $tasks)
{
	# The script has to be where its modules are.
	my $said = eval { run([ $npm->node, $npm->script('admin.mjs'),
	    $s->stack->url, 'anna-key', $ENV{AIC_SCREENSHOTS} // $s->dir,
	    $width, $language, $scheme, $user, $tasks ],
	    env => { base_env(), PATH => $ENV{PATH}, TMPDIR => $s->dir,
		HOME => $s->dir }) };

	ok defined $said, "the page at $width pixels, $language, $scheme"
	    or diag $@;
	utf8::decode($said //= '');
	for (split /\n/, $said) {
		ok /^ok /, s/^(?:not )?ok (.*?)(?:: .*)?\z/... $1/r or diag $_;
	}
	is_deeply [ map { $_->[0] } $s->sql("select key_name || ' ' || action
	    from ai_chat_audit where telegram_id = $user order by id") ],
	    [ map { "anna $_" } qw(history history), $tasks
		? qw(reset-limit clear forget history) : () ],
	    '... and each action was recorded once';
}

SKIP: {
	skip $why, 1 if $why;
	for my $run (@runs) {
		$s->send(telegram_id => $run->[3], message => "<b>$_</b>")
		    for 1 .. 12;
	}
	is $s->send(telegram_id => 101)->{status}, 429, 'a refusal';
	wait_for(sub {
		my $got = $s->get('/v1/admin/overview?days=1', %anna)->{json};
		$got->{totals}{chats} == 48 && $got->{totals}{limited} == 1;
	}, 30, 'the sums of the day');
	use_page(@$_) for @runs;
}

# -- without the key ---------------------------------------------------------

$s->restart_worker(1, API_ADMIN_KEY => '', AI_CHAT_ADMIN_KEY_NAMES => '');
for my $path ('/admin', '/admin/', '/admin/admin.js') {
	is $s->get($path)->{status}, 404, "without API_ADMIN_KEY: no $path";
	is $s->get($path, %no_key)->{status}, 403, '... and no trace of it';
}

done_testing;
