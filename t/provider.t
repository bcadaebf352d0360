# Headers and members of the body that an operator adds to the requests for a
# model, and which of them the fallback server receives.

use v5.36;
use utf8;
use AIChat::Proc qw(spew);
use AIChat::Test;

my $s = AIChat::Test->new(second_model => 1, env => {
	OPENAI_API_KEY => 'key-of-first', OPENAI_FALLBACK_API_KEY => 'key-of-second',
	AI_CHAT_BREAKER_FAILURES => 0 });
my $FAILS = 'first[[status=429 code=insufficient_quota]]';
my ($files, $user) = (0, 0);

sub file ($text)
{
	my $path = $s->dir . '/file-' . ++$files;
	spew($path, $text, 0600);
	return $path;
}

# One chat of a new user; returns the last request that each model received.
sub chat ($status = 200)
{
	my $id = 'p' . ++$user;
	my $got = $s->send(telegram_id => $user, message => "Вопрос [[id=$id]]");

	is $got->{status}, $status, "the answer is $status"
	    or diag $got->{content};
	return ($s->model_last($id), $s->second_last($id));
}

sub restart (%settings)
{
	$s->restart_worker(1, (map { ("OPENAI_$_" => undef,
	    "OPENAI_FALLBACK_$_" => undef) } qw(HEADERS_FILE EXTRA_BODY_FILE MODEL)),
	    %settings);
}

# -- one server --------------------------------------------------------------

restart(OPENAI_HEADERS_FILE => file("# a comment\n\nOpenAI-Project: b1g\n"
    . "x-data-logging-enabled:  false \nUser-Agent: shop/1\n"),
    OPENAI_EXTRA_BODY_FILE =>
    file(qq({ "top_p": 0.25,\n "provider": {"data_collection": "deny"} }\n)));
{
	my ($sent) = chat();
	is $sent->{headers}{'openai-project'}, 'b1g', 'a header is sent';
	is $sent->{headers}{'x-data-logging-enabled'}, 'false',
	    '... without the blanks around its value';
	is $sent->{headers}{'user-agent'}, 'shop/1',
	    '... and one that libcurl sets, too';
	is $sent->{headers}{authorization}, 'Bearer key-of-first',
	    '... beside the key';
	is $sent->{headers}{'content-type'}, 'application/json', '... and the type';
	is_deeply $sent->{body}{provider}, { data_collection => 'deny' },
	    'a member is sent';
	cmp_ok $sent->{body}{top_p}, '==', 0.25, '... and another';
	cmp_ok $sent->{body}{temperature}, '==', 0.7,
	    "... beside the temperature of the worker";
	is $sent->{body}{max_tokens}, 1000, '... own';
}

restart(OPENAI_EXTRA_BODY_FILE =>
    file('{"temperature": 1.5, "max_completion_tokens": 77}'));
{
	my ($sent) = chat();
	cmp_ok $sent->{body}{temperature}, '==', 1.5,
	    "a member replaces the worker's temperature";
	is $sent->{body}{max_completion_tokens}, 77, '... and its limit of tokens';
	ok !exists $sent->{body}{max_tokens}, '... under the other name, too';
}

restart(OPENAI_EXTRA_BODY_FILE => file('{"max_tokens": 77, "temperature": 1}'),
    OPENAI_MODEL => 'm[[unsupported=max_tokens]]');
{
	my ($sent) = chat(500);
	is $sent->{body}{max_tokens}, 77,
	    'a member that the model refuses is not changed';
	is $s->model_count("p$user"), 1, '... once';
}

restart(OPENAI_EXTRA_BODY_FILE => file('{}'), OPENAI_HEADERS_FILE => file(''));
chat();
pass 'empty files are accepted';

# -- two ---------------------------------------------------------------------

my %OWN = (OPENAI_HEADERS_FILE => file('X-Of: first'),
    OPENAI_EXTRA_BODY_FILE => file('{"of":"first"}'));
restart(%OWN, OPENAI_MODEL => $FAILS, OPENAI_FALLBACK_MODEL => 'small');
{
	my ($first, $second) = chat();
	is $first->{headers}{'x-of'}, 'first',
	    'the primary server gets its header';
	is $first->{body}{of}, 'first', '... and its member';
	ok !exists $second->{headers}{'x-of'}, 'another server does not get it';
	ok !exists $second->{body}{of}, '... or the member';
}

restart(%OWN, OPENAI_MODEL => $FAILS, OPENAI_FALLBACK_MODEL => 'small',
    OPENAI_FALLBACK_HEADERS_FILE => file('X-Of: second'),
    OPENAI_FALLBACK_EXTRA_BODY_FILE => file('{"of":"second"}'));
{
	my (undef, $second) = chat();
	is $second->{headers}{'x-of'}, 'second',
	    'another server gets its own header';
	is $second->{body}{of}, 'second', '... and its own member';
}

restart(%OWN, OPENAI_MODEL => $FAILS, OPENAI_FALLBACK_MODEL => 'small',
    OPENAI_FALLBACK_BASE_URL => undef, OPENAI_FALLBACK_API_KEY => undef);
{
	my ($last) = chat();
	is $last->{body}{model}, 'small', 'a fallback model on the same server';
	is $last->{headers}{'x-of'}, 'first', '... gets the same header';
	is $last->{body}{of}, 'first', '... and the same member';
}
restart(%OWN, OPENAI_MODEL => $FAILS, OPENAI_FALLBACK_MODEL => 'small',
    OPENAI_FALLBACK_HEADERS_FILE => file(''),
    OPENAI_FALLBACK_EXTRA_BODY_FILE => file('{}'));
{
	my ($last) = chat();
	is $last->{body}{model}, 'small', '... with files of its own';
	ok !exists $last->{headers}{'x-of'}, '... which are empty';
	ok !exists $last->{body}{of}, '... both';
}

done_testing;
