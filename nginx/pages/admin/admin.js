// The page /admin/: what operators see and do, over the endpoints below
// /v1/admin/.
//
// The key that is typed in is kept in the session storage, so it is there after
// a reload of the page, and gone when the tab is closed. It is sent to this
// service only. All texts are inserted as text and never as HTML, because
// users write some of them.

'use strict';

(() => {
const KEY = 'ai-chat-admin-key';
const LANGUAGE = 'ai-chat-admin-language';
const REFRESH_MS = 5000;
const CALL_MS = 60000;

// --- texts ------------------------------------------------------------------

const texts = {
	en: {
		title: 'AI Chat administration',
		skip: 'Skip to the content',
		views: 'Views',
		overview: 'Overview', users: 'Users with the most',
		user: 'User', service: 'Service', audit: 'Audit',
		find: 'Telegram id', show: 'Show',
		id_wrong: 'A Telegram id is a number from 1 to '
		    + '9223372036854775807.',
		language: 'Русский', logout: 'Log out',
		login: 'Log in', key: 'Key (API_ADMIN_KEY)',
		key_kept: 'The key is kept until this tab is closed or you log '
		    + 'out.',
		key_empty: 'Type in the key.',
		key_wrong: 'A key has only printable ASCII characters and no '
		    + 'spaces.',
		key_refused: 'The service refused the key (403). Log in with a '
		    + 'key of API_ADMIN_KEY; the keys of API_SECRET_KEY do '
		    + 'not open this page.',
		logged_out: 'You are logged out.',
		loading: 'Loading…', again: 'Try again',
		no_network: 'The service cannot be reached. Check the network '
		    + 'and that Nginx runs.',
		unavailable: 'The service cannot answer now (503): the '
		    + 'database is away, or the workers are busy. The view '
		    + '“Service” shows which.',
		no_endpoint: 'The service has no such endpoint (404). Is '
		    + 'API_ADMIN_KEY still set?',
		invalid: 'The service refused the request (422): {0}',
		failed: 'The service answered with an error ({0}).',
		gateway: 'Nginx reaches no worker ({0}). Check that the '
		    + 'workers run: ai-chatctl status.',
		unexpected: 'The response cannot be read ({0}). Another '
		    + 'program may have sent it.',
		request_id: 'Request id: {0}',
		retry_after: 'Try again in {0} s.',

		period: 'Period', last_days: 'Last {0} days',
		today_only: 'Today',
		chats: 'Chats', tokens: 'Tokens', refused: 'Refused',
		failures: 'Failed', active: 'Users', date: 'Day',
		chats_a_day: 'Chats a day', tokens_a_day: 'Tokens a day',
		bad_a_day: 'Refused and failed chats a day',
		plot: '{0}, {1} to {2}. {3}. The table of days has each value.',
		plot_series: '{0}: {1} in total, at most {2} ({3})',
		table: 'Table: {0}', days_table: 'Table of days',
		days_caption: 'Sums of each day, the newest first',
		refusals: 'Refusals by limit',
		refusals_caption: 'Refused chats in the period',
		limit: 'Limit', count: 'Number',
		limited: 'Daily limit', crowded: 'Chats in flight',
		failures_kind: 'Failures by kind',
		failures_caption: 'Failed chats in the period',
		kind: 'Kind',
		kind_model_failed: 'The model gave nothing usable',
		kind_model_open: 'The circuit breaker of the model was open',
		kind_database_failed: 'The database was not available',
		kind_busy: 'All slots were in use',
		kind_failed: 'Other errors',
		since: 'Refusals and failures are counted since {0}.',
		since_never: 'No refusal and no failure has been counted yet.',
		counted: 'Chats are counted up to {0}.',
		counted_never: 'No chats have been counted yet.',
		incomplete: 'Older exchanges are still being counted; the sums '
		    + 'grow until that is done.',
		zone: 'A day begins at midnight in {0}. Times are those of '
		    + 'this browser ({1}).',
		rank: 'Sort by', by_chats: 'Chats', by_tokens: 'Tokens',
		months: 'Months', days: 'Days',
		users_caption: 'Users of the period: {0}',
		nobody: 'Nobody had a chat in this period.',
		newer: 'Previous', older: 'Next',
		pages: 'Pages: {0}',
		page: '{0}–{1} of {2}', page_none: 'None',

		user_n: 'User {0}',
		user_pick: 'Type in the Telegram id of a user.',
		unknown: 'This user has never chatted.',
		today: 'Today', used: 'Used', left: 'Left',
		daily_limit: 'Daily limit', no_limit: 'none',
		ends: 'The day ends', flight: 'In flight',
		first_seen: 'First seen', conversation: 'Conversation since',
		never: 'never', beginning: 'the first chat',
		statistics: 'Statistics',
		average_chats: 'Chats a day', average_tokens: 'Tokens a chat',
		actions: 'Actions',
		reset: 'Reset the limit', clear: 'New conversation',
		forget: 'Erase the user',
		reset_ask: 'Reset the daily limit of user {0}?',
		reset_about: 'The chats used today are set to 0. Chats in '
		    + 'flight stay reserved.',
		clear_ask: 'Start a new conversation of user {0}?',
		clear_about: 'The model receives no earlier exchanges. The '
		    + 'history and the limit stay.',
		forget_ask: 'Erase user {0}?',
		forget_about: 'Everything that is stored about user {0} is '
		    + 'deleted permanently: exchanges, statistics and cached '
		    + 'answers.',
		forget_type: 'To confirm, type {0}',
		forget_wrong: 'This is not {0}.',
		cancel: 'Cancel', recorded: 'The action is recorded in the '
		    + 'audit under the name of your key.',
		reset_done: 'The daily limit of user {0} was reset.',
		reset_unknown: 'User {0} has never chatted, so there was '
		    + 'nothing to reset.',
		clear_done: 'User {0} has a new conversation.',
		forget_done: 'User {0} was erased. Deleted exchanges: {1}.',
		forget_unknown: 'Nothing was stored about user {0}.',
		forget_counter: 'The number of chats used today stays.',
		forget_expires: 'Redis did not answer; its entries about the '
		    + 'user expire within ten minutes.',
		history: 'History',
		history_about: 'Reading the exchanges of a user is recorded in '
		    + 'the audit.',
		history_show: 'Show the exchanges',
		history_none: 'No exchanges are stored.',
		history_tokens: 'Tokens: {0}',
		question: 'User', answer: 'AI Chat',
		user_audit: 'Actions about this user',

		refresh: 'Refresh every 5 seconds',
		refreshed: 'State at {0}',
		well: 'Workers running: {0} of {1}. Database: {2}. Open '
		    + 'circuit breakers: {3}.',
		host: 'Host', version: 'Version', database: 'Database',
		schema: 'Schema', workers: 'Workers',
		workers_caption: 'Workers of host {0}',
		worker: 'Worker', state: 'State', started: 'Started',
		answered: 'Answered', slots: 'Slots used',
		other: 'Other requests', reservations: 'Reservations',
		connections: 'Connections in use', waiting: 'Queue',
		running: 'running', dead: 'dead', ok: 'ok', down: 'down',
		breakers: 'Circuit breakers',
		breakers_caption: 'Circuit breakers of each worker',
		model: 'Model', fallback: 'Fallback model', saves: 'Saves',
		cache: 'Cache', seller_data: 'Seller data',
		open: 'open', closed: 'closed', off: 'off',
		errors: 'Last errors by kind',
		errors_caption: 'The last error of each kind, the newest first',
		errors_none: 'No errors since the workers started.',
		workers_none: 'No workers are recorded on this host.',
		when: 'Time', doing: 'While', code: 'Code', text: 'Text',
		path: 'Path', request: 'Request id',

		audit_about: 'The actions of operators, the newest first.',
		audit_caption: 'Actions: {0}',
		audit_none: 'No actions are recorded.',
		audit_user: 'Only user', audit_filter: 'Filter',
		by: 'Key', action: 'Action',
		action_reset_limit: 'Limit reset',
		action_clear: 'New conversation',
		action_forget: 'Erased', action_history: 'Exchanges read',
	},
	ru: {
		title: 'Управление AI Chat',
		skip: 'Перейти к содержимому',
		views: 'Разделы',
		overview: 'Обзор', users: 'Самые активные пользователи',
		user: 'Пользователь', service: 'Сервис', audit: 'Журнал',
		find: 'Telegram ID', show: 'Показать',
		id_wrong: 'Telegram ID — это число от 1 до '
		    + '9223372036854775807.',
		language: 'English', logout: 'Выйти',
		login: 'Войти', key: 'Ключ (API_ADMIN_KEY)',
		key_kept: 'Ключ хранится, пока не закрыта эта вкладка и пока '
		    + 'вы не вышли.',
		key_empty: 'Введите ключ.',
		key_wrong: 'В ключе могут быть только печатные символы ASCII '
		    + 'без пробелов.',
		key_refused: 'Сервис не принял ключ (403). Нужен ключ из '
		    + 'API_ADMIN_KEY; ключи из API_SECRET_KEY не открывают '
		    + 'эту страницу.',
		logged_out: 'Вы вышли.',
		loading: 'Загрузка…', again: 'Повторить',
		no_network: 'Нет связи с сервисом. Проверьте сеть и работает ли '
		    + 'Nginx.',
		unavailable: 'Сервис сейчас не может ответить (503): база '
		    + 'данных недоступна или все процессы заняты. Причину '
		    + 'покажет раздел «Сервис».',
		no_endpoint: 'У сервиса нет такого адреса (404). Задан ли ещё '
		    + 'API_ADMIN_KEY?',
		invalid: 'Сервис отклонил запрос (422): {0}',
		failed: 'Сервис ответил ошибкой ({0}).',
		gateway: 'Nginx не получил ответа ни от одного процесса ({0}). '
		    + 'Проверьте их командой ai-chatctl status.',
		unexpected: 'Ответ не удалось прочитать ({0}). Возможно, его '
		    + 'прислала другая программа.',
		request_id: 'Номер запроса: {0}',
		retry_after: 'Повторите через {0} с.',

		period: 'Период', last_days: 'Последние {0} дн.',
		today_only: 'Сегодня',
		chats: 'Вопросы', tokens: 'Токены', refused: 'Отказы',
		failures: 'Ошибки', active: 'Пользователи', date: 'День',
		chats_a_day: 'Вопросы по дням', tokens_a_day: 'Токены по дням',
		bad_a_day: 'Отказы и ошибки по дням',
		plot: '{0}, с {1} по {2}. {3}. Все значения есть в таблице '
		    + 'по дням.',
		plot_series: '{0}: всего {1}, больше всего {2} ({3})',
		table: 'Таблица: {0}', days_table: 'Таблица по дням',
		days_caption: 'Суммы за каждый день, сначала новые',
		refusals: 'Отказы по ограничениям',
		refusals_caption: 'Отклонённые вопросы за период',
		limit: 'Ограничение', count: 'Количество',
		limited: 'Дневной лимит', crowded: 'Вопросы одновременно',
		failures_kind: 'Ошибки по видам',
		failures_caption: 'Вопросы без ответа за период',
		kind: 'Вид',
		kind_model_failed: 'Модель не дала пригодного ответа',
		kind_model_open: 'Вызовы модели были приостановлены',
		kind_database_failed: 'База данных была недоступна',
		kind_busy: 'Все места были заняты',
		kind_failed: 'Другие ошибки',
		since: 'Отказы и ошибки подсчитаны с {0}.',
		since_never: 'Отказов и ошибок пока не было.',
		counted: 'Вопросы подсчитаны до {0}.',
		counted_never: 'Вопросы ещё не подсчитаны.',
		incomplete: 'Подсчёт старых вопросов ещё идёт, до его конца '
		    + 'суммы будут расти.',
		zone: 'День начинается в полночь по часовому поясу {0}. Время '
		    + 'показано по часам браузера ({1}).',
		rank: 'Порядок', by_chats: 'По вопросам', by_tokens: 'По токенам',
		months: 'Месяцы', days: 'Дни',
		users_caption: 'Пользователей за период: {0}',
		nobody: 'За этот период вопросов не было.',
		newer: 'Назад', older: 'Дальше',
		pages: 'Страницы: {0}',
		page: '{0}–{1} из {2}', page_none: 'Нет записей',

		user_n: 'Пользователь {0}',
		user_pick: 'Введите Telegram ID пользователя.',
		unknown: 'Этот пользователь ещё не задавал вопросов.',
		today: 'Сегодня', used: 'Использовано', left: 'Осталось',
		daily_limit: 'Дневной лимит', no_limit: 'нет',
		ends: 'Конец дня', flight: 'Сейчас выполняется',
		first_seen: 'Первое обращение', conversation: 'Диалог начат',
		never: 'не было', beginning: 'с первого вопроса',
		statistics: 'Статистика',
		average_chats: 'Вопросов в день',
		average_tokens: 'Токенов на вопрос',
		actions: 'Действия',
		reset: 'Сбросить лимит', clear: 'Новый диалог',
		forget: 'Удалить данные',
		reset_ask: 'Сбросить дневной лимит пользователя {0}?',
		reset_about: 'Число использованных сегодня вопросов станет '
		    + 'равно 0. Вопросы, которые выполняются сейчас, '
		    + 'останутся учтены.',
		clear_ask: 'Начать новый диалог пользователя {0}?',
		clear_about: 'Модель больше не получит прежние вопросы и '
		    + 'ответы. История и лимит не изменятся.',
		forget_ask: 'Удалить все данные пользователя {0}?',
		forget_about: 'Всё, что сохранено о пользователе {0}, будет '
		    + 'удалено навсегда: вопросы, ответы, статистика и '
		    + 'сохранённые копии ответов.',
		forget_type: 'Для подтверждения введите {0}',
		forget_wrong: 'Это не {0}.',
		cancel: 'Отмена', recorded: 'Действие будет записано в журнал '
		    + 'под именем вашего ключа.',
		reset_done: 'Дневной лимит пользователя {0} сброшен.',
		reset_unknown: 'Пользователь {0} ещё не задавал вопросов, '
		    + 'сбрасывать нечего.',
		clear_done: 'Для пользователя {0} начат новый диалог.',
		forget_done: 'Данные пользователя {0} удалены. Удалено записей '
		    + 'истории: {1}.',
		forget_unknown: 'О пользователе {0} ничего не сохранено.',
		forget_counter: 'Число использованных сегодня вопросов '
		    + 'сохраняется.',
		forget_expires: 'Redis не ответил; его записи о пользователе '
		    + 'исчезнут в течение десяти минут.',
		history: 'История',
		history_about: 'Просмотр истории пользователя записывается в '
		    + 'журнал.',
		history_show: 'Показать историю',
		history_none: 'Сохранённых вопросов нет.',
		history_tokens: 'Токены: {0}',
		question: 'Пользователь', answer: 'AI Chat',
		user_audit: 'Журнал по этому пользователю',

		refresh: 'Обновлять каждые 5 секунд',
		refreshed: 'Состояние на {0}',
		well: 'Работает процессов: {0} из {1}. База данных: {2}. '
		    + 'Разомкнуто предохранителей: {3}.',
		host: 'Сервер', version: 'Версия', database: 'База данных',
		schema: 'Версия схемы', workers: 'Процессы',
		workers_caption: 'Процессы на сервере {0}',
		worker: 'Процесс', state: 'Состояние', started: 'Запущен',
		answered: 'Ответов', slots: 'Занято мест',
		other: 'Другие запросы', reservations: 'Резервы',
		connections: 'Занято соединений', waiting: 'Очередь',
		running: 'работает', dead: 'не работает', ok: 'работает',
		down: 'недоступна',
		breakers: 'Предохранители (circuit breakers)',
		breakers_caption: 'Предохранители каждого процесса',
		model: 'Модель', fallback: 'Запасная модель',
		saves: 'Сохранение', cache: 'Кэш',
		seller_data: 'Данные продавца',
		open: 'разомкнут', closed: 'замкнут', off: 'нет',
		errors: 'Последние ошибки по видам',
		errors_caption: 'Последняя ошибка каждого вида, сначала новые',
		errors_none: 'С запуска процессов ошибок не было.',
		workers_none: 'На этом сервере нет процессов.',
		when: 'Время', doing: 'Во время', code: 'Код', text: 'Текст',
		path: 'Адрес', request: 'Номер запроса',

		audit_about: 'Действия операторов, сначала новые.',
		audit_caption: 'Действий: {0}',
		audit_none: 'Действий нет.',
		audit_user: 'Только пользователь', audit_filter: 'Отобрать',
		by: 'Ключ', action: 'Действие',
		action_reset_limit: 'Сброс лимита',
		action_clear: 'Новый диалог',
		action_forget: 'Удаление данных',
		action_history: 'Просмотр истории',
	},
};

function stored_language()
{
	try {
		return localStorage.getItem(LANGUAGE);
	} catch {
		return null;
	}
}

function choose_language()
{
	const wanted = [ stored_language() ?? '', ...navigator.languages ];

	return wanted.map((name) => name.slice(0, 2))
	    .find((name) => name in texts) ?? 'en';
}

let language = choose_language();

function say(name, ...values)
{
	return texts[language][name].replace(/\{(\d)\}/g, (_, i) => values[i]);
}

function number(value, digits = 0)
{
	return new Intl.NumberFormat(language,
	    { maximumFractionDigits: digits }).format(value);
}

function short_number(value)
{
	return new Intl.NumberFormat(language, { notation: 'compact',
		maximumFractionDigits: 1 }).format(value);
}

function day(date, form = { day: 'numeric', month: 'short' })
{
	return new Intl.DateTimeFormat(language, { timeZone: 'UTC', ...form })
	    .format(new Date(`${date}T00:00:00Z`));
}

const WHOLE_DAY = { weekday: 'short', day: 'numeric', month: 'short',
	year: 'numeric' };

function clock(at, form = { dateStyle: 'medium', timeStyle: 'medium' })
{
	return new Intl.DateTimeFormat(language, form).format(new Date(at));
}

// --- elements ---------------------------------------------------------------

// An element with attributes, listeners (functions) and children.
function make(name, attributes = {}, ...children)
{
	const element = document.createElement(name);

	for (const [ key, value ] of Object.entries(attributes)) {
		if (typeof value === 'function')
			element.addEventListener(key, value);
		else if (value !== undefined && value !== false)
			element.setAttribute(key, value === true ? '' : value);
	}
	element.append(...children.filter((child) => child !== undefined));
	return element;
}

function time(at)
{
	return make('time', { datetime: at }, clock(at));
}

function user_link(id)
{
	return make('a', { href: `#/user/${id}` }, String(id));
}

function tiles(pairs)
{
	return make('dl', { class: 'tiles' }, ...pairs.map(([ name, value ]) =>
	    make('div', {}, make('dt', {}, name), make('dd',
		{ class: /^[\d\s.,]+$/.test(value) ? undefined : 'words' },
		value))));
}

// columns: [ name, the function of a row that returns the cell, its class ].
// The cell of the first column is the header of its row.
function table(caption, columns, rows)
{
	const head = columns.map(([ name, , css ]) =>
	    make('th', { scope: 'col', class: css }, name));
	const body = rows.map((row) => make('tr', {}, ...columns.map(
	    ([ , cell, css ], i) => make(i ? 'td' : 'th',
		i ? { class: css } : { scope: 'row', class: css },
		cell(row)))));

	return make('table', {}, make('caption', {}, caption),
	    make('thead', {}, make('tr', {}, ...head)),
	    make('tbody', {}, ...body));
}

// A table can be wider than the screen, so it scrolls, with the keyboard too.
function scroll(name)
{
	return make('div', { class: 'scroll', role: 'region', tabindex: 0,
		'aria-label': say('table', name) });
}

function section(name, ...children)
{
	const id = `s${++section.last}`;

	return make('section', { 'aria-labelledby': id },
	    make('h2', { id }, name), ...children);
}
section.last = 0;

function select(name, options, value, change)
{
	const option = ([ key, text ]) => make('option',
	    { value: key, selected: key === value }, text);
	const list = make('select', { change: () => change(list.value) },
	    ...options.map(([ key, text ]) => Array.isArray(text)
		? make('optgroup', { label: key }, ...text.map(option))
		: option([ key, text ])));

	return make('label', {}, name, list);
}

// The buttons between pages. Both stay where they are, so that the focus does.
function pager(name, step, load)
{
	const where = make('span', { class: 'dim', role: 'status' });
	let at = 0, total = 0, max = Infinity;
	const move = (by) => () => {
		if (at + by >= 0 && at + by < total && at + by <= max)
			load(at + by);
	};
	const back = make('button', { type: 'button', click: move(-step) },
	    say('newer'));
	const on = make('button', { type: 'button', click: move(step) },
	    say('older'));

	const node = make('div', { class: 'row middle last', role: 'group',
		'aria-label': say('pages', name), hidden: true },
	    back, on, where);

	return {
		node,
		set(offset, count, all, last = Infinity) {
			node.hidden = false;
			at = offset;
			total = all;
			max = last;
			back.setAttribute('aria-disabled', at === 0);
			on.setAttribute('aria-disabled',
			    at + step >= total || at + step > max);
			where.textContent = count ? say('page',
			    number(at + 1), number(at + count), number(all))
			    : say('page_none');
		},
	};
}

// --- plots ------------------------------------------------------------------

const plots = new Set();

function colour(name)
{
	return getComputedStyle(document.documentElement)
	    .getPropertyValue(`--${name}`).trim();
}

function describe(items, { label, value })
{
	const values = items.map(value);
	const max = Math.max(...values);

	if (max === 0)
		return `${label}: 0`;
	return say('plot_series', label, number(values.reduce((a, b) => a + b)),
	    number(max), day(items[values.indexOf(max)].date));
}

function draw(box, readout, items, series)
{
	const bars = series.length === 1;
	const show = (u) => {
		const item = items[u.cursor.idx ?? -1];

		readout.textContent = item ? `${day(item.date)}: `
		    + series.map(({ label, value }) =>
			bars ? number(value(item))
			: `${label.toLowerCase()} ${number(value(item))}`)
			.join(', ') : '';
	};
	const axis = { stroke: colour('dim'), font: '12px system-ui',
		ticks: { show: false } };

	return new uPlot({
		width: box.clientWidth,
		height: 180,
		legend: { show: false },
		cursor: { y: false, drag: { x: false, y: false } },
		scales: {
			x: { time: false, range: () =>
			    [ -0.6, items.length - 0.4 ] },
			y: { range: (u, min, max) =>
			    [ 0, Math.max(max, 1) * 1.1 ] },
		},
		axes: [
			{ ...axis, grid: { show: false }, space: 70, size: 30,
			    incrs: [ 1, 2, 5, 7, 14, 30, 60, 90 ],
			    values: (u, at) => at.map((i) =>
				items[i] ? day(items[i].date) : '') },
			{ ...axis, size: 60, space: 40,
			    grid: { stroke: colour('line'), width: 1 },
			    incrs: [ 1, 2, 5 ].flatMap((n) =>
				[ ...Array(12).keys() ].map((p) => n * 10 ** p))
				.sort((a, b) => a - b),
			    values: (u, at) => at.map(short_number) },
		],
		series: [ {}, ...series.map(({ label }, i) => ({
			label,
			stroke: colour(`plot-${i + 1}`),
			fill: bars ? colour(`plot-${i + 1}`) : undefined,
			width: bars ? 0 : 2,
			paths: bars ? uPlot.paths.bars({ size: [ 0.7, 48 ] })
			    : undefined,
			points: { show: bars ? false
			    : items.length < 60, size: 6 },
		})) ],
		hooks: { setCursor: [ show ] },
	}, [ items.map((_, i) => i), ...series.map(({ value }) =>
	    items.map(value)) ], box);
}

// A figure. Its text alternative has the sums; the table of days has the rest.
function plot(title, items, series)
{
	const readout = make('span', { class: 'readout',
		'aria-hidden': 'true' });
	const sums = series.map((one) => describe(items, one));
	const box = make('div', { class: 'plot', role: 'img',
		'aria-label': say('plot', title, day(items[0].date),
		    day(items.at(-1).date), sums.join('; ')) });
	const keys = sums.map((text, i) => make('span',
	    { class: i ? 'key second' : 'key' }, text));
	const it = {
		chart: null,
		redraw() {
			it.chart?.destroy();
			it.chart = draw(box, readout, items, series);
		},
		drop() {
			observer.disconnect();
			it.chart?.destroy();
			plots.delete(it);
		},
		box,
	};
	const observer = new ResizeObserver(() => {
		if (!box.clientWidth)
			return;
		if (it.chart)
			it.chart.setSize({ width: box.clientWidth,
				height: 180 });
		else
			it.redraw();
	});

	observer.observe(box);
	plots.add(it);
	return make('figure', {}, make('figcaption', {}, ...keys, readout),
	    box);
}

function drop_old_plots()
{
	for (const it of plots) {
		if (!it.box.isConnected)
			it.drop();
	}
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
	for (const it of plots) {
		if (it.chart)
			it.redraw();
	}
});

// --- the service ------------------------------------------------------------

// A response that is no success; status 0: there was none.
class Failure extends Error {
	constructor(text, status, response) {
		super(text);
		this.status = status;
		this.id = response?.headers.get('X-Request-Id');
		this.retry = response?.headers.get('Retry-After');
	}
}

// The view for which a request was made is not shown any more.
class Stale extends Error {}

let key = sessionStorage.getItem(KEY);
let turn = 0; // counts the views that were shown

// A Telegram id can be larger than the numbers that JavaScript has, so ids
// become texts. In a text of a user, the quotes have a backslash.
function parse(text)
{
	return JSON.parse(text.replace(/"telegram_id":(\d+)/g,
	    '"telegram_id":"$1"'));
}

function explain(status, body)
{
	if (status === 403)
		return say('key_refused');
	if (status === 404)
		return say('no_endpoint');
	if (status === 422)
		return say('invalid', [ body?.detail ].flat().map((fault) =>
		    fault?.msg ?? String(fault)).join('; '));
	if (status === 502 || status === 504)
		return say('gateway', status);
	if (status === 503)
		return say('unavailable');
	return say('failed', status);
}

async function call(path, body)
{
	const mine = turn;
	let response, text, value;

	try {
		response = await fetch(`../v1/admin/${path}`, {
			method: body === undefined ? 'GET' : 'POST',
			headers: { 'X-API-KEY': key, ...body !== undefined
			    && { 'Content-Type': 'application/json' } },
			body,
			cache: 'no-store',
			signal: AbortSignal.timeout(CALL_MS),
		});
		text = await response.text();
	} catch {
		if (mine !== turn)
			throw new Stale();
		throw new Failure(say('no_network'), 0);
	}
	if (mine !== turn)
		throw new Stale();
	try {
		value = parse(text);
	} catch {
		value = undefined;
	}
	if (!response.ok)
		throw new Failure(explain(response.status, value),
		    response.status, response);
	if (value === undefined)
		throw new Failure(say('unexpected', response.status),
		    response.status, response);
	return value;
}

// --- messages ---------------------------------------------------------------

let good, bad; // the places of messages, which screen readers watch

function tell(...lines)
{
	good.replaceChildren(...lines.map((line) => make('p', {}, line)));
}

function complain(failure, again)
{
	const lines = [ failure.message ];

	if (failure.retry)
		lines.push(say('retry_after', failure.retry));
	if (failure.id)
		lines.push(say('request_id', failure.id));
	for (const place of bad.parentNode.querySelectorAll('.loading'))
		place.textContent = '—';
	// The same message once more would be read aloud once more.
	if (bad.dataset.text === failure.message)
		return;
	bad.dataset.text = failure.message;
	bad.replaceChildren(...lines.map((line) => make('p', {}, line)),
	    make('button', { type: 'button', click: again }, say('again')));
}

function quiet()
{
	delete bad.dataset.text;
	bad.replaceChildren();
}

// Runs what calls the service, and shows its failure.
async function attempt(work)
{
	const main = bad.parentNode;

	main.setAttribute('aria-busy', 'true');
	try {
		await work();
		quiet();
	} catch (failure) {
		if (failure instanceof Stale)
			return;
		if (!(failure instanceof Failure))
			throw failure;
		if (failure.status === 403)
			log_out(failure.message);
		else
			complain(failure, () => {
				quiet();
				main.querySelector('h1').focus();
				attempt(work);
			});
	} finally {
		main.removeAttribute('aria-busy');
		drop_old_plots();
	}
}

// --- dialogs ----------------------------------------------------------------

// Asks before an action; typed: what has to be typed in to confirm it.
// Resolves to whether the action was confirmed. The browser returns the focus
// to the button that had it.
function confirm_action({ title, about, button, danger, typed })
{
	const input = typed && make('input', { inputmode: 'numeric',
		autocomplete: 'off', required: true, id: 'typed',
		'aria-describedby': 'typed-wrong' });
	const wrong = typed && make('p', { id: 'typed-wrong', role: 'alert',
		class: 'message bad' });
	const cancel = make('button', { type: 'button',
		click: () => dialog.close('no') }, say('cancel'));
	const submit = (event) => {
		event.preventDefault();
		if (typed && input.value.trim() !== typed) {
			wrong.textContent = say('forget_wrong', typed);
			input.setAttribute('aria-invalid', 'true');
			input.focus();
			return;
		}
		dialog.close('yes');
	};
	const dialog = make('dialog', { 'aria-labelledby': 'dialog-title',
		'aria-describedby': 'dialog-about' },
	    make('h2', { id: 'dialog-title' }, title),
	    make('p', { id: 'dialog-about' }, about),
	    make('p', { class: 'dim' }, say('recorded')),
	    make('form', { submit, novalidate: true },
		...typed ? [ make('label', { for: 'typed' },
		    say('forget_type', typed)), input, wrong ] : [],
		make('div', { class: 'row last' },
		    make('button', { class: danger ? 'danger' : 'main' },
			button), cancel)));

	document.body.append(dialog);
	dialog.showModal();
	(input ?? cancel).focus();
	return new Promise((resolve) => dialog.addEventListener('close', () => {
		dialog.remove();
		resolve(dialog.returnValue === 'yes');
	}));
}

// --- overview ---------------------------------------------------------------

let overview_days = '30';

function sum_failures(items)
{
	return Object.keys(items[0].failures).map((kind) => [ kind,
		items.reduce((sum, item) => sum + item.failures[kind], 0) ]);
}

function count_columns(name)
{
	return [ [ name, (row) => row[0] ],
		[ say('count'), (row) => number(row[1]), 'number' ] ];
}

function days_table(items, columns)
{
	const box = scroll(say('days_table'));

	box.append(table(say('days_caption'), [
		[ say('date'), (item) => day(item.date, WHOLE_DAY) ],
		...columns.map(([ name, value ]) =>
		    [ name, (item) => number(value(item)), 'number' ]),
	], [ ...items ].reverse()));
	return make('details', {}, make('summary', {}, say('days_table')), box);
}

const of_chats = (item) => item.chats;
const of_tokens = (item) => item.tokens;
const of_refused = (item) => item.limited + item.crowded;
const of_failed = (item) => item.failed;

function overview_notes(got)
{
	const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

	return make('p', { class: 'dim' },
	    got.counted_until ? say('counted', clock(got.counted_until))
	    : say('counted_never'), ' ',
	    got.refusals_since ? say('since', day(got.refusals_since, WHOLE_DAY))
	    : say('since_never'), ' ', say('zone', got.timezone, zone));
}

function overview_parts(got)
{
	const { totals, items } = got;
	const bad_series = [ { label: say('refused'), value: of_refused },
		{ label: say('failures'), value: of_failed } ];

	return [
		...got.complete ? [] : [ make('p', { class: 'notice' },
		    say('incomplete')) ],
		tiles([
			[ say('chats'), number(totals.chats) ],
			[ say('tokens'), number(totals.tokens) ],
			[ say('refused'), number(of_refused(totals)) ],
			[ say('failures'), number(totals.failed) ],
		]),
		make('div', { class: 'two' },
		    section(say('chats_a_day'), plot(say('chats'), items,
			[ { label: say('chats'), value: of_chats } ])),
		    section(say('tokens_a_day'), plot(say('tokens'), items,
			[ { label: say('tokens'), value: of_tokens } ]))),
		section(say('bad_a_day'),
		    plot(say('bad_a_day'), items, bad_series),
		    days_table(items, [
			[ say('chats'), of_chats ], [ say('tokens'), of_tokens ],
			[ say('active'), (item) => item.users ],
			[ say('limited'), (item) => item.limited ],
			[ say('crowded'), (item) => item.crowded ],
			[ say('failures'), of_failed ],
		    ])),
		make('div', { class: 'two' },
		    section(say('refusals'), table(say('refusals_caption'),
			count_columns(say('limit')),
			[ [ say('limited'), totals.limited ],
			    [ say('crowded'), totals.crowded ] ])),
		    section(say('failures_kind'), table(say('failures_caption'),
			count_columns(say('kind')), sum_failures(items).map(
			    ([ kind, n ]) => [ say(`kind_${kind}`), n ])))),
		overview_notes(got),
	];
}

// The months and days of a list of users, the newest first; today is a date of
// the service.
function periods(today)
{
	const [ year, month, date ] = today.split('-').map(Number);
	const text = (...at) => new Date(Date.UTC(...at)).toISOString();
	const months = [ ...Array(12).keys() ].map((i) =>
	    text(year, month - 1 - i, 1).slice(0, 7));
	const days = [ ...Array(7).keys() ].map((i) =>
	    text(year, month - 1, date - i).slice(0, 10));

	return [
		[ say('months'), months.map((m) => [ m, day(`${m}-01`,
		    { month: 'long', year: 'numeric' }) ]) ],
		[ say('days'), days.map((d) => [ d, day(d, WHOLE_DAY) ]) ],
	];
}

function users_section(today)
{
	const box = scroll(say('users'));
	let period = today.slice(0, 7), by = 'chats';
	const load = (offset) => attempt(async () => {
		const got = await call(`users?period=${period}&by=${by}`
		    + `&limit=10&offset=${offset}`);

		box.replaceChildren(got.items.length ? table(
		    say('users_caption', number(got.users)), [
			[ say('user'), (row) => user_link(row.telegram_id) ],
			[ say('chats'), (row) => number(row.chats), 'number' ],
			[ say('tokens'), (row) => number(row.tokens),
			    'number' ],
		    ], got.items) : make('p', {}, say('nobody')));
		pages.set(got.offset, got.items.length, got.users, 10000);
	});
	const pages = pager(say('users'), 10, load);

	load(0);
	return section(say('users'), make('div', { class: 'row' },
	    select(say('period'), periods(today), period, (value) => {
		period = value;
		load(0);
	    }),
	    select(say('rank'), [ [ 'chats', say('by_chats') ],
		[ 'tokens', say('by_tokens') ] ], by, (value) => {
		by = value;
		load(0);
	    })), box, pages.node);
}

function show_overview(body)
{
	const sums = make('div', {}, make('p', { class: 'loading' },
	    say('loading')));
	const users = make('div');
	const load = () => attempt(async () => {
		const got = await call(`overview?days=${overview_days}`);

		sums.replaceChildren(...overview_parts(got));
		if (!users.firstChild)
			users.append(users_section(got.items.at(-1).date));
	});

	body.append(make('div', { class: 'row' }, days_select(overview_days,
	    (value) => {
		overview_days = value;
		load();
	    })), sums, users);
	load();
}

function days_select(value, change)
{
	return select(say('period'), [ [ '1', say('today_only') ],
	    ...[ '7', '30', '90', '365' ].map((n) =>
		[ n, say('last_days', n) ]) ], value, change);
}

// --- one user ---------------------------------------------------------------

let user_days = '30';

function user_today({ limits, in_flight })
{
	const unlimited = !limits.daily_limit;

	return section(say('today'), tiles([
		[ say('used'), number(limits.requests_today) ],
		[ say('left'), unlimited ? say('no_limit')
		    : number(limits.requests_remaining) ],
		[ say('daily_limit'), unlimited ? say('no_limit')
		    : number(limits.daily_limit) ],
		[ say('flight'), number(in_flight) ],
	]), make('p', { class: 'dim' }, `${say('ends')}: `,
	    time(limits.reset_at)));
}

function user_facts(got)
{
	const fact = (name, at, none) => make('p', { class: 'dim' },
	    `${name}: `, at ? time(at) : none);

	return [
		tiles([
			[ say('chats'), number(got.stats.total_requests) ],
			[ say('tokens'), number(got.stats.total_tokens) ],
			[ say('average_chats'),
			    number(got.stats.avg_requests_per_day, 1) ],
			[ say('average_tokens'),
			    number(got.stats.avg_tokens_per_request) ],
		]),
		plot(say('chats_a_day'), got.items,
		    [ { label: say('chats'), value: of_chats } ]),
		days_table(got.items, [ [ say('chats'), of_chats ],
			[ say('tokens'), of_tokens ] ]),
		fact(say('first_seen'), got.first_seen, say('never')),
		fact(say('conversation'), got.conversation_since,
		    say('beginning')),
	];
}

function exchange(item)
{
	return make('li', { class: 'exchange' },
	    make('div', { class: 'dim' }, time(item.created_at), ' · ',
		say('history_tokens', number(item.tokens_used))),
	    make('p', { class: 'question' }, make('strong', {},
		`${say('question')}: `), item.message),
	    make('p', {}, make('strong', {}, `${say('answer')}: `),
		item.response));
}

function history_section(id)
{
	const list = make('ul', { class: 'plain' });
	const load = (offset) => attempt(async () => {
		const got = await call(`history/${id}?limit=10`
		    + `&offset=${offset}`);

		list.replaceChildren(...got.items.length
		    ? got.items.map(exchange)
		    : [ make('li', {}, say('history_none')) ]);
		pages.set(got.offset, got.items.length, got.total);
	});
	const pages = pager(say('history'), 10, load);

	return {
		node: section(say('history'),
		    make('p', { class: 'dim' }, say('history_about')),
		    make('button', { type: 'button', click: () => load(0) },
			say('history_show')), list, pages.node),
		hide() {
			list.replaceChildren();
			pages.node.hidden = true;
		},
	};
}

function forget_lines(id, got)
{
	const lines = [ got.known ? say('forget_done', id,
	    number(got.exchanges)) : say('forget_unknown', id) ];

	if (got.counter_kept)
		lines.push(say('forget_counter'));
	if (got.cache === 'expires')
		lines.push(say('forget_expires'));
	return lines;
}

// The actions: what the service is asked to do, and what is said then.
const user_actions = [
	{ name: 'reset', path: 'reset-limit', said: (id, got) =>
	    [ say(got.success ? 'reset_done' : 'reset_unknown', id) ] },
	{ name: 'clear', path: 'clear', said: (id) => [ say('clear_done', id) ] },
	{ name: 'forget', path: 'forget', danger: true, said: forget_lines },
];

function actions_section(id, done)
{
	const button = ({ name, path, danger, said }) => make('button', {
		type: 'button', class: danger ? 'danger' : undefined,
		click: async () => {
			const mine = turn;
			const yes = await confirm_action({
				title: say(`${name}_ask`, id),
				about: say(`${name}_about`, id),
				button: say(name), danger,
				typed: danger ? id : undefined });

			if (!yes || mine !== turn)
				return;
			tell();
			await attempt(async () => {
				const got = await call(path,
				    `{"telegram_id":${id}}`);

				tell(...said(id, got));
				await done(name);
			});
		} }, say(name));

	return section(say('actions'), make('div', { class: 'row last' },
	    ...user_actions.map(button)));
}

function show_user(body, id)
{
	if (id === '') {
		body.append(make('section', {}, make('p', {},
		    say('user_pick')), id_form(say('show'), '')));
		return;
	}
	const today = make('div', {}, make('p', { class: 'loading' },
	    say('loading')));
	const facts = make('div');
	const history = history_section(id);
	const read = async () => {
		const got = await call(`user/${id}?days=${user_days}`);

		today.replaceChildren(...got.known ? []
		    : [ make('p', { class: 'notice' }, say('unknown')) ],
		    user_today(got));
		facts.replaceChildren(...user_facts(got));
	};
	const done = (name) => {
		if (name === 'forget')
			history.hide();
		return read();
	};

	body.append(make('p', {}, make('a', { href: `#/audit/${id}` },
	    say('user_audit'))), today, actions_section(id, done),
	    section(say('statistics'), make('div', { class: 'row' },
		days_select(user_days, (value) => {
			user_days = value;
			attempt(read);
		})), facts), history.node);
	attempt(read);
}

// --- the service ------------------------------------------------------------

function state(name)
{
	const css = { running: 'good', ok: 'good', closed: 'good', dead: 'bad',
		down: 'bad', open: 'bad' }[name] ?? '';

	return make('span', { class: `state ${css}` }, say(name));
}

const BREAKERS = [ 'model', 'fallback', 'saves', 'cache', 'seller_data' ];

function workers_table(got)
{
	const n = (value) => (row) => number(value(row));

	return table(say('workers_caption', got.host), [
		[ say('worker'), (row) => number(row.worker) ],
		[ say('state'), (row) => state(row.state) ],
		[ say('version'), (row) => row.version ],
		[ say('started'), (row) => time(row.started_at) ],
		[ say('answered'), n((row) => row.answered), 'number' ],
		[ say('failures'), n((row) => row.failed), 'number' ],
		[ say('slots'), (row) => `${number(row.slots_used)} / `
		    + number(row.slots), 'number' ],
		[ say('other'), n((row) => row.other_requests), 'number' ],
		[ say('reservations'), n((row) => row.reservations), 'number' ],
		[ say('database'), (row) => state(row.database.state) ],
		[ say('connections'), (row) => `${number(row.database.busy)} / `
		    + number(row.database.connections), 'number' ],
		[ say('waiting'), n((row) => row.database.waiting), 'number' ],
	], got.workers);
}

function breakers_table(got)
{
	return table(say('breakers_caption'), [
		[ say('worker'), (row) => number(row.worker) ],
		...BREAKERS.map((name) =>
		    [ say(name), (row) => state(row.breakers[name]) ]),
	], got.workers);
}

function errors_table(got)
{
	return table(say('errors_caption'), [
		[ say('kind'), (row) => say(`kind_${row.kind}`) ],
		[ say('when'), (row) => time(row.at) ],
		[ say('worker'), (row) => number(row.worker), 'number' ],
		[ say('doing'), (row) => row.doing ],
		[ say('code'), (row) => row.code
		    + (row.sqlstate ? ` (${row.sqlstate})` : '') ],
		[ say('text'), (row) => row.text, 'wide' ],
		[ say('path'), (row) => row.path ],
		[ say('request'), (row) => make('code', {}, row.request_id) ],
	], got.errors);
}

function summary_of(got)
{
	const open = got.workers.flatMap((row) =>
	    Object.values(row.breakers)).filter((name) => name === 'open');

	return say('well', number(got.workers.filter((row) =>
	    row.state === 'running').length), number(got.workers.length),
	    say(got.database.state), number(open.length));
}

function show_service(body)
{
	const mine = turn;
	const summary = make('p', { role: 'status', class: 'loading' },
	    say('loading'));
	const at = make('p', { class: 'dim' });
	const facts = make('div');
	const boxes = { workers: scroll(say('workers')),
		breakers: scroll(say('breakers')), errors: scroll(say('errors')) };
	const automatic = make('input', { type: 'checkbox', checked: true });
	const put = (box, rows, content, none) => box.replaceChildren(
	    rows.length ? content : make('p', {}, none));
	const load = () => attempt(async () => {
		const got = await call('service');
		const text = summary_of(got);

		// A status that does not change is not to be read aloud again.
		if (summary.textContent !== text)
			summary.textContent = text;
		at.textContent = say('refreshed', clock(Date.now(),
		    { timeStyle: 'medium' }));
		facts.replaceChildren(tiles([
			[ say('host'), got.host ],
			[ say('version'), got.version ],
			[ say('database'), got.database.version
			    ? `PostgreSQL ${got.database.version.split(' ')[0]}`
			    : say('down') ],
			[ say('schema'), got.database.schema ?? '—' ],
		]));
		put(boxes.workers, got.workers, workers_table(got),
		    say('workers_none'));
		put(boxes.breakers, got.workers, breakers_table(got),
		    say('workers_none'));
		put(boxes.errors, got.errors, errors_table(got),
		    say('errors_none'));
	});
	const refresh = async () => {
		if (automatic.checked && !document.hidden)
			await load();
		if (mine === turn)
			setTimeout(refresh, REFRESH_MS);
	};

	body.append(make('div', { class: 'row middle' }, make('label',
	    { class: 'check' }, automatic, ` ${say('refresh')}`), at),
	    make('section', {}, summary), facts,
	    section(say('workers'), boxes.workers),
	    section(say('breakers'), boxes.breakers),
	    section(say('errors'), boxes.errors));
	refresh();
}

// --- the audit --------------------------------------------------------------

function action_name(name)
{
	const text = `action_${name.replaceAll('-', '_')}`;

	return text in texts[language] ? say(text) : name;
}

function show_audit(body, id)
{
	const box = scroll(say('audit'));
	const load = (offset) => attempt(async () => {
		const got = await call(`audit?limit=20&offset=${offset}`
		    + (id ? `&telegram_id=${id}` : ''));

		box.replaceChildren(got.items.length ? table(
		    say('audit_caption', number(got.total)), [
			[ say('when'), (row) => time(row.at) ],
			[ say('by'), (row) => row.key ],
			[ say('action'), (row) => action_name(row.action) ],
			[ say('user'), (row) => row.telegram_id
			    ? user_link(row.telegram_id) : '—' ],
			[ say('request'), (row) => make('code', {},
			    row.request_id ?? '—') ],
		    ], got.items) : make('p', {}, say('audit_none')));
		pages.set(got.offset, got.items.length, got.total);
	});
	const pages = pager(say('audit'), 20, load);

	box.append(make('p', { class: 'loading' },
	    say('loading')));
	body.append(make('section', {}, make('p', { class: 'dim' },
	    say('audit_about')), id_form(say('audit_filter'), id, 'audit'),
	    box, pages.node));
	load(0);
}

// --- the frame --------------------------------------------------------------

const ID_MAX = 9223372036854775807n;

function is_id(text)
{
	return /^[1-9]\d{0,18}$/.test(text) && BigInt(text) <= ID_MAX;
}

// A form that shows a view of the user whose id is typed in. In the audit, an
// empty id means everybody.
function id_form(button, value, view = 'user')
{
	const id = `id${++id_form.last}`;
	const input = make('input', { id, inputmode: 'numeric', value,
		autocomplete: 'off', maxlength: 20 });
	const submit = (event) => {
		const text = input.value.trim();

		event.preventDefault();
		if (!is_id(text) && !(view === 'audit' && text === '')) {
			input.setAttribute('aria-invalid', 'true');
			delete bad.dataset.text;
			bad.replaceChildren(make('p', {}, say('id_wrong')));
			input.focus();
			return;
		}
		input.removeAttribute('aria-invalid');
		if (location.hash === `#/${view}/${text}`)
			show();
		else
			location.hash = `#/${view}/${text}`;
	};

	return make('form', { class: 'find', submit, novalidate: true },
	    make('label', { for: id }, view === 'audit' ? say('audit_user')
		: say('find')), input, make('button', {}, button));
}
id_form.last = 0;

const VIEWS = { overview: show_overview, user: show_user,
	service: show_service, audit: show_audit };

// The view that the address names: [ name, user ].
function where()
{
	const [ , name, id = '' ] = location.hash.split('/');

	if (!(name in VIEWS))
		return [ 'overview', '' ];
	return [ name, is_id(id) ? id : '' ];
}

function change_language()
{
	language = language === 'en' ? 'ru' : 'en';
	try {
		localStorage.setItem(LANGUAGE, language);
	} catch {
		// Without a storage, the choice is kept until a reload.
	}
	show();
	document.querySelector('#language').focus();
}

function language_button()
{
	return make('button', { type: 'button', class: 'plain', id: 'language',
		lang: language === 'en' ? 'ru' : 'en',
		click: change_language }, say('language'));
}

function bar(current)
{
	const link = (name) => make('li', {}, make('a', {
		href: `#/${name}`,
		'aria-current': name === current ? 'page' : undefined,
	}, say(name)));

	return make('header', {},
	    make('p', { class: 'brand' }, make('img', { src: 'icon.svg',
		alt: '', width: 24, height: 24 }), 'AI Chat'),
	    make('nav', { 'aria-label': say('views') }, make('ul', {},
		...Object.keys(VIEWS).map(link))),
	    ...current === 'user' && !where()[1] ? []
	    : [ id_form(say('show'), '') ],
	    make('div', { class: 'end' }, language_button(),
		make('button', { type: 'button', class: 'plain',
		    click: () => log_out(say('logged_out'), true) },
		    say('logout'))));
}

function messages()
{
	good = make('div', { role: 'status', class: 'message good' });
	bad = make('div', { role: 'alert', class: 'message bad' });
	return [ good, bad ];
}

function show_login(why, is_good)
{
	const input = make('input', { type: 'password', id: 'key',
		autocomplete: 'off', required: true });
	const submit = (event) => {
		const text = input.value.trim();

		event.preventDefault();
		tell();
		if (!/^[\x21-\x7e]+$/.test(text)) {
			bad.replaceChildren(make('p', {},
			    say(text ? 'key_wrong' : 'key_empty')));
			input.focus();
			return;
		}
		key = text;
		sessionStorage.setItem(KEY, key);
		show();
	};

	document.querySelector('#page').replaceChildren(make('main',
	    { class: 'login' }, make('h1', { tabindex: -1 }, say('title')),
	    ...messages(),
	    make('form', { submit, novalidate: true },
		make('label', { for: 'key' }, say('key')), input,
		make('p', { class: 'dim' }, say('key_kept')),
		make('button', { class: 'main' }, say('login'))),
	    language_button()));
	document.title = say('title');
	if (why && is_good)
		tell(why);
	else if (why)
		bad.append(make('p', {}, why));
	input.focus();
}

function log_out(why, is_good)
{
	turn++;
	key = null;
	sessionStorage.removeItem(KEY);
	document.querySelector('dialog')?.close('no');
	show_login(why, is_good);
	drop_old_plots();
}

function show()
{
	const [ name, id ] = where();
	const title = name === 'user' && id ? say('user_n', id) : say(name);
	const body = make('div');
	const heading = make('h1', { tabindex: -1 }, title);

	turn++;
	document.documentElement.lang = language;
	document.querySelector('dialog')?.close('no');
	if (!key) {
		show_login();
		return;
	}
	document.title = `${title} — ${say('title')}`;
	document.querySelector('#page').replaceChildren(
	    make('a', { class: 'skip', href: '#main', click: (event) => {
		// The address names the view.
		event.preventDefault();
		heading.focus();
	    } }, say('skip')), bar(name),
	    make('main', { id: 'main' }, heading, ...messages(), body));
	scrollTo(0, 0);
	heading.focus();
	VIEWS[name](body, id);
	drop_old_plots();
}

addEventListener('hashchange', show);
show();
})();
