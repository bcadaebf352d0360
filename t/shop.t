# The seller-data API of wb_assist, with its endpoints, shapes, meanings and
# times. Each figure that the model receives is right and belongs to the seller;
# big shops work, too; and a missing endpoint is reported.

use v5.36;
use utf8;
use AIChat::Shop;
use AIChat::Test;
use List::Util qw(first head sum0 uniq);
use Time::HiRes qw(time);

my @small = map { AIChat::Shop->new(id => 10 + $_, orders => 60 + 35 * $_,
    products => 2 + $_, reviews => 9 + 3 * $_) } 1 .. 8;
my $big = AIChat::Shop->new(id => 99, orders => 20_000, products => 300,
    reviews => 6_000);
my @others = map { AIChat::Shop->new(id => 200 + $_, orders => 20_000,
    products => 30, reviews => 60) } 1 .. 3;
my %shop = map { $_->{id} => $_ } @small, $big, @others;
my $server = AIChat::Shop::Server->start(key => 'shop-key',
    shops => [ values %shop ]);
my %settings = (SERVER_HOST => $server->url, SERVER_API_KEY => 'shop-key',
    SERVER_CONTEXT_PATHS => AIChat::Shop::paths(),
    AI_CHAT_USER_CONTEXT_CHARS => 8000);
my $s = AIChat::Test->new(workers => 2, with => 0, env => {
	AI_CHAT_CONTEXT_MESSAGES => 0, AI_CHAT_DAILY_LIMIT => 1000, %settings });
my $marks = 0;

# The seller's data in the request to the model; '' where there are none.
sub told ($mark)
{
	my (undef, $data) = split_question(
	    $s->model_last($mark)->{body}{messages}[-1]{content});
	return $data // '';
}

sub ask ($id, %o)
{
	my $mark = 'q' . ++$marks;
	my $start = time;
	my $got = $s->send(telegram_id => $id,
	    message => "Как дела? [[id=$mark @{[ $o{marks} // '' ]}]]",
	    headers => { 'X-Request-Id' => $mark });
	return { status => $got->{status}, told => told($mark), mark => $mark,
	    seconds => time - $start };
}

# A number as the model receives it.
sub number ($n)
{
	my $text = sprintf '%.2f', $n;
	$text =~ s/\.00\z// or $text =~ s/0\z//;
	1 while $text =~ s/(\d)(\d{3})(?!\d)/$1 $2/;
	return $text =~ tr/./,/r;
}

sub money ($n)
{
	my $text = number($n);
	return ($text =~ s/,(\d)\z/,${1}0/r) . ' ₽';
}

sub orders (@orders)
{
	return 'количество ' . number(scalar @orders) . ', сумма '
	    . money(AIChat::Shop::amount(@orders));
}

