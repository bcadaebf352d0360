package AIChat::Shop;

# A simulation of the seller-data API of wb_assist: shops, and the endpoints
# under /api/v1/bot about them, with its shapes, meanings and response times.
# One handler blocks all others, as in the original, so parallel requests are
# answered one after another.
#
#	my $shop = AIChat::Shop->new(id => 7, orders => 20_000);
#	my $server = AIChat::Shop::Server->start(key => 'k', shops => [ $shop ]);
#
# The current day is 28.11.2025. An order that is bought out or returned is a
# sale ten days later. The responses contain only the fields that its response
# models let through: an order in a list has no status.
#
# All data of a shop follow from its id and sizes.

use v5.36;
use utf8;
use List::Util qw(head sum0);
use POSIX qw(ceil strftime);

my $TODAY = 1764288000;
my @NAMES = qw(Юбка Платье Брюки Блузка Пальто Куртка);

#   id          telegram_id of its seller
#   user        its users.id
#   orders, products, reviews   how many
sub new ($class, %o)
{
	my $self = bless { orders => 100, products => 5, reviews => 12,
	    user => $o{id}, %o }, $class;
	my $seed = $self->{id} * 7919;
	my $next = sub ($n) {
		$seed = ($seed * 1103515245 + 12345) % 2147483648;
		return int $seed / 65536 % $n;
	};

	$self->{goods} = [ map { {
		nm_id => $self->{id} * 1000 + $_,
		name => "$NAMES[ $_ % @NAMES ] $self->{id}-$_",
		stock => $_ == 1 ? 0 : $_ == 2 ? 3 : $next->(40) + 6,
	} } 1 .. $self->{products} ];
	$self->{list} = [ map { {
		age => $next->(60), amount => 500 + $next->(4000),
		good => $next->($self->{products}),
		status => $next->(10) == 0 ? 'canceled' : 'active',
	} } 1 .. $self->{orders} ];
	# The only review of one star is after the first ten; some reviews have
	# no rating.
	$self->{opinions} = [ map { {
		rating => $_ == 8 ? 1 : $_ == 3 ? 0 : 4 + $_ % 2,
		answered => $_ % 3 != 0, good => $_ % $self->{products},
	} } 1 .. $self->{reviews} ];
	return $self;
}

# The orders of the last n days, today included; with two numbers, those of a
# range.
sub within ($self, $days, $from = 0)
{
	return grep { $_->{age} >= $from && $_->{age} < $days
	    && $_->{status} ne 'canceled' } @{ $self->{list} };
}

# The date n days ago.
sub day ($age, $format = '%Y-%m-%d')
{
	return strftime($format, gmtime $TODAY - $age * 86400);
}

