// Uses the page /docs in Chromium, as a person does.
//
//	node docs.mjs URL KEY DIRECTORY WIDTH
//
// Writes screenshots into DIRECTORY, and a line for each fact: "ok TITLE" or
// "not ok TITLE: what was there".

import { chromium } from 'playwright-core';

const [ url, key, dir, width ] = process.argv.slice(2);
const executablePath = '/usr/bin/chromium';
const errors = [], elsewhere = [];

function say(holds, title, got) {
	console.log(holds ? `ok ${title}`
	    : `not ok ${title}: ${JSON.stringify(got)}`);
}

// Chromium's own sandbox does not work as root.
const browser = await chromium.launch({ executablePath,
	args: process.getuid() === 0 ? [ '--no-sandbox' ] : [] });

async function open(context) {
	const page = await context.newPage();

	page.setDefaultTimeout(60_000);
	page.on('console', (line) => {
		// A refusal of the service is an error for the browser.
		if (line.type() === 'error' && !/status of [45]/.test(line.text()))
			errors.push(line.text());
	});
	page.on('pageerror', (error) => errors.push(String(error)));
	page.on('request', (request) => {
		if (!request.url().startsWith(url)
		    && !request.url().startsWith('data:'))
			elsewhere.push(request.url());
	});
	await page.goto(`${url}/docs`);
	await page.waitForSelector('.opblock');
	return page;
}

// Sends the request of an operation, which is open, and returns the status that
// the page shows.
async function execute(operation) {
	const [ response ] = await Promise.all([
		operation.page().waitForResponse((got) =>
		    got.url().includes('/v1/')),
		operation.locator('button.execute').click(),
	]);
	// Until then the page shows the last response.
	await operation.locator('.live-responses-table .response '
	    + '.response-col_status', { hasText: String(response.status()) })
	    .first().waitFor();
	return response.status();
}

async function expand(page, id) {
	const operation = page.locator(`.opblock[id$="-${id}"]`);

	if (await operation.locator('.opblock-body').count() === 0)
		await operation.locator('.opblock-summary-control').click();
	await operation.locator('button.execute').waitFor();
	return operation;
}

async function is_as_wide_as_the_screen(page, what) {
	const got = await page.evaluate(
	    () => document.documentElement.scrollWidth);
	// The elements that are too wide, for who has to mend it.
	const wide = () => [ ...document.querySelectorAll('body *') ]
	    .filter((e) => e.getBoundingClientRect().right > innerWidth
		&& ![ ...e.children ].some((child) =>
		    child.getBoundingClientRect().right > innerWidth))
	    .slice(0, 10).map((e) => `${e.tagName}.${e.className}`);

	say(got <= width, `${what} is not wider than the screen`,
	    got > width ? [ got, await page.evaluate(wide) ] : got);
}

const context = await browser.newContext({
	viewport: { width: Number(width), height: 800 } });
const page = await open(context);

say(await page.locator('.opblock').count() >= 10,
    'the page lists the endpoints', await page.locator('.opblock').count());
await is_as_wide_as_the_screen(page, 'the list');
await page.screenshot({ path: `${dir}/docs-${width}.png`, fullPage: true });

let limits = await expand(page, 'getLimits');
await limits.locator('input[placeholder="telegram_id"]').fill('7');
say(await execute(limits) === 403, 'without a key a request is refused');

await page.locator('button.authorize').first().click();
const dialog = page.locator('.modal-ux');
await dialog.locator('#api_key_value').first().fill(key);
await page.screenshot({ path: `${dir}/docs-key-${width}.png` });
await dialog.locator('button.authorize').first().click();
await dialog.locator('button.btn-done').first().click();
say(await execute(limits) === 200, 'with the key it is answered');

const send = await expand(page, 'sendMessage');
await send.locator('textarea.body-param__text').fill(
    JSON.stringify({ telegram_id: 7, message: 'Вопрос со страницы' }));
say(await execute(send) === 200, 'a question is answered');
say(await send.locator('input[placeholder="Idempotency-Key"]').inputValue()
    === '', 'no header is sent that nobody typed in');
const text = await send.locator('.live-responses-table .microlight').first()
    .innerText();
say(/"remaining_requests": \d+/.test(text), 'the page shows the answer', text);
await is_as_wide_as_the_screen(page, 'an answer');
await send.screenshot({ path: `${dir}/docs-send-${width}.png` });

const kept = await page.evaluate(() => [ Object.values(sessionStorage),
	Object.values(localStorage), document.cookie ]);
say(kept[0].includes(key) && kept[1].length === 0 && kept[2] === '',
    'the key is kept for the tab alone', kept);

await page.reload();
await page.waitForSelector('.opblock');
limits = await expand(page, 'getLimits');
await limits.locator('input[placeholder="telegram_id"]').fill('7');
say(await execute(limits) === 200, 'after a reload the key is still there');

await page.locator('button.authorize').first().click();
await page.locator('.modal-ux button', { hasText: 'Logout' }).first().click();
say((await page.evaluate(() => Object.values(sessionStorage))).length === 0,
    'after a logout it is gone');

const other = await open(context);
say((await other.evaluate(() => Object.values(sessionStorage))).length === 0,
    'another tab does not have it');

say(errors.length === 0, 'the browser reports no error', errors);
say(elsewhere.length === 0, 'nothing is loaded from another server',
    elsewhere);
await browser.close();
