// A client of the API, written against the types that openapi-typescript makes
// of /openapi.json. t/openapi_client.t compiles it, brings the service into a
// state, and runs the part of that name:
//
//	node client.js PART
//
// The output has a line for each response, "GET /health 200". An assertion that
// fails ends the program with status 1.

import createClient, { type Client } from 'openapi-fetch';
import type { components, paths } from './api.js';

declare const process: {
	argv: string[];
	env: Record<string, string>;
};

type Api = Client<paths>;
type Failure = components['schemas']['Error' | 'ValidationError' | 'Refusal'
    | 'LimitReached' | 'TooManyChats'];
interface Got { data?: unknown; error?: unknown; response: Response }

const baseUrl = process.env.AI_CHAT_URL;
const api = (key: string | undefined, headers = {}) => createClient<paths>({
	baseUrl,
	headers: { ...(key ? { 'X-API-KEY': key } : {}), ...headers },
});
const caller = api(process.env.AI_CHAT_KEY);
const admin = api(process.env.AI_CHAT_ADMIN_KEY);

function ensure(holds: unknown, what: string, got?: unknown): asserts holds {
	if (!holds)
		throw new Error(`${what}: ${JSON.stringify(got)}`);
}

// The calls of all endpoints, as a program writes them. A new endpoint has a row
// here.
const calls: Record<string, (c: Api) => Promise<Got>> = {
	'GET /health': (c) => c.GET('/health'),
	'GET /v1/chat/health': (c) => c.GET('/v1/chat/health'),
	'GET /health/ready': (c) => c.GET('/health/ready'),
	'GET /metrics': (c) => c.GET('/metrics', { parseAs: 'text' }),
	'POST /v1/chat/send': (c) => c.POST('/v1/chat/send', {
		body: { telegram_id: 900, message: 'Вопрос' },
	}),
	'POST /v1/chat/history': (c) => c.POST('/v1/chat/history', {
		body: { telegram_id: 900 },
	}),
	'POST /v1/chat/clear': (c) => c.POST('/v1/chat/clear', {
		body: { telegram_id: 900 },
	}),
	'GET /v1/chat/limits/{telegram_id}': (c) =>
	    c.GET('/v1/chat/limits/{telegram_id}', {
		params: { path: { telegram_id: 900 } },
	}),
	'POST /v1/chat/reset-limit': (c) => c.POST('/v1/chat/reset-limit', {
		body: { telegram_id: 900 },
	}),
	'GET /v1/chat/stats/{telegram_id}': (c) =>
	    c.GET('/v1/chat/stats/{telegram_id}', {
		params: { path: { telegram_id: 900 } },
	}),
	'GET /v1/admin/overview': (c) => c.GET('/v1/admin/overview'),
	'GET /v1/admin/users': (c) => c.GET('/v1/admin/users'),
	'GET /v1/admin/user/{telegram_id}': (c) =>
	    c.GET('/v1/admin/user/{telegram_id}', {
		params: { path: { telegram_id: 900 } },
	}),
	'GET /v1/admin/history/{telegram_id}': (c) =>
	    c.GET('/v1/admin/history/{telegram_id}', {
		params: { path: { telegram_id: 900 } },
	}),
	'POST /v1/admin/reset-limit': (c) => c.POST('/v1/admin/reset-limit', {
		body: { telegram_id: 900 },
	}),
	'POST /v1/admin/clear': (c) => c.POST('/v1/admin/clear', {
		body: { telegram_id: 900 },
	}),
	'POST /v1/admin/forget': (c) => c.POST('/v1/admin/forget', {
		body: { telegram_id: 900 },
	}),
	'GET /v1/admin/service': (c) => c.GET('/v1/admin/service'),
	'GET /v1/admin/audit': (c) => c.GET('/v1/admin/audit'),
};
const names = Object.keys(calls);
const without_key = [ 'GET /health', 'GET /v1/chat/health',
    'GET /health/ready' ];
const of_operators = names.filter((name) => name.includes(' /v1/admin/'));
const of_admin = [ 'POST /v1/chat/reset-limit', ...of_operators ];

