# The recipes in docs/models.md work as printed: each one is run with a stand-in
# that checks requests against the rules of that provider.

use v5.36;
use utf8;
use AIChat::Proc qw(run slurp spew);
use AIChat::Provider;
use AIChat::Stack;
use AIChat::Test;
use File::Basename qw(basename);

my $TOP = AIChat::Stack::top();
my $s = AIChat::Test->new(model => 0, workers => 0, with => 0);
my $user = 0;

# The recipes of the page: { title, settings => {}, files => {} }.
sub recipes ($text)
{
	my @found;

	for my $section (split /^(?=## )/m, $text) {
		my ($title) = $section =~ /\A## (.*)/ or next;
		my $r = { title => $title, settings => {}, files => {} };
		while ($section =~ /(?:^In `([^`]+)`:\n\n)?((?:^    .*\n)+)/mg) {
			my ($file, $block) = ($1, $2);
			$block =~ s/^    //gm;
			if (defined $file) {
				$r->{files}{$file} = $block;
				next;
			}
			$r->{settings}{$1} = $2
			    while $block =~ /^(\w+)=(.*)$/mg;
		}
		push @found, $r if %{ $r->{settings} };
	}
	return @found;
}

# How many requests a provider refuses until the worker has found the right
# form.
my %REFUSED = ('OpenAI, a model that reasons' => 2);
my %RULES = ('OpenAI' => 'openai', 'OpenAI, a model that reasons' => 'openai',
    'OpenAI through a proxy' => 'openai',
    'OpenAI through an HTTP proxy' => 'openai', 'Azure OpenAI' => 'azure',
    'Yandex AI Studio' => 'yandex', 'GigaChat' => 'gigachat',
    'DeepSeek' => 'deepseek', 'OpenRouter' => 'openrouter', 'vLLM' => 'vllm',
    'Ollama' => 'ollama');

# The settings of a recipe, with the stand-in in place of the provider. With a
# proxy the host name stays, and only the proxy can resolve it.
sub settings ($r, $provider)
{
	my %set = %{ $r->{settings} };
	my $base = $set{OPENAI_BASE_URL} // 'https://api.openai.com/v1';
	my $path = $base =~ s{^https?://[^/]+}{}r;
	my $port = $provider->port;

	$set{OPENAI_BASE_URL} = $provider->url($path);
	if ($set{OPENAI_PROXY}) {
		$set{OPENAI_PROXY} =~ s/\@.*/\@127.0.0.1:$port/;
		$set{OPENAI_BASE_URL} = $base =~ s/^https/http/r;
	}
	$set{OPENAI_AUTH_URL} = $provider->url('/api/v2/oauth')
	    if ($set{OPENAI_AUTH} // '') eq 'gigachat';
	for my $name (grep { /_FILE$/ } keys %set) {
		my $file = $set{$name};
		my $copy = $s->dir . '/' . basename($file);
		if ($name =~ /CA_FILE/) {
			run([ qw(openssl req -x509 -newkey ec -pkeyopt
			    ec_paramgen_curve:prime256v1 -nodes -subj /CN=root
			    -keyout /dev/null -out), $copy ]);
		} else {
			ok exists $r->{files}{$file}, "$file is shown";
			spew($copy, $r->{files}{$file} // '', 0600);
		}
		$set{$name} = $copy;
	}
	return %set;
}

my @all = recipes(slurp("$TOP/docs/models.md"));
is join(', ', sort map { $_->{title} } @all), join(', ', sort keys %RULES),
    'docs/models.md has a recipe for each provider';

my %before = %{ $s->stack->settings };
for my $r (@all) {
	my $rules = $RULES{ $r->{title} } or next;
	my ($login) = ($r->{settings}{OPENAI_PROXY} // '') =~ m{//(.*)\@};
	my $provider = AIChat::Provider->start(rules => $rules,
	    key => $r->{settings}{OPENAI_API_KEY}, proxy => $login,
	    log => $s->dir . '/log/provider.log');

	subtest $r->{title} => sub {
		my %set = settings($r, $provider);
		# Each file is described, and each description belongs to a
		# file.
		is join(' ', sort keys %{ $r->{files} }), join(' ', sort
		    map { $r->{settings}{$_} } grep { /_FILE$/ && !/CA_FILE/ }
		    keys %{ $r->{settings} }), 'the files are those it names';
		%{ $s->stack->settings } = (%before, %set);
		if ($s->stack->worker(1)) {
			$s->restart_worker(1);
		} else {
			$s->stack->start_workers(1);
			$s->stack->start_nginx;
		}
		$user++;
		for my $which ('a first question',
		    'a second question, with history') {
			my $got = $s->send(telegram_id => $user,
			    user_context => 'Выручка: 120 000 ₽');
			is $got->{status}, 200, $which or diag $got->{content};
			is $got->{json}{response}, "Ответ $rules",
			    '... is answered';
		}
		my $state = $provider->state;
		is scalar @{ $state->{refused} }, $REFUSED{ $r->{title} } // 0,
		    'and only the forms that must be found out were refused'
		    or diag "@{ $state->{refused} }";
		is $state->{last}{host}, 'api.openai.com',
		    'the proxy resolves the name' if $login;
		is $state->{tokens}, 1, 'one token was requested'
		    if $rules eq 'gigachat';
	};
	$provider->stop;
}

done_testing;