# The lines that must be present, computed from the orders themselves. The
# fields of a line may have any order, and there may be others.
sub expected ($shop)
{
	my @all = @{ $shop->{list} };
	my @stocks = map { $_->{stock} } @{ $shop->{goods} };
	my @sold = grep { $_->{status} ne 'canceled' && $_->{age} > 10 } @all;
	my @kept = grep { $_->{amount} % 7 } @sold;
	my @back = grep { $_->{amount} % 7 == 0 } @sold;
	my @today = $shop->within(1);
	my @yesterday = $shop->within(2, 1);
	my $change = AIChat::Shop::growth(scalar @today, scalar @yesterday);
	my $low = grep { $_ <= 5 } @stocks;
	my $none = grep { !$_ } @stocks;
	my $cancelled = grep { $_->{status} eq 'canceled' } @all;
	my @rated = @{ $shop->{opinions} };
	my $answered = grep { $_->{answered} } @rated;
	my $bad = grep { $_->{rating} && $_->{rating} <= 3 } @rated;

	return ("- кабинет: «ИП Пример $shop->{id}»",
	    '- данные обновлены: 28.11.2025 14:30',
	    '- товары: всего ' . number(scalar @stocks) . ', есть в наличии '
		. number(@stocks - $none) . ", заканчиваются $low",
	    '- сегодня: ' . orders(@today) . ', количество вчера '
		. number(scalar @yesterday) . ', сумма вчера '
		. money(AIChat::Shop::amount(@yesterday))
		. ($change ? ', изменение ' . number($change) . ' %' : ''),
	    '- за 7 дней: ' . orders($shop->within(7)),
	    '- за 30 дней: ' . orders($shop->within(30)),
	    '- всего заказов: ' . number(scalar @all),
	    '- отменено: ' . number($cancelled),
	    '- доля отменённых: ' . number($cancelled / @all * 100) . ' %',
	    '- выкупы: ' . number(scalar @kept),
	    '- возвраты: ' . number(scalar @back),
	    '- сумма выкупов: ' . money(AIChat::Shop::amount(@kept)),
	    '- сумма возвратов: ' . money(AIChat::Shop::amount(@back)),
	    "- нет в наличии: $none",
	    '- без ответа: ' . number(@rated - $answered),
	    '- последние отзывы (10): с оценкой 3 и ниже: 1',
	    '  1) артикул WB ' . $shop->{goods}[ $rated[7]{good} ]{nm_id}
		. ", текст «Отзыв $shop->{id}-8», оценка 1, дата 27.11.2025 09:08",
	    '- итоги: с ответом ' . number($answered) . ', доля с ответом '
		. number(sprintf '%.1f', $answered / @rated * 100)
		. " %, требуют внимания $bad");
}

# The lines of analytics/sales, which takes long for a big shop.
sub expected_late ($shop)
{
	# The best seller by revenue comes first among the five.
	my %count;
	$count{ $_->{good} }++ for $shop->within(7);
	my %amount = map { my $good = $_; $good => AIChat::Shop::amount(
	    grep { $_->{good} == $good } $shop->within(7)) } keys %count;
	my @five = (sort { $count{$b} <=> $count{$a} || $a <=> $b }
	    keys %count)[0 .. 4];
	my ($best) = sort { $amount{$b} <=> $amount{$a} } grep { defined } @five;
	my $amount = $amount{$best};

	return ('  - на этой неделе: ' . orders($shop->within(4)),
	    '  - в этом месяце: ' . orders($shop->within(28)),
	    "  1) товар «$shop->{goods}[$best]{name}», продажи "
		. number($count{$best}) . ', сумма ' . money($amount));
}

sub has_line ($told, $wanted)
{
	my ($begin, $fields) = $wanted =~ /\A(\s*-[^:]*: |\s*\d\) )(.*)\z/s;
	my @fields = split /, (?=\D)/, $fields;

	for my $line (grep { index($_, $begin) == 0 } split /\n/, $told) {
		my %has = map { $_ => 1 } split /, (?=\D)/,
		    substr($line, length $begin) =~ s/\Aитого //r;
		return 1 if !grep { !$has{$_} } @fields;
	}
	return 0;
}

sub has_all ($told, $what, @lines)
{
	is join("\n", grep { !has_line($told, $_) } @lines), '', $what
	    or diag $told;
}

# There is no wrong value and nothing about other sellers.
sub is_clean ($told, $id, $what)
{
	my $wrong = qr/потери|модерац|конверсия|Нет данных|Неизвестно|оценка 0|комиссия
	    |продаж\ в\ день|Покупатель|\d{4}-\d\d-\d\dT|Все\ в\ порядке|хватит/x;

	unlike $told, $wrong,
	    "$what: no wrong value, no name of another seller";
	my @marks = ($told =~ /ИП Пример (\d+)/g, $told =~ /\b(\d+)-\d+[»,]/g,
	    map { int $_ / 1000 } $told =~ /артикул WB (\d+)/g);
	is join(' ', grep { $_ != $id } @marks), '', '... and nobody else\'s';
	cmp_ok length $told, '<=', 8000, '... within its length';
}