function seen(name: string, got: Got, status: number): Got {
	ensure(got.response.status === status, `${name}: not ${status}`,
	    [ got.response.status, got.error ]);
	ensure(got.response.headers.get('x-request-id'),
	    `${name} ${status}: no X-Request-Id`);
	console.log(`${name} ${status}`);
	return got;
}

const key_for = (name: string) => of_admin.includes(name) ? admin : caller;

// Calls these endpoints, and returns their errors.
async function all(list: string[], status: number,
    client: (name: string) => Api = key_for) {
	return Promise.all(list.map(async (name) =>
	    seen(name, await calls[name](client(name)), status)));
}

// An error whose texts are for logs and for the seller.
function is_refusal(got: Got, error: RegExp) {
	const failure = got.error as Failure;
	const { detail } = failure;

	ensure(typeof detail === 'object' && 'message' in detail
	    && error.test(detail.error) && /[а-я]/.test(detail.message),
	    `not a refusal like ${error}`, failure);
	return detail;
}

function retry_after(got: Got) {
	const seconds = Number(got.response.headers.get('retry-after'));

	ensure(seconds >= 1, 'no Retry-After', seconds);
	return seconds;
}

const ask = (telegram_id: number, message: string, key?: string) =>
    caller.POST('/v1/chat/send', {
	params: { header: key ? { 'Idempotency-Key': key } : {} },
	body: { telegram_id, message },
});

// -- responses with status 200 -----------------------------------------------

async function conversation() {
	const send = 'POST /v1/chat/send';
	const first = await ask(1, 'Первый вопрос', 'key-1');
	const again = await ask(1, 'Первый вопрос', 'key-1');

	seen(send, first, 200);
	seen(send, again, 200);
	ensure(first.data && first.data.response.length > 0
	    && first.data.remaining_requests === 1, 'an answer', first);
	ensure(again.response.headers.get('idempotent-replayed') === 'true'
	    && again.data?.response === first.data.response, 'a replay');
	const long = seen(send, await caller.POST('/v1/chat/send', { body: {
		telegram_id: 2, format: 'plain', user_context: null,
		message: '[[text=Довольно%20длинный%20ответ.%20 repeat=400]]',
	} }), 200) as typeof first;
	ensure(long.data?.parts && long.data.parts.length > 1,
	    'parts of a long answer', long.data?.parts?.length);
}

async function user() {
	const history = await caller.POST('/v1/chat/history', {
		body: { telegram_id: 1, limit: 1, offset: 0 },
	});
	seen('POST /v1/chat/history', history, 200);
	ensure(history.data?.total === 1 && history.data.items[0].message
	    === 'Первый вопрос' && Date.parse(history.data.items[0].created_at)
	    > 0, 'the history', history.data);
	const path = { telegram_id: 1 };
	const limits = await caller.GET('/v1/chat/limits/{telegram_id}',
	    { params: { path } });
	seen('GET /v1/chat/limits/{telegram_id}', limits, 200);
	ensure(limits.data?.requests_remaining === 1
	    && limits.data.daily_limit === 2
	    && Date.parse(limits.data.reset_at) > Date.now(), 'the limits',
	    limits.data);
	const stats = await caller.GET('/v1/chat/stats/{telegram_id}',
	    { params: { path, query: { days: 30 } } });
	seen('GET /v1/chat/stats/{telegram_id}', stats, 200);
	ensure(stats.data?.total_requests === 1 && stats.data.days === 30
	    && stats.data.avg_requests_per_day > 0, 'the sums', stats.data);
	const cleared = await caller.POST('/v1/chat/clear',
	    { body: { telegram_id: 1 } });
	seen('POST /v1/chat/clear', cleared, 200);
	ensure(cleared.data?.success, 'a new conversation');
	const reset = await admin.POST('/v1/chat/reset-limit',
	    { body: { telegram_id: 1 } });
	seen('POST /v1/chat/reset-limit', reset, 200);
	ensure(reset.data?.success, 'a reset', reset.data);
}

