// Uses the page /admin/ in Chromium, as an operator does.
//
//	node admin.mjs URL KEY DIRECTORY WIDTH LANGUAGE SCHEME USER TASKS
//
// USER has 12 exchanges. With TASKS 1 each task is done, and the user is erased;
// with 0 the views are looked at, and no action is done. Writes screenshots into DIRECTORY, and
// a line for each fact: "ok TITLE" or "not ok TITLE: what was there".

import axe from 'axe-core';
import { chromium } from 'playwright-core';

const [ url, key, dir, width, language, scheme, user, tasks ]
    = process.argv.slice(2);
const executablePath = '/usr/bin/chromium';
const errors = [], elsewhere = [];
const ru = language === 'ru', whole = tasks === '1';
let clicks = 0, shots = 0;

// What the page says, in both languages.
const T = {
	login: [ 'Log in', 'Войти' ], logout: [ 'Log out', 'Выйти' ],
	overview: [ 'Overview', 'Обзор' ], service: [ 'Service', 'Сервис' ],
	audit: [ 'Audit', 'Журнал' ], user: [ 'User', 'Пользователь' ],
	show: [ 'Show', 'Показать' ], today: [ 'Today', 'Сегодня' ],
	statistics: [ 'Statistics', 'Статистика' ],
	history: [ 'Show the exchanges', 'Показать историю' ],
	older: [ 'Next', 'Дальше' ], newer: [ 'Previous', 'Назад' ],
	reset: [ 'Reset the limit', 'Сбросить лимит' ],
	clear: [ 'New conversation', 'Новый диалог' ],
	forget: [ 'Erase the user', 'Удалить данные' ],
	cancel: [ 'Cancel', 'Отмена' ], used: [ 'Used', 'Использовано' ],
	reset_done: [ 'was reset', 'сброшен' ],
	clear_done: [ 'has a new conversation', 'начат новый диалог' ],
	forget_done: [ 'Deleted exchanges: 12', 'истории: 12' ],
	did_reset: [ 'Limit reset', 'Сброс лимита' ],
	did_clear: [ 'New conversation', 'Новый диалог' ],
	did_forget: [ 'Erased', 'Удаление данных' ],
	did_history: [ 'Exchanges read', 'Просмотр истории' ],
	unknown: [ 'has never chatted', 'ещё не задавал вопросов' ],
	no_history: [ 'No exchanges', 'вопросов нет' ],
	days: [ 'Table of days', 'Таблица по дням' ],
	refusals: [ 'Refusals by limit', 'Отказы по ограничениям' ],
	kinds: [ 'Failures by kind', 'Ошибки по видам' ],
	tops: [ 'Users with the most', 'Самые активные пользователи' ],
	breakers: [ 'Circuit breakers', 'Предохранители' ],
	workers: [ 'Workers', 'Процессы' ],
	last_errors: [ 'Last errors by kind', 'Последние ошибки по видам' ],
	refused: [ 'refused the key', 'не принял ключ' ],
	empty: [ 'Type in the key', 'Введите ключ' ],
	away: [ 'cannot be reached', 'Нет связи' ],
	busy: [ '503', '503' ], again: [ 'Try again', 'Повторить' ],
	wrong_id: [ 'is a number', 'это число' ],
	refresh: [ 'Refresh every', 'Обновлять каждые' ],
};
const t = (name) => T[name][ru ? 1 : 0];

function say(holds, title, got) {
	console.log(holds ? `ok ${title}`
	    : `not ok ${title}: ${JSON.stringify(got)}`);
}

const browser = await chromium.launch({ executablePath,
	args: process.getuid() === 0 ? [ '--no-sandbox' ] : [] });
const context = await browser.newContext({
	viewport: { width: Number(width), height: 800 },
	locale: ru ? 'ru-RU' : 'en-US', colorScheme: scheme });
const page = await context.newPage();

page.setDefaultTimeout(60_000);
page.on('console', (line) => {
	// A refusal of the service is an error for the browser.
	if (line.type() === 'error'
	    && !/status of [45]|ERR_FAILED/.test(line.text()))
		errors.push(line.text());
});
page.on('pageerror', (error) => errors.push(String(error)));
page.on('request', (request) => {
	if (!request.url().startsWith(url))
		elsewhere.push(request.url());
});

const button = (name, place = page) => place.getByRole('button',
    { name: t(name), exact: true });
const link = (name) => page.getByRole('navigation')
    .getByRole('link', { name: t(name), exact: true });
const told = page.locator('main > [role=status]');
const alert = page.locator('main > [role=alert]');
const dialog = page.locator('dialog');

async function click(what) {
	clicks++;
	await what.click();
}

async function settled() {
	await page.locator('main:not([aria-busy])').waitFor();
}