# -- the complete text of the other endpoints
# ----------------------------------------

# Fields with a value to show.
sub fields (@fields) { return join ', ', grep { defined && $_ ne '' } @fields }

sub some ($label, $n) { return $n ? "$label " . number($n) : '' }

sub days ($n)
{
	my $form = $n != int $n ? 'дня' : $n % 100 >= 11 && $n % 100 <= 14 ? 'дней'
	    : $n % 10 == 1 ? 'день' : $n % 10 >= 2 && $n % 10 <= 4 ? 'дня' : 'дней';
	return 'хватит на ' . number($n) . " $form";
}

# A list: the number of elements here and in all, the sums, and five elements.
sub list ($label, $n, $all, $sums, @items)
{
	my $of = $all > $n ? "$n из " . number($all) : $n;
	my $by = $all > $n ? ' итого по ним' : ' итого';
	my $i = 0;

	return if !$n;
	return ("$label ($of):" . ($n > 1 && $sums ne '' ? "$by $sums" : ''),
	    map { "  @{[ ++$i ]}) $_" } head(5, @items));
}

sub named ($shop, $good)
{
	return ("товар «$shop->{goods}[$good]{name}»",
	    "артикул WB $shop->{goods}[$good]{nm_id}");
}

sub by_amount (@orders)
{
	return @orders[ sort { $orders[$b]{amount} <=> $orders[$a]{amount} || $a <=> $b }
	    0 .. $#orders ];
}

sub recent_orders ($shop)
{
	my @active = grep { $_->{status} eq 'active' } @{ $shop->{list} };
	my @ten = AIChat::Shop::newest(10, @active);
	my $sum = AIChat::Shop::amount(@ten);

	return list('Заказы', scalar @ten, scalar @active, 'сумма ' . money($sum)
	    . ', цена для покупателя ' . money($sum * 0.75), map { fields(
		'сумма ' . money($_->{amount}),
		'цена для покупателя ' . money($_->{amount} * 0.75),
		'дата ' . AIChat::Shop::day($_->{age}, '%d.%m.%Y') . ' 10:11',
		named($shop, $_->{good}), $_->{good} % 2 ? 'оценка 4,5' : '',
		'скидка WB 25 %', 'склад «Коледино»',
		'регион «Приволжский федеральный округ»') } by_amount(@ten));
}

sub month ($shop)
{
	my @all = grep { $_->{age} < 30 } @{ $shop->{list} };
	my @sold = $shop->sold(30);
	my $back = grep { AIChat::Shop::is_return($_) } @sold;

	return '- итоги (дней 30, по 28.11.2025, с 29.10.2025): отменено '
	    . number(scalar grep { $_->{status} eq 'canceled' } @all)
	    . ', заказы ' . number(scalar @all) . ', выкупы '
	    . number(@sold - $back) . ', возвраты ' . number($back);
}

sub trend_fields ($t, @zero)
{
	return ('заказы ' . number($t->{orders}),
	    'сумма заказов ' . money($t->{orders_amount}),
	    some('выкупы', $t->{buyouts}) || (@zero ? 'выкупы 0' : ''),
	    'сумма выкупов ' . money($t->{buyouts_amount}),
	    some('возвраты', $t->{returns}) || (@zero ? 'возвраты 0' : ''),
	    'сумма возвратов ' . money($t->{returns_amount}));
}

sub week ($shop)
{
	my $total = $shop->trend(8, 1);
	my @shares = map { AIChat::Shop::share(@$total{@$_}) }
	    [qw(buyouts orders)], [qw(returns buyouts)];
	my $shares = fields(map { $shares[$_] ? (qw(выкупа возвратов))[$_] . ' '
	    . number($shares[$_]) . ' %' : '' } 0, 1);
	my @best = head(5, $shop->best(8, 1));

	$shares =~ s/(выкупа|возвратов)/доля $1/g;
	return ('- итоги (по 27.11.2025, с 21.11.2025):',
	    $shares ? "  - конверсия: $shares" : (),
	    '  - итоги: ' . fields(trend_fields($total, 0)),
	    list('- по дням', 7, 7, fields(trend_fields($total)), map { fields(
		$_ % 2 ? 'оценка 4,5' : '',
		'дата ' . AIChat::Shop::day($_, '%d.%m.%Y'),
		trend_fields($shop->trend($_ + 1, $_))) } 1 .. 5),
	    list('- лучшие товары', scalar @best, 0,
		'заказы ' . number(sum0(map { $_->[1] } @best)),
		map { fields(named($shop, $_->[0]), "заказы " . number($_->[1])) } @best));
}

sub all_stocks ($shop)
{
	my @all = $shop->in_stock;
	my @page = head(15, @all);
	my @least = @page[ sort { $page[$a]{stock} <=> $page[$b]{stock} || $a <=> $b }
	    0 .. $#page ];
	my $place = sub ($good) {
		my %places = AIChat::Shop::places($good);
		return join ', ', map { my $name = $_; map {
		    "«$name» (по размерам («$_» $places{$name}{$_}),"
			. " остаток $places{$name}{$_} шт., склад «$name»)"
		} keys %{ $places{$name} } } sort keys %places;
	};

	return list('- товары', scalar @page, scalar @all, 'остаток '
	    . number(sum0(map { $_->{stock} } @page)) . ' шт.', map { fields(
		"товар «$_->{name}»", "артикул WB $_->{nm_id}",
		"остаток $_->{stock} шт.", 'по складам (' . $place->($_) . ')')
	    } @least);
}

sub risks ($shop)
{
	my @risk = $shop->at_risk;
	my @page = head(20, @risk);

	return (list('- скоро закончатся', scalar @page, scalar @risk, 'остаток '
	    . number(sum0(map { $_->{good}{stock} } @page)) . ' шт.', map { fields(
		"остаток $_->{good}{stock} шт.", days($_->{days}),
		"товар «$_->{good}{name}»", "артикул WB $_->{good}{nm_id}",
		'заказы за 30 дней ' . number($_->{orders}) . ' шт.',
		'риск низкий', 'размер «44»', 'склад «Коледино»') } @page),
	    '- прогноз на 30 дней', '- итоги: позиций ' . number(scalar @risk));
}

sub sales ($shop, $kind)
{
	my $figures = $shop->sales_figures;
	my %figures = ('доля выкупа' => number($figures->{buyout_rate}) . ' %',
	    'выкупы' => number($figures->{buyouts_count}),
	    'возвраты' => number($figures->{returns_count}),
	    'сумма выкупов' => money($figures->{buyouts_amount}),
	    'сумма возвратов' => money($figures->{returns_amount}));
	delete $figures{'доля выкупа'} if !$figures->{buyout_rate};
	return map { $figures{$_} ? "- $_: $figures{$_}" : () } 'доля выкупа',
	    'сумма выкупов', 'выкупы', 'сумма возвратов', 'возвраты'
	    if $kind eq 'statistics';

	my @sold = $shop->sold;
	@sold = grep { !AIChat::Shop::is_return($_) == ($kind eq 'buyouts') } @sold
	    if $kind ne 'recent';
	my @ten = AIChat::Shop::newest(10, @sold);
	my ($back) = $kind eq 'recent'
	    ? scalar grep { AIChat::Shop::is_return($_) } @ten : 0;
	my @counted = $back ? grep { !AIChat::Shop::is_return($_) } @ten : @ten;
	my @told = (by_amount(@counted), $back
	    ? grep { AIChat::Shop::is_return($_) } @ten : ());
	my %label = (recent => 'продажи', buyouts => 'выкупы', returns => 'возвраты');

	return (($kind eq 'recent' ? '- итоги: '
	    . join ', ', map { "$_ $figures{$_}" } sort keys %figures : ()),
	    list("- $label{$kind}", scalar @ten, 0, fields(
		@counted ? 'сумма ' . money(AIChat::Shop::amount(@counted)) : '',
		$back ? "отменено и возвращено: $back" : ''), map { fields(
		    'сумма ' . money($_->{amount}), named($shop, $_->{good}),
		    'дата ' . AIChat::Shop::day($_->{age} - 10, '%d.%m.%Y'),
		    'размер «44»', $kind ne 'recent' ? ''
			: AIChat::Shop::is_return($_) ? 'вид возврат' : 'вид выкуп')
		} @told));
}

# The same text, whatever the order of the fields in a line is.
sub is_text ($told, $what, @lines)
{
	my $same = sub ($line) {
		my ($begin, $fields) = $line =~ /\A(.*?(?:\d\) |: итого |: ))(.*)\z/s
		    or return $line;
		return $begin . join ', ', sort split /, (?=\D)/, $fields;
	};
	is join("\n", map { $same->($_) } split /\n/, $told),
	    join("\n", map { $same->($_) } @lines), $what;
}

my @lists = qw(orders/recent stocks/all analytics/summary analytics/daily-trends
    stocks/dynamic-critical);
# These endpoints expect users.id, which equals the telegram_id of each shop in
# this test only: the test is about how the worker reads their responses.
my @sales = map { "sales/$_" } qw(statistics recent buyouts returns);

sub is_lists ($told, $shop, $what)
{
	is_text($told, "$what: exactly the right text",
	    recent_orders($shop), 'Продажи:', month($shop), week($shop),
	    'Остатки:', all_stocks($shop), risks($shop));
}

sub is_sales ($told, $shop, $what)
{
	is_text($told, "$what: exactly the right text",
	    'Продажи:', map { sales($shop, m{/(.*)}) } @sales);
}

# -- forty questions ---------------------------------------------------------

my @questions = (
	# The data of the bot's own endpoints.
	'Как дела сегодня?', 'Сколько заказов было вчера?',
	'Заказов больше или меньше, чем вчера?', 'Какая выручка за неделю?',
	'Сколько заказов за месяц?', 'Сколько у меня товаров?',
	'Что заканчивается на складе?', 'Чего нет в наличии?',
	'Какая доля отмен?', 'Сколько выкупили?', 'Сколько вернули?',
	'На какую сумму возвраты?', 'Какие отзывы плохие?',
	'Сколько отзывов без ответа?', 'Какая у меня средняя оценка?',
	'Что продаётся лучше всего?', 'Какой средний чек?',
	'Когда обновлялись данные?', 'Сколько продано с понедельника?',
	'Сколько продано с начала месяца?', 'Что мне сделать в первую очередь?',
	'Как называется мой кабинет?', 'Сколько всего заказов?',
	'На какую сумму выкупы?',
	# Lists, days and a period.
	'Покажите последние заказы', 'На каком складе мало товара?',
	'Какие размеры остались?', 'Что закончится через месяц?',
	'Как шла неделя по дням?', 'Какой день был лучшим?',
	'Какая доля выкупа за неделю?', 'Сколько отменили за 30 дней?',
	# Sales alone.
	'Покажите последние продажи', 'Какие были возвраты?',
	'Какой возврат самый дорогой?', 'Какая доля выкупа за всё время?',
	'Сколько всего выкупов?', 'Какой выкуп самый дорогой?',
	'Какого размера возвращают?', 'Когда была последняя продажа?');
is scalar @{[ uniq @questions ]}, 40, 'forty questions';
my @left = @questions;

# The next eight questions, one by each of the small shops, all at the same
# time.
sub ask_all ($what, $check)
{
	my @asked = map { { shop => $_, mark => 'q' . ++$marks,
	    question => shift @left } } @small;
	my @got = $s->send_many(map { { telegram_id => $_->{shop}{id},
	    message => "$_->{question} [[id=$_->{mark}]]" } } @asked);

	is((grep { $_->{status} == 200 } @got), 8, "$what: all are answered");
	$check->(told($_->{mark}), $_->{shop},
	    "seller $_->{shop}{id}, «$_->{question}»") for @asked;
}

for my $round (1 .. 3) {
	ask_all("round $round", sub ($told, $shop, $what) {
		has_all($told, "$what: each figure is right",
		    expected($shop), expected_late($shop));
		is_clean($told, $shop->{id}, '...');
	});
}

sub use_paths (@names)
{
	$s->restart_worker($_, %settings,
	    SERVER_CONTEXT_PATHS => AIChat::Shop::paths(@names)) for 1, 2;
}

use_paths(@lists);
ask_all('lists', \&is_lists);
use_paths(@sales);
ask_all('sales', \&is_sales);
is scalar @left, 0, 'all forty questions were sent';
use_paths();

# -- a big shop --------------------------------------------------------------

{
	my $first = ask(99);
	is $first->{status}, 200, '20,000 orders: answered';
	cmp_ok $first->{seconds}, '<', 2, '... without waiting for all of it';
	has_all($first->{told},
	    '... with the data that came in time', expected($big));
	is_clean($first->{told}, 99, '...');
	like $s->worker_log(1) . $s->worker_log(2),
	    qr/req=\Q$first->{mark}\E .*server=told /,
	    '... and the log says so';

	# The rest arrives while the seller reads; either worker may get the
	# next question.
	my $second = wait_for(sub {
		my $got = ask(99, marks => 'delay=1500');
		index($got->{told}, 'на этой неделе') >= 0 && $got;
	}, 30, 'the late data');
	has_all($second->{told}, 'the next question has the late data',
	    expected($big), expected_late($big));
	cmp_ok $second->{seconds}, '<', 1.5 + 1, '... without waiting for them';
	like $s->get('/metrics')->{content}, qr/^ai_chat_server_calls_total\{worker="\d",result="late"\} [1-9]/m,
	    '... and the metrics count them';
}

# The same for the other endpoints.
for ([ 'lists', \@lists, \&is_lists, qr/^- прогноз на/m ],
    [ 'sales', \@sales, \&is_sales, qr/^- возвраты \(/m ]) {
	my ($what, $names, $check, $last) = @$_;

	use_paths(@$names);
	my $first = ask(99);
	is $first->{status}, 200, "$what of 20,000 orders: answered";
	cmp_ok $first->{seconds}, '<', 2, '... without waiting for all of them';
	my $got = wait_for(sub {
		my $got = ask(99, marks => 'delay=1500');
		$got->{told} =~ $last && $got;
	}, 30, 'the late data');
	$check->($got->{told}, $big, '... the next question has all data');
}
use_paths();

# Three big shops at once, with a seller-data API that handles one request at a
# time: some data are late for each, and no chat fails.
{
	my @got = $s->send_many(map { { telegram_id => $_->{id},
	    message => "Вопрос [[id=many$_->{id}]]" } } @others);
	is((grep { $_->{status} == 200 && $_->{seconds} < 3 } @got), 3,
	    'three big shops at once: all are answered in time');
	is_clean(told("many$_->{id}"), $_->{id}, "... $_->{id}") for @others;
	for my $other (@others) {
		ok wait_for(sub { ask($other->{id})->{told} =~ /на этой неделе/ },
		    60, 'the figures'),
		    "... $other->{id} has its own in the end";
	}
}

# A slow seller-data API does not count as failing.
unlike $s->worker_log($_), qr/event=breaker/,
    "the circuit breaker of worker $_ stayed closed"
    for 1, 2;

# -- in Redis ----------------------------------------------------------------

$s->start_redis;
$s->restart_worker($_, %settings, REDIS_URL => $s->stack->settings->{REDIS_URL})
    for 1, 2;
{
	my $first = ask(99, marks => 'delay=2500');
	unlike $first->{told}, qr/на этой неделе/,
	    'with Redis: late for the first question';
	wait_for(sub { ask(99, marks => 'delay=1500')->{told} =~ /на этой неделе/ },
	    30, 'the data in Redis');
	my %mark;
	for (1 .. 12) {
		my $got = ask(99);
		$mark{ $got->{mark} } = $got;
	}
	is((grep { index($_->{told}, 'на этой неделе') < 0 } values %mark), 0,
	    '... available for all later questions');
	for my $n (1, 2) {
		my $log = $s->worker_log($n);
		my $own = first { $log =~ /req=\Q$_\E / } keys %mark;
		ok $own, "... at worker $n" or next;
		has_all($mark{$own}{told}, '... with every figure', expected($big),
		    expected_late($big));
	}
	is_clean($_->{told}, 99, '...') for (values %mark)[0];
	my ($other) = ask(11)->{told};
	has_all($other,
	    '... and another seller has other figures', expected($shop{11}));
	is_clean($other, 11, '...');
}

# -- missing sellers, keys and endpoints
# ---------------------------------------------

{
	my $got = ask(4242);
	is "$got->{status} $got->{told}", '200 ', 'a seller without a shop: answered';
	like $s->worker_log(1) . $s->worker_log(2),
	    qr/req=\Q$got->{mark}\E .*server=unknown /,
	    '... and the log says that the seller is unknown';
}
$s->restart_worker($_, REDIS_URL => undef,
    SERVER_CONTEXT_PATHS => undef) for 2, 1;
delete @{ $s->stack->settings }{qw(SERVER_CONTEXT_PATHS REDIS_URL)};
$s->restart_worker(1, SERVER_API_KEY => 'shop-key');
$s->kill_worker(2, 'TERM');
$s->expect_log(qr/connect\(\) to unix:\S+ failed/);
{
	my @got = map { ask($_) } 11 .. 16;
	is((grep { $_->{status} == 200 && $_->{told} eq '' } @got), 6,
	    'a missing endpoint: answered without figures');
	my $log = $s->worker_log(1);
	my @lines = $log =~ m{^(.*the\ seller-data\ API\ has\ no\ path
	    \ /api/v1/bot/user-context/\{telegram_id\}:
	    \ every\ response\ is\ \\"Not\ Found\\".*)$}mgx;
	is scalar @lines, 1, '... and the log reports it once';
	like $lines[0], qr/level=warn event=server /, '... as a warning';
	like $log, qr/req=\Q$got[0]{mark}\E .*server=missing /,
	    '... and with each question';
	like $s->get('/metrics')->{content},
	    qr/^ai_chat_server_calls_total\{worker="1",result="missing"\} 6$/m,
	    '... and so do the metrics';
}

# -- ai-chatctl check --------------------------------------------------------

# The results of ai-chatctl check about the seller-data API.
sub checks (%env)
{
	my $got = $s->ctl('check', '--json', { env => \%env });
	return map { [ $_->{ok} ? 1 : 0, $_->{says} ] }
	    grep { $_->{check} eq 'server' } @{ $got->{json}{checks} };
}

is_deeply [ checks() ], [ [ 0, 'the seller-data API has no path'
    . ' /api/v1/bot/user-context/{telegram_id}: correct'
    . ' SERVER_CONTEXT_PATHS' ] ], 'check reports the missing endpoint';
$s->stack->settings->{SERVER_CONTEXT_PATHS} = AIChat::Shop::paths();
{
	my @got = checks();
	is scalar @got, 5, '... and calls each path of the setting';
	my @there = grep { $_->[0]
	    && $_->[1] =~ m{^/api/v1/bot/\S+ exists: HTTP 422\z} } @got;
	is scalar @there, 5, '... which exist, without a request about a seller';
}
$s->stack->settings->{SERVER_API_KEY} = 'wrong';
is_deeply [ (checks())[0] ],
    [ [ 0, 'the seller-data API rejects SERVER_API_KEY: HTTP 403' ] ],
    '... reports a wrong key';
$server->stop;
like +((checks())[0])->[1], qr/could not call /, '... and a seller-data API that is down';

done_testing;