async function operators() {
	const params = { path: { telegram_id: 1 } };
	const body = { telegram_id: 1 };

	await all(of_operators.filter((name) => !/forget/.test(name)), 200);
	const overview = await admin.GET('/v1/admin/overview',
	    { params: { query: { days: 3 } } });
	ensure(overview.data?.items.length === 3
	    && overview.data.items[2].failures.busy === 0, 'the sums',
	    overview.data);
	const users = await admin.GET('/v1/admin/users',
	    { params: { query: { by: 'tokens', limit: 1 } } });
	ensure(users.data?.by === 'tokens' && /^\d{4}-\d\d$/
	    .test(users.data.period), 'the users', users.data);
	const one = await admin.GET('/v1/admin/user/{telegram_id}', { params });
	ensure(one.data?.known && one.data.limits.daily_limit === 2
	    && one.data.stats.total_requests === 1, 'a user', one.data);
	const forgotten = await admin.POST('/v1/admin/forget', { body });
	seen('POST /v1/admin/forget', forgotten, 200);
	ensure(forgotten.data?.exchanges === 1, 'an erasure', forgotten.data);
	const service = await admin.GET('/v1/admin/service');
	ensure(service.data?.workers[0].breakers.model === 'closed'
	    && service.data.database.state === 'ok', 'the workers',
	    service.data);
	const audit = await admin.GET('/v1/admin/audit',
	    { params: { query: { telegram_id: 1 } } });
	ensure(audit.data?.items[0].action === 'forget'
	    && audit.data.items[0].key === 'key 1', 'the actions', audit.data);
}