// Views are tested as they look, so a screenshot belongs to each.
async function look(what) {
	await settled();
	const wide = await page.evaluate(() =>
	    document.documentElement.scrollWidth);
	await page.evaluate(axe.source);
	const { violations } = await page.evaluate(() => axe.run(document,
	    { resultTypes: [ 'violations' ] }));

	say(violations.length === 0, `${what}: axe finds no violation`,
	    violations.map((v) => [ v.id, v.nodes.map((n) =>
		[ n.html.slice(0, 150), n.failureSummary ]) ]));
	say(wide <= width, `${what} is not wider than the screen`, wide);
	await page.screenshot({ fullPage: true, path: `${dir}/admin-${width}-`
	    + `${language}-${++shots}-${what.replaceAll(' ', '-')}.png` });
}

// The first view, from which clicks are counted.
async function begin() {
	await page.goto(`${url}/admin/`);
	await page.locator('.tiles').first().waitFor();
	await settled();
	clicks = 0;
}

async function find(id) {
	await page.locator('header .find input').fill(id);
	await click(button('show', page.locator('header')));
	await page.getByRole('heading', { level: 1 })
	    .filter({ hasText: id }).waitFor();
	await page.locator('.tiles').first().waitFor();
	await settled();
}

function in_three_clicks(task) {
	say(clicks <= 3, `${task} takes at most three clicks`, clicks);
}

// -- the key

await page.goto(`${url}/admin`);
await button('login').waitFor();
say(page.url() === `${url}/admin/`, 'an address without the slash is found',
    page.url());
say(await page.evaluate(() => document.documentElement.lang) === language,
    'the page has the language of the browser');
say(await page.locator('#key').evaluate((e) => e === document.activeElement),
    'the field of the key has the focus');
await look('login');
await page.keyboard.press('Enter');
await alert.filter({ hasText: t('empty') }).waitFor();
await page.locator('#key').fill('wrong');
await page.keyboard.press('Enter');
await alert.filter({ hasText: t('refused') }).waitFor();
say(await page.evaluate(() => sessionStorage.length) === 0,
    'a refused key is not kept');
await look('a refused key');
await page.locator('#key').fill(key);
await page.keyboard.press('Enter');
await page.locator('.tiles').first().waitFor();
const kept = await page.evaluate(() => [ Object.values(sessionStorage),
	Object.values(localStorage), document.cookie ]);
say(kept[0].includes(key) && kept[1].length === 0 && kept[2] === '',
    'the key is kept for the tab alone', kept);

// -- the overview

await begin();
for (const name of [ 'refusals', 'kinds', 'tops' ])
	await page.getByRole('heading', { name: t(name) }).waitFor();
const plots = page.getByRole('img');
await page.locator('.plot canvas').nth(2).waitFor();
const names = await plots.evaluateAll((all) =>
    all.map((e) => e.getAttribute('aria-label')));
say(names.length === 3 && names.every((name) => /\d/.test(name)),
    'each plot has a text alternative with its sums', names);
await page.locator('.plot').first().hover();
say(/\d/.test(await page.locator('figcaption [aria-hidden]').first()
    .textContent()), 'a plot shows the value under the pointer');
await click(page.getByText(t('days'), { exact: true }));
in_three_clicks('the table of days');
say(await page.locator('details tbody tr').count() === 30,
    'the table has each day',
    await page.locator('details tbody tr').count());
const top_user = page.getByRole('link', { name: user, exact: true });
await top_user.waitFor();
await look('overview');
await page.locator('main select').first().focus();
await page.locator('main select').first().selectOption('7');
await settled();
say(await page.locator('details tbody tr').count() === 7,
    'another period has its days');
say(await page.locator('main select').first().evaluate((e) =>
    e === document.activeElement), 'the choice of a period keeps the focus');
await page.locator('main select').nth(2).selectOption('tokens');
await settled();
await top_user.waitFor();
await click(top_user);
await page.getByRole('heading', { name: t('today'), exact: true }).waitFor();
in_three_clicks('a user of the list');
say(await page.locator('h1').evaluate((e) => e === document.activeElement),
    'the heading of a new view has the focus');

// -- one user

await begin();
await find(user);
await page.getByRole('heading', { name: t('statistics') }).waitFor();
in_three_clicks('today and the statistics of a user');
const used = () => page.locator('dt', { hasText: t('used') })
    .locator('xpath=following-sibling::dd').textContent();
say(await used() === '12', 'the chats of today are shown', await used());
await click(button('history'));
await page.locator('.exchange').nth(9).waitFor();
say(await page.locator('.exchange').count() === 10, 'a page has ten exchanges');
say(await page.locator('.exchange b').count() === 0
    && /<b>12<\/b>/.test(await page.locator('.exchange').first().innerText()),
    'what a user wrote is shown as text');
await look('a user');
await click(button('older', page.locator('section').last()));
await page.locator('.exchange').nth(9).waitFor({ state: 'detached' });
say(await page.locator('.exchange').count() === 2, 'the next page has the rest');
in_three_clicks('the history of a user');

