package AIChat::Shop;

# The Server of wb_assist: shops, and the endpoints under /api/v1/bot that tell about
# them, in its shapes, with its meanings and at its pace.  A handler blocks all others, as
# there, so what is asked at the same time is answered one after the other.
#
#	my $shop = AIChat::Shop->new(id => 7, orders => 20_000);
#	my $server = AIChat::Shop::Server->start(key => 'k', shops => [ $shop ]);
#
# All of a shop depends on its id and sizes alone.

use v5.36;
use utf8;
use List::Util qw(sum0 uniq);

my @NAMES = qw(Юбка Платье Брюки Блузка Пальто Куртка);

#   id          telegram_id of its seller
#   orders, products, reviews   how many
sub new ($class, %o)
{
	my $self = bless { orders => 100, products => 5, reviews => 12, %o }, $class;
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
	# A review of one star comes after the first ten; some have none.
	$self->{opinions} = [ map { {
		rating => $_ == 8 ? 1 : $_ == 3 ? 0 : 4 + $_ % 2,
		answered => $_ % 3 != 0, good => $_ % $self->{products},
	} } 1 .. $self->{reviews} ];
	return $self;
}

# Orders of so many days, today included; those of one day where there are two numbers.
sub within ($self, $days, $from = 0)
{
	return grep { $_->{age} >= $from && $_->{age} < $days
	    && $_->{status} ne 'canceled' } @{ $self->{list} };
}

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

# -- endpoints ----------------------------------------------------------------

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

# The week began on Monday, which was three days ago, and the month with it.
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

# Seconds that a handler takes, for a shop of 20,000 orders; a small one takes 1 %.
my %endpoint = (
	'dashboard' => [ \&dashboard, 0.15 ],
	'stocks/critical' => [ \&stocks_critical, 0.1 ],
	'reviews/summary' => [ \&reviews_summary, 0.15 ],
	'orders/statistics' => [ \&orders_statistics, 0.02 ],
	'analytics/sales' => [ \&analytics_sales, 1.3 ],
);

# Where a worker finds all of them, the quick ones first.
sub paths ()
{
	return join ',', map { "/api/v1/bot/$_" } map {
		"$_?telegram_id={telegram_id}"
		    . ($_ eq 'analytics/sales' ? '&period=7d' : '')
	} qw(dashboard orders/statistics stocks/critical reviews/summary
	    analytics/sales);
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

	# Made beforehand, so that the time is what the table says.
	for my $shop (@{ $self->{shops} }) {
		$answer{ $shop->{id} }{$_} = $JSON->encode($endpoint{$_}[0]->($shop))
		    for keys %endpoint;
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

# One thing at a time.
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
	my ($id) = $query =~ /(?:^|&)telegram_id=([^&]*)/;

	return 404, '{"detail":"Not Found"}' if !$name;
	return 403, '{"detail":"Invalid API key"}'
	    if $head !~ /^X-API-SECRET-KEY: \Q$self->{key}\E\r$/mi;
	return 422, '{"detail":[{"type":"int_parsing"}]}'
	    if ($id // '') !~ /^\d+\z/;
	if (!$shop->{$id}) {
		my $body = $JSON->encode({ detail => 'Кабинет WB не найден' });
		return $name eq 'orders/statistics' ? 500 : 404, $body;
	}
	# As long as the real API takes for a shop of this size.
	sleep $shop->{$id}->takes($name);
	return 200, $answer->{$id}{$name};
}

1;