async function health() {
	const live = await caller.GET('/health');
	seen('GET /health', live, 200);
	ensure(live.data?.status === 'ok', 'liveness', live.data);
	seen('GET /v1/chat/health', await caller.GET('/v1/chat/health'), 200);
	const ready = await caller.GET('/health/ready');
	seen('GET /health/ready', ready, 200);
	ensure(ready.data?.checks.database === 'ok', 'readiness', ready.data);
	const metrics = await caller.GET('/metrics', { parseAs: 'text' });
	seen('GET /metrics', metrics, 200);
	ensure(/^ai_chat_requests_total\{/m.test(metrics.data ?? ''),
	    'metrics');
}

// -- refused requests --------------------------------------------------------

async function requests() {
	await all(names.filter((name) => !without_key.includes(name)), 403,
	    () => api('wrong'));
	// A header that is longer than Nginx accepts.
	await all(names, 400, () => api('x', { 'X-Long': 'x'.repeat(40_000) }));

	const path = { telegram_id: 0 }, params = { path };
	const body = { telegram_id: 0, message: ' ', limit: 101 };
	const invalid: [ string, Got ][] = [
		[ 'POST /v1/chat/send',
		    await caller.POST('/v1/chat/send', { body }) ],
		[ 'POST /v1/chat/history',
		    await caller.POST('/v1/chat/history', { body }) ],
		[ 'POST /v1/chat/clear',
		    await caller.POST('/v1/chat/clear', { body }) ],
		[ 'POST /v1/chat/reset-limit',
		    await admin.POST('/v1/chat/reset-limit', { body }) ],
		[ 'GET /v1/chat/limits/{telegram_id}',
		    await caller.GET('/v1/chat/limits/{telegram_id}',
			{ params }) ],
		[ 'GET /v1/chat/stats/{telegram_id}',
		    await caller.GET('/v1/chat/stats/{telegram_id}',
			{ params }) ],
	];
	for (const [ name, got ] of invalid) {
		const { detail } = seen(name, got, 422).error as
		    components['schemas']['ValidationError'];
		ensure(detail.some(({ loc, msg, type }) => loc[1]
		    === 'telegram_id' && msg && type), 'a fault', detail);
	}
	const query = { limit: 0, days: 0 };
	const of_operators: [ string, Got ][] = [
		[ 'GET /v1/admin/overview',
		    await admin.GET('/v1/admin/overview', { params: { query } }) ],
		[ 'GET /v1/admin/users',
		    await admin.GET('/v1/admin/users', { params: { query } }) ],
		[ 'GET /v1/admin/user/{telegram_id}',
		    await admin.GET('/v1/admin/user/{telegram_id}',
			{ params }) ],
		[ 'GET /v1/admin/history/{telegram_id}',
		    await admin.GET('/v1/admin/history/{telegram_id}',
			{ params }) ],
		[ 'GET /v1/admin/audit',
		    await admin.GET('/v1/admin/audit', { params: { query } }) ],
		[ 'POST /v1/admin/reset-limit',
		    await admin.POST('/v1/admin/reset-limit', { body }) ],
		[ 'POST /v1/admin/clear',
		    await admin.POST('/v1/admin/clear', { body }) ],
		[ 'POST /v1/admin/forget',
		    await admin.POST('/v1/admin/forget', { body }) ],
	];
	for (const [ name, got ] of of_operators)
		seen(name, got, 422);
	const days = await caller.GET('/v1/chat/stats/{telegram_id}',
	    { params: { path: { telegram_id: 1 }, query: { days: 0 } } });
	seen('GET /v1/chat/stats/{telegram_id}', days, 400);
	ensure(days.error && days.error.detail
	    === 'Days parameter must be between 1 and 365', 'days', days);

	const large = { telegram_id: 1, message: 'x'.repeat(300_000) };
	for (const name of names.filter((name) => name.startsWith('POST'))) {
		const post = name.slice(5) as '/v1/chat/send';
		seen(name, await key_for(name).POST(post, { body: large }),
		    413);
	}
}

// -- refused chats -----------------------------------------------------------

async function limits() {
	const send = 'POST /v1/chat/send';

	const slow = ask(3, '[[delay=1500]]');
	await until(async () => (await caller.GET(
	    '/v1/chat/limits/{telegram_id}', { params: { path:
	    { telegram_id: 3 } } })).data?.requests_today === 1);
	const crowd = seen(send, await ask(3, 'Ещё вопрос'), 429);
	const detail = is_refusal(crowd, /^Too many chats at once$/);
	ensure('max_in_flight' in detail && detail.max_in_flight === 1
	    && retry_after(crowd), 'the chats in flight', detail);
	seen(send, await slow, 200);
	seen(send, await ask(3, 'Второй'), 200);
	const reached = seen(send, await ask(3, 'Третий'), 429);
	const limit = is_refusal(reached, /^Rate limit exceeded$/);
	ensure('daily_limit' in limit && limit.daily_limit === 2
	    && Date.parse(limit.reset_at) - Date.now()
	    < (retry_after(reached) + 5) * 1000, 'the limit', limit);
}

async function until(holds: () => Promise<boolean>) {
	const end = Date.now() + 20_000;

	while (!await holds())
		ensure(Date.now() < end, 'the wait was too long');
}

async function model() {
	const send = 'POST /v1/chat/send';

	for (const user of [ 4, 5 ])
		is_refusal(seen(send, await ask(user,
		    '[[status=500 should_retry=false]]'), 500),
		    /^AI service error: \S/);
	const open = seen(send, await ask(6, 'Вопрос'), 503);
	is_refusal(open, /^The model is not available now$/);
	retry_after(open);
}

// -- parts of the service that are away --------------------------------------

async function database() {
	const got = await all(names.filter((name) =>
	    /chat\/(?!health)|admin\/(?!service)/.test(name)), 503);

	for (const one of got)
		is_refusal(one, /^(?:Database|The model) is not available/)
		    && retry_after(one);
	let ready;
	await until(async () => (ready = await caller.GET('/health/ready'))
	    .response.status === 503);
	seen('GET /health/ready', ready!, 503);
}

async function gateway(status: number) {
	for (const got of await all(names, status))
		is_refusal(got, /\S/) && retry_after(got);
}

const parts: Record<string, () => Promise<void>> = {
	usual: async () => {
		await conversation();
		await user();
		await operators();
		await health();
	},
	requests, limits, model, database,
	no_admin_key: async () => {
		await all(of_operators, 404, () => caller);
	},
	no_worker: () => gateway(502),
	frozen_worker: () => gateway(504),
};

await parts[process.argv[2]]();

export {};