async function act(name, done, typed) {
	await begin();
	await find(user);
	await click(button(name));
	say((await dialog.locator('h2').textContent()).includes(user),
	    `the question of ${name} names the user`);
	if (typed) {
		await dialog.locator('input').fill(`${typed}0`);
		await dialog.locator('button').first().click();
		await dialog.locator('[role=alert]:not(:empty)').waitFor();
		await look(`the question of ${name}`);
		if (!whole)
			return;
		say(await dialog.isVisible(),
		    `${name} needs the exact id to be typed`);
		await dialog.locator('input').fill(typed);
	} else {
		// First another answer.
		await look(`the question of ${name}`);
		await page.keyboard.press('Escape');
		await dialog.waitFor({ state: 'detached' });
		say(await button(name).evaluate((e) =>
		    e === document.activeElement),
		    `after a cancelled ${name} its button has the focus`);
		if (!whole)
			return;
		await begin();
		await find(user);
		await click(button(name));
	}
	await click(button(name, dialog));
	await told.filter({ hasText: t(done) }).waitFor();
	say((await told.textContent()).includes(user),
	    `the result of ${name} is said`, await told.textContent());
	in_three_clicks(name);
	await settled();
}

await act('reset', 'reset_done');
if (whole) {
	say(await used() === '0', 'after a reset no chat is used',
	    await used());
	await act('clear', 'clear_done');
}
await act('forget', 'forget_done', user);
if (whole) {
	await button('history').click();
	await page.locator('main li', { hasText: t('no_history') }).waitFor();
	await look('an erased user');
}

await begin();
await page.locator('header .find input').fill('abc');
await page.keyboard.press('Enter');
await alert.filter({ hasText: t('wrong_id') }).waitFor();
say(true, 'a wrong id is refused');
await page.locator('header .find input').fill('9007199254740993');
await page.keyboard.press('Enter');
await page.locator('h1', { hasText: '9007199254740993' }).waitFor();
await page.locator('.notice').filter({ hasText: t('unknown') }).waitFor();
say(true, 'an id that is no JavaScript number stays exact');

// -- the audit

await begin();
await click(link('audit'));
await page.locator('tbody tr').first().waitFor();
in_three_clicks('the audit');
await page.locator('main .find input').fill(user);
await page.keyboard.press('Enter');
await page.locator('h1').waitFor();
const did = [ ...whole ? [ 'did_history', 'did_forget', 'did_clear',
	'did_reset' ] : [], 'did_history', 'did_history' ];
await page.locator('caption', { hasText: `: ${did.length}` }).waitFor();
const rows = await page.locator('tbody tr').allInnerTexts();
for (const [ i, name ] of did.entries())
	say(rows[i].includes(t(name)) && rows[i].includes('anna')
	    && rows[i].includes(user), `the audit has ${name}`, rows[i]);
await look('audit');

// -- the service

await begin();
await click(link('service'));
await page.locator('tbody tr').first().waitFor();
in_three_clicks('the state of the service');
for (const name of [ 'workers', 'breakers', 'last_errors' ])
	await page.getByRole('heading', { name: t(name) }).waitFor();
await look('service');
if (whole) {
	await page.getByLabel(t('refresh')).focus();
	await page.waitForResponse((got) => got.url().endsWith('/service'));
	say(true, 'the state refreshes itself');
	await page.route('**/v1/admin/**', (route) => route.abort());
	await alert.filter({ hasText: t('away') }).waitFor();
	say(true, 'a refresh without a network is said');
	say(await page.getByLabel(t('refresh')).evaluate((e) =>
	    e === document.activeElement), 'a refresh keeps the focus');
	await page.unroute('**/v1/admin/**');
	await page.locator('main > [role=alert]:empty')
	    .waitFor({ state: 'attached' });
	say(true, 'the next refresh takes the message back');
}

// -- errors

await page.route('**/v1/admin/**', (route) => route.fulfill({ status: 503,
	headers: { 'Retry-After': '5', 'X-Request-Id': 'abc123' },
	json: { detail: { error: 'x', message: 'y' } } }));
await link('audit').click();
await alert.filter({ hasText: t('busy') }).waitFor();
say(/abc123/.test(await alert.textContent()),
    'a failure is shown with its request id');
await look('a failure');
await page.unroute('**/v1/admin/**');
await button('again').click();
await page.locator('tbody tr').first().waitFor();
say(await alert.textContent() === '', 'a repeat gets the answer');

// -- language, and the end

await page.locator('#language').click();
say(await page.evaluate(() => document.documentElement.lang) !== language,
    'the language can be changed');
say(await page.locator('#language').evaluate((e) =>
    e === document.activeElement), '... which keeps the focus');
await page.reload();
say(await page.evaluate(() => document.documentElement.lang) !== language,
    '... and stays after a reload');
await page.locator('#language').click();
await button('logout').click();
await button('login').waitFor();
say(await page.evaluate(() => sessionStorage.length) === 0,
    'after a logout the key is gone');

say(errors.length === 0, 'the browser reports no error', errors);
say(elsewhere.length === 0, 'nothing is loaded from another server',
    elsewhere);
await browser.close();