# The last n orders, the newest first.
sub newest ($n, @orders)
{
	my @sorted = @orders[ sort { $orders[$a]{age} <=> $orders[$b]{age} || $a <=> $b }
	    0 .. $#orders ];
	return @sorted[ 0 .. ($n < @sorted ? $n : @sorted) - 1 ];
}

sub is_return ($order) { return $order->{amount} % 7 == 0 }

# The sales within some days, returns included.
sub sold ($self, $days = 10_000, $from = 0)
{
	return grep { $_->{age} > 10 } $self->within($days, $from);
}

# The products that will be sold out in 30 days at the rate of the last 30.
sub at_risk ($self)
{
	my (%orders, @risk);

	$orders{ $_->{good} }++ for $self->within(30);
	for my $n (sort { $a <=> $b } keys %orders) {
		my $good = $self->{goods}[$n];
		my $days = sprintf('%.2f', $good->{stock} / ($orders{$n} / 30)) + 0;
		push @risk, { good => $good, orders => $orders{$n}, days => $days }
		    if $good->{stock} && $days <= 30;
	}
	return sort { $a->{days} <=> $b->{days}
	    || $a->{good}{nm_id} <=> $b->{good}{nm_id} } @risk;
}

# The products in stock, the largest quantity first.
sub in_stock ($self)
{
	return sort { $b->{stock} <=> $a->{stock} || $a->{nm_id} <=> $b->{nm_id} }
	    grep { $_->{stock} } @{ $self->{goods} };
}

# The stock of a product by warehouse and size; places without stock are left
# out.
sub places ($good)
{
	my $first = ceil($good->{stock} / 2);
	my %places = ('Коледино' => { 44 => $first },
	    'Казань' => { 46 => $good->{stock} - $first });
	delete $places{'Казань'} if $first == $good->{stock};
	return %places;
}

# The best sellers of some days, the most orders first: [ number of product,
# orders ].
sub best ($self, $days, $from = 0)
{
	my %count;

	$count{ $_->{good} }++ for $self->within($days, $from);
	return map { [ $_, $count{$_} ] }
	    sort { $count{$b} <=> $count{$a} || $a <=> $b } keys %count;
}

sub share ($part, $of) { return $of ? sprintf('%.2f', $part / $of * 100) + 0 : 0 }

sub amount (@orders) { return sum0(map { $_->{amount} } @orders) }

sub period (@orders)
{
	return { count => scalar @orders, amount => amount(@orders) + 0 };
}

sub critical ($self)
{
	my @stocks = map { $_->{stock} } @{ $self->{goods} };
	my $low = grep { $_ <= 5 } @stocks;
	my $none = grep { $_ == 0 } @stocks;
	return { critical_count => $low, zero_count => $none,
	    attention_needed => $low + $none };
}

sub average_rating ($self)
{
	my @all = @{ $self->{opinions} };
	return sprintf('%.1f', sum0(map { $_->{rating} } @all) / @all) + 0;
}

sub growth ($now, $before) { return $before ? ($now - $before) / $before * 100 : 0 }

# -- endpoints ---------------------------------------------------------------

sub dashboard ($self)
{
	my @today = $self->within(1);
	my @yesterday = $self->within(2, 1);
	my %critical = %{ $self->critical };
	my @open = grep { !$_->{answered} } @{ $self->{opinions} };

	return { status => 'success', telegram_text => '📊 ...', dashboard => {
		cabinet_name => "ИП Пример $self->{id}",
		last_sync => '2025-11-28T14:30:05.123456+03:00',
		status => 'Активен',
		products => { total => $self->{products},
		    active => scalar(grep { $_->{stock} } @{ $self->{goods} }),
		    moderation => 0, critical_stocks => $critical{critical_count} },
		orders_today => { %{ period(@today) },
		    yesterday_count => scalar @yesterday,
		    yesterday_amount => amount(@yesterday) + 0,
		    growth_percent => growth(scalar @today, scalar @yesterday) },
		orders_7d => period($self->within(7)),
		orders_30d => period($self->within(30)),
		stocks => { %critical, top_product => 'Нет данных' },
		reviews => { new_count => 0, average_rating => $self->average_rating,
		    unanswered => scalar @open, total => $self->{reviews} },
		recommendations => [ 'Все в порядке!' ],
	} };
}

sub stocks_critical ($self)
{
	my $item = sub ($g) { {
		nm_id => $g->{nm_id}, name => $g->{name}, brand => 'Неизвестно',
		stocks => { 44 => $g->{stock} },
		critical_sizes => $g->{stock} ? [ '44' ] : [],
		zero_sizes => $g->{stock} ? [] : [ '44' ],
		sales_per_day => 0.0, price => 1500.0, commission_percent => 0.0,
	} };
	my @goods = @{ $self->{goods} };

	return { status => 'success', telegram_text => '...', stocks => {
		critical_products => [ map { { %{ $item->($_) }, days_left => {} } }
		    grep { $_->{stock} && $_->{stock} <= 5 } @goods ],
		zero_products => [ map { $item->($_) }
		    grep { !$_->{stock} } @goods ],
		summary => { %{ $self->critical }, potential_losses => 0.0 },
		recommendations => [ 'Пополнить остатки критичных товаров' ],
	} };
}

sub reviews_summary ($self)
{
	my @all = @{ $self->{opinions} };
	my $answered = grep { $_->{answered} } @all;
	my $i = 0;

	return { status => 'success', telegram_text => '...', reviews => {
		new_reviews => [ map { $i++; {
			id => $i, nm_id => $self->{goods}[ $_->{good} ]{nm_id},
			text => "Отзыв $self->{id}-$i", rating => $_->{rating},
			user_name => "Покупатель $i", color => undef,
			pros => undef, cons => undef,
			created_date => '2025-11-27T09:08:07.654321+03:00',
		} } @all[ 0 .. ($#all < 9 ? $#all : 9) ] ],
		unanswered_questions => [],
		statistics => { average_rating => $self->average_rating,
		    total_reviews => scalar @all, answered_count => $answered,
		    answered_percent => sprintf('%.1f', $answered / @all * 100) + 0,
		    attention_needed =>
			scalar(grep { $_->{rating} && $_->{rating} <= 3 } @all),
		    new_today => 0 },
		recommendations => [ 'Все отзывы обработаны' ],
	} };
}

sub orders_statistics ($self)
{
	my @all = @{ $self->{list} };
	my $canceled = grep { $_->{status} eq 'canceled' } @all;
	my @sold = grep { $_->{status} ne 'canceled' && $_->{age} > 10 } @all;
	my @returns = grep { $_->{amount} % 7 == 0 } @sold;
	my @buyouts = grep { $_->{amount} % 7 != 0 } @sold;
	my %sales = (total_sales => scalar @sold, buyouts => scalar @buyouts,
	    returns => scalar @returns,
	    buyout_rate => @sold ? @buyouts / @sold * 100 : 0);
	my %orders = (total_orders => scalar @all,
	    active_orders => @all - $canceled, canceled_orders => $canceled);

	return { success => \1, telegram_text => '...', data => {
		orders => { %orders, no_status_orders => 0,
		    active_percentage => @all ? (@all - $canceled) / @all * 100 : 0,
		    canceled_percentage => @all ? $canceled / @all * 100 : 0 },
		sales => { %sales, total_amount => amount(@sold) + 0,
		    buyouts_amount => amount(@buyouts) + 0,
		    returns_amount => amount(@returns) + 0 },
		summary => { %orders, %sales },
	} };
}

# The current week began on Monday, three days ago; so did the month with it.
sub analytics_sales ($self)
{
	my @today = $self->within(1);
	my @week = $self->within(4);
	my (%count, %amount);

	for ($self->within(7)) {
		$count{ $_->{good} }++;
		$amount{ $_->{good} } += $_->{amount};
	}
	my @best = sort { $count{$b} <=> $count{$a} || $a <=> $b } keys %count;
	return { status => 'success', telegram_text => '...', analytics => {
		sales_periods => { today => period(@today),
		    yesterday => period($self->within(2, 1)),
		    '7_days' => period(@week), '30_days' => period($self->within(28)) },
		dynamics => {
		    yesterday_growth_percent => growth(scalar @today,
			scalar $self->within(2, 1)),
		    week_growth_percent => growth(scalar @today, scalar @week),
		    average_check => @today ? amount(@today) / @today : 0,
		    conversion_percent => 0.0 },
		top_products => [ map { {
			nm_id => $self->{goods}[$_]{nm_id},
			name => $self->{goods}[$_]{name},
			sales_count => $count{$_}, sales_amount => $amount{$_} + 0,
			rating => 0.0, stocks => { 44 => $self->{goods}[$_]{stock} },
		} } grep { defined } @best[0 .. 4] ],
		stocks_summary => { %{ $self->critical },
		    total_products => $self->{products} },
		recommendations => [ '✅ Все в порядке!' ],
	} };
}

sub page ($limit, $total)
{
	return { limit => $limit, offset => 0, total => $total,
	    has_more => $total > $limit ? \1 : \0 };
}

# Without status=active, cancelled orders are included.
sub orders_recent ($self, %query)
{
	my @all = grep { ($query{status} // $_->{status}) eq $_->{status} }
	    @{ $self->{list} };
	my $i = 0;

	return { status => 'success', message => undef, telegram_text => '...',
	    pagination => page(10, scalar @all), orders => [ map { {
		id => ++$i, order_id => "dHr.r$i", amount => $_->{amount} + 0,
		date => day($_->{age}) . 'T10:11:12.123456+03:00',
		product_name => $self->{goods}[ $_->{good} ]{name},
		nm_id => $self->{goods}[ $_->{good} ]{nm_id},
		brand => 'Неизвестно', warehouse_from => 'Коледино',
		warehouse_to => 'Приволжский федеральный округ',
		commission_percent => 0.0, rating => $_->{good} % 2 ? 4.5 : 0.0,
		spp_percent => 25, customer_price => $_->{amount} * 0.75,
		discount_percent => undef, stocks => undef, image_url => undef,
	} } newest(10, @all) ] };
}

sub stocks_all ($self, %)
{
	my @all = $self->in_stock;

	return { status => 'success', telegram_text => '...', stocks => {
		pagination => page(15, scalar @all),
		products => [ map { my %places = places($_); {
			nm_id => $_->{nm_id}, name => $_->{name},
			total_quantity => $_->{stock}, warehouses => { map { $_ => {
			    warehouse_name => $_, sizes => $places{$_},
			    total_quantity => sum0(values %{ $places{$_} }) + 0,
			} } keys %places },
		} } head(15, @all) ],
	} };
}

sub stocks_dynamic_critical ($self, %)
{
	my @risk = $self->at_risk;

	return { status => 'success', telegram_text => '...', stocks => {
		at_risk_positions => [ map { {
			nm_id => $_->{good}{nm_id}, name => $_->{good}{name},
			brand => undef, image_url => undef,
			warehouse_name => 'Коледино', size => '44',
			current_stock => $_->{good}{stock},
			orders_last_24h => $_->{orders},
			days_remaining => $_->{days}, risk_level => 'low',
		} } head(20, @risk) ],
		summary => { total_positions => scalar @risk },
		pagination => page(20, scalar @risk), recommendations => undef,
		perspective_days => 30,
	} };
}

sub analytics_summary ($self, %)
{
	my @all = grep { $_->{age} < 30 } @{ $self->{list} };
	my @sold = $self->sold(30);

	return { success => \1, summary => { orders => scalar @all,
		purchases => scalar(grep { !is_return($_) } @sold),
		returns => scalar(grep { is_return($_) } @sold),
		cancellations => scalar(grep { $_->{status} eq 'canceled' } @all) },
	    period => { start => day(30), end => day(0), days => 30 } };
}

# The orders of a day or of several days, and the sales of those days.
sub trend ($self, $days, $from)
{
	my @orders = $self->within($days, $from);
	my @sold = $self->sold($days + 10, $from + 10);
	my @back = grep { is_return($_) } @sold;
	my @kept = grep { !is_return($_) } @sold;

	return { orders => scalar @orders, orders_amount => amount(@orders) + 0,
	    buyouts => scalar @kept, buyouts_amount => amount(@kept) + 0,
	    returns => scalar @back, returns_amount => amount(@back) + 0 };
}

# A week that ends yesterday.
sub daily_trends ($self, %)
{
	my $totals = $self->trend(8, 1);

	return { status => 'success', message => undef, insights => [],
	    telegram_text => 'Аналитика готова', analytics => {
		meta => { days_window => 7, generated_at => day(0) . 'T12:00:00+03:00',
		    date_range => { start => day(7), end => day(1) } },
		time_series => [ map { { date => day($_),
		    avg_rating => $_ % 2 ? 4.5 : 0.0,
		    %{ $self->trend($_ + 1, $_) } } } reverse 1 .. 7 ],
		aggregates => { totals => $totals, conversion => {
		    buyout_rate_percent => share(@$totals{qw(buyouts orders)}),
		    return_rate_percent => share(@$totals{qw(returns buyouts)}) } },
		top_products => [ map { {
			nm_id => $self->{goods}[ $_->[0] ]{nm_id},
			name => $self->{goods}[ $_->[0] ]{name},
			orders => $_->[1], buyouts => 0, returns => 0,
			buyout_rate_percent => 0.0, return_rate_percent => 0.0,
		} } head(5, $self->best(8, 1)) ],
		chart => { format => 'png_base64', data => 'iVBORw0KGgo' x 5000 },
	    } };
}

# Over all time, whatever period is requested.
sub sales_figures ($self)
{
	my @sold = $self->sold;
	my @back = grep { is_return($_) } @sold;
	my @kept = grep { !is_return($_) } @sold;

	return { total_count => scalar @sold, total_amount => amount(@sold) + 0,
	    buyouts_count => scalar @kept, buyouts_amount => amount(@kept) + 0,
	    returns_count => scalar @back, returns_amount => amount(@back) + 0,
	    buyout_rate => @sold ? @kept / @sold * 100 : 0 };
}

# The id of a sale is any text in the original, for a buyout as well as for a
# return.
sub sales_items ($self, $typed, @sold)
{
	my $i = 0;

	return [ map { {
		id => ++$i, sale_id => "RAk.r$i", order_id => "dHr.r$i",
		nm_id => $self->{goods}[ $_->{good} ]{nm_id},
		product_name => $self->{goods}[ $_->{good} ]{name},
		brand => undef, size => '44', amount => $_->{amount} + 0,
		sale_date => day($_->{age} - 10) . 'T00:00:00+03:00', status => undef,
		$typed ? (type => is_return($_) ? 'return' : 'buyout',
		    is_cancel => \0) : (),
	} } newest(10, @sold) ];
}

sub sales_recent ($self, %)
{
	return { success => \1, data => { statistics => $self->sales_figures,
	    sales => $self->sales_items(1, $self->sold) } };
}

sub sales_buyouts ($self, %)
{
	my $items = $self->sales_items(0, grep { !is_return($_) } $self->sold);
	return { success => \1, data => { buyouts => $items,
	    count => scalar @$items } };
}

sub sales_returns ($self, %)
{
	my $items = $self->sales_items(0, grep { is_return($_) } $self->sold);
	return { success => \1, data => { returns => $items,
	    count => scalar @$items } };
}

sub sales_statistics ($self, %)
{
	return { success => \1, data => $self->sales_figures };
}

# Seconds that a handler takes, for a shop of 20,000 orders; a small shop takes
# 1 %.
my %endpoint = (
	'dashboard' => [ \&dashboard, 0.15 ],
	'stocks/critical' => [ \&stocks_critical, 0.1 ],
	'reviews/summary' => [ \&reviews_summary, 0.15 ],
	'orders/statistics' => [ \&orders_statistics, 0.02 ],
	'analytics/sales' => [ \&analytics_sales, 1.3 ],
	'orders/recent' => [ \&orders_recent, 0.05 ],
	'stocks/all' => [ \&stocks_all, 0.1 ],
	'stocks/dynamic-critical' => [ \&stocks_dynamic_critical, 1.0 ],
	'analytics/summary' => [ \&analytics_summary, 0.1 ],
	'analytics/daily-trends' => [ \&daily_trends, 0.02 ],
	'sales/recent' => [ \&sales_recent, 0.05 ],
	'sales/buyouts' => [ \&sales_buyouts, 0.02 ],
	'sales/returns' => [ \&sales_returns, 0.02 ],
	'sales/statistics' => [ \&sales_statistics, 0.05 ],
);

# The paths for the setting of a worker, or those of the bot, the fastest first.
sub paths (@names)
{
	my %more = ('analytics/sales' => '&period=7d',
	    'analytics/daily-trends' => '&days=7', 'orders/recent' => '&status=active');

	@names = qw(dashboard orders/statistics stocks/critical reviews/summary
	    analytics/sales) if !@names;
	return join ',', map { "/api/v1/bot/$_?" . (m{^sales/} ? 'user' : 'telegram')
	    . '_id={telegram_id}' . ($more{$_} // '') } @names;
}

sub takes ($self, $name)
{
	return $endpoint{$name}[1] * ($self->{orders} >= 20_000 ? 1 : 0.01);
}

package AIChat::Shop::Server;

use AIChat::Proc ();
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time sleep);

my $JSON = JSON::PP->new->utf8->canonical;

#   key, shops
sub start ($class, %o)
{
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 128,
	    ReuseAddr => 1) or die "could not listen: $!\n";
	my $self = bless { %o, port => $listen->sockport, owner => $$ }, $class;
	my %answer;

	# Prepared at the start, so that a response takes just the time of the
	# table.
	for my $shop (@{ $self->{shops} }) {
		$answer{ $shop->{id} }{$_} = $JSON->encode($endpoint{$_}[0]->($shop))
		    for keys %endpoint;
		$answer{ $shop->{id} }{'orders/recent active'} = $JSON->encode(
		    $shop->orders_recent(status => 'active'));
	}
	my %shop = map { $_->{id} => $_ } @{ $self->{shops} };
	$self->{pid} = fork // die "could not fork: $!\n";
	if (!$self->{pid}) {
		$SIG{TERM} = 'DEFAULT';
		eval { serve($listen, $self, \%answer, \%shop) };
		POSIX::_exit(1);
	}
	return $self;
}

sub url ($self) { return "http://127.0.0.1:$self->{port}" }

sub stop ($self)
{
	return if !$self->{pid} || $self->{owner} != $$;
	kill KILL => $self->{pid};
	waitpid delete $self->{pid}, 0;
}

sub DESTROY ($self) { local ($?, $!); $self->stop }

# One request at a time.
sub serve ($listen, $self, $answer, $shop)
{
	my $select = IO::Select->new($listen);
	my %in;

	for (;;) {
		for my $sock ($select->can_read) {
			if ($sock == $listen) {
				my $new = $listen->accept or next;
				$new->sockopt(Socket::SO_KEEPALIVE(), 0);
				$select->add($new);
				$in{$new} = '';
				next;
			}
			if (!sysread $sock, $in{$sock}, 65536, length $in{$sock}) {
				$select->remove($sock);
				delete $in{$sock};
				close $sock;
				next;
			}
			while ($in{$sock} =~ s/\A(.*?)\r\n\r\n//s) {
				my ($status, $body) = handle($self, $answer,
				    $shop, "$1\r\n");
				my $bytes = "HTTP/1.1 $status X\r\n"
				    . "Content-Type: application/json\r\n"
				    . 'Content-Length: ' . length($body)
				    . "\r\n\r\n$body";
				local $SIG{PIPE} = 'IGNORE';
				syswrite $sock, $bytes;
			}
		}
	}
}

sub handle ($self, $answer, $shop, $head)
{
	my ($path, $query) = $head =~ m{\AGET /api/v1/bot/([^? ]*)\??(\S*) }
	    or return 404, '{"detail":"Not Found"}';
	my $name = $endpoint{$path} ? $path : '';
	my ($id) = $name =~ m{^sales/} ? $query =~ /(?:^|&)user_id=([^&]*)/
	    : $query =~ /(?:^|&)telegram_id=([^&]*)/;

	return 404, '{"detail":"Not Found"}' if !$name;
	return 403, '{"detail":"Invalid API key"}'
	    if $head !~ /^X-API-SECRET-KEY: \Q$self->{key}\E\r$/mi;
	return 422, '{"detail":[{"type":"int_parsing"}]}'
	    if ($id // '') !~ /^\d+\z/;
	($id) = map { $_->{id} } grep { $_->{user} == $id } values %$shop
	    if $name =~ m{^sales/};
	if (!$shop->{ $id // '' }) {
		my $body = $JSON->encode({ detail => 'Кабинет WB не найден' });
		return $name eq 'orders/statistics' ? 500 : 404, $body;
	}
	# As long as the real API takes for a shop of this size.
	sleep $shop->{$id}->takes($name);
	$name .= ' active' if $name eq 'orders/recent' && $query =~ /status=active/;
	return 200, $answer->{$id}{$name};
}

1;
