// A model over TLS by Node.js, whose HTTP/2 is nghttp2's and not ours: a scripted
// server for what the usual TLS ends do not do to a connection.  AIChat::HTTP2 starts
// and steers it.
//
//	node http2_model.js '{"port":1,"control":2,"certs":"dir"}'
//
// Control, plain HTTP:
//	GET  /seen   what has happened so far
//	POST /set    how connections are treated from now on, see `script`
//	POST /do     what is done to those that are open, see `orders`
//
// A question is steered by marks of its last message, [[text=A delay=100 rst=8]]:
//	text    the answer; also the name under which the request is listed
//	delay   milliseconds before the answer
//	rst     RST_STREAM with this code instead of the answer
//	mid     RST_STREAM with this code in the middle of the answer's body
//	short   1: the stream ends before the announced length
//	fin     1: the connection ends in the middle of the body
//	times   only the first so many requests of this text misbehave
//
// and, where script.raw is "frames", so that the answer has no announced length:
//	size    bytes of the answer's text, see `numbers`
//	frame   bytes of each DATA frame, as "100" or "1-16384"
//	last    what has END_STREAM: "full", the last DATA frame that has bytes, or
//	        "empty", one without any
// Such questions are answered when `release` is ordered.
'use strict';

const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const net = require('net');
const tls = require('tls');

const args = JSON.parse(process.argv[2]);

const script = {
	cert: 'good',
	alpn: ['h2', 'http/1.1'], // null: the server has no ALPN
	settings: {}, // of HTTP/2
	settings_late_ms: 0, // after the handshake
	hang: 0, // so many connections get no handshake
	raw: null, // "frames", or how bytes break the protocol, see `breaks`
	raw_times: 0, // on so many connections
	raw_prime: 0, // each answers so many requests before,
	raw_after: 1, // and breaks when so many more have arrived
	raw_deaf: false, // it does not close when the client sends GOAWAY
	max_version: 'TLSv1.3',
};

const seen = { connections: 0, handshakes: 0, resumed: 0, requests: [] };
const open = new Set(); // { socket, session }

// --- answers ---------------------------------------------------------------

// The marks of the last message, and a line in the list of requests.
function note(connection, body)
{
	const marks = {};
	const request = { connection: connection.number, text: null,
		ended: 'pending' };
	try {
		const last = JSON.parse(body).messages.at(-1).content;
		const mark = /\[\[(.*?)\]\]/.exec(last);
		for (const pair of mark ? mark[1].split(' ') : []) {
			const [, key, value] = /^(\w+)=(.*)$/.exec(pair);
			marks[key] = value;
		}
	} catch (e) {
		request.bad = String(e);
	}
	request.text = marks.text ?? null;
	seen.requests.push(request);
	const nth = seen.requests.filter((r) => r.text === request.text).length;
	if (marks.times && nth > marks.times)
		for (const key of ['rst', 'mid', 'short', 'fin', 'delay'])
			delete marks[key];
	return [request, marks];
}

function completion(text)
{
	return Buffer.from(JSON.stringify({ id: 'x', object: 'chat.completion',
		model: 'm', choices: [{ index: 0, finish_reason: 'stop',
			message: { role: 'assistant', content: text ?? 'ответ' } }],
		usage: { prompt_tokens: 3, completion_tokens: 4,
			total_tokens: 7 } }));
}

// The HTTP/1.1 part of it has no streams to be reset.
function answer(connection, stream, respond, body)
{
	const [request, marks] = note(connection, body);
	let timer = null;

	stream.on('close', () => {
		clearTimeout(timer);
		if (request.ended === 'pending')
			request.ended = stream.rstCode ? `rst ${stream.rstCode}`
			    : 'closed';
	});
	timer = setTimeout(() => {
		const bytes = completion(marks.text);
		const half = bytes.length >> 1;
		if (stream.destroyed)
			return;
		if (marks.rst) {
			request.ended = 'broken';
			stream.close(+marks.rst);
			return;
		}
		const cut = marks.mid || marks.short || marks.fin;
		respond({ 'content-type': 'application/json',
			'content-length': bytes.length });
		if (!cut) {
			request.ended = 'answered';
			stream.end(bytes);
			return;
		}
		request.ended = 'broken';
		if (marks.short)
			stream.end(bytes.subarray(0, half));
		else
			stream.write(bytes.subarray(0, half), () => setTimeout(() => {
				if (marks.mid)
					stream.close(+marks.mid);
				else
					connection.socket.end();
			}, 20));
	}, +(marks.delay ?? 0));
}

function collect(stream, done)
{
	const pieces = [];
	stream.on('error', () => {});
	stream.on('data', (piece) => pieces.push(piece));
	stream.on('end', () => done(Buffer.concat(pieces).toString()));
}

// --- connections -----------------------------------------------------------

function on_session(connection, session)
{
	connection.session = session;
	session.on('error', () => {});
	session.on('stream', (stream) => collect(stream, (body) => {
		connection.last = stream.id;
		(connection.ids ??= []).push(stream.id);
		answer(connection, stream,
		    (h) => stream.respond({ ':status': 200, ...h }), body);
	}));
}

function on_secure(connection)
{
	const socket = connection.socket;

	seen.handshakes++;
	if (socket.isSessionReused())
		seen.resumed++;
	if (socket.alpnProtocol !== 'h2') {
		one.emit('connection', socket);
		return;
	}
	if (script.raw && script.raw_times > 0) {
		script.raw_times--;
		raw(connection);
		return;
	}
	const two = http2.createServer({ settings: script.settings });
	two.on('session', (session) => on_session(connection, session));
	two.on('sessionError', () => {});
	setTimeout(() => socket.destroyed || two.emit('connection', socket),
	    script.settings_late_ms);
}

const one = http.createServer({ keepAliveTimeout: 3600 * 1000 },
    (request, response) => {
	const connection = [...open].find((c) => c.socket === request.socket);
	collect(request, (body) => answer(connection, response,
	    (h) => response.writeHead(200, h), body));
});

const ticket_keys = require('crypto').randomBytes(48);
const secure = {};

function secure_server()
{
	const name = script.cert + script.max_version + script.alpn;

	return secure[name] ??= tls.createServer({
		cert: fs.readFileSync(`${args.certs}/${script.cert}.pem`),
		key: fs.readFileSync(`${args.certs}/${script.cert}.key`),
		maxVersion: script.max_version,
		ticketKeys: ticket_keys,
		...(script.alpn ? { ALPNProtocols: script.alpn } : {}),
	}, (socket) => {
		const connection = { number: seen.handshakes + 1, socket,
			tcp: socket._parent };
		open.add(connection);
		socket.on('error', () => {});
		socket.on('close', () => open.delete(connection));
		on_secure(connection);
	}).on('tlsClientError', (e) => { seen.tls_error = String(e); });
}

net.createServer((socket) => {
	seen.connections++;
	socket.setNoDelay(true);
	socket.on('error', () => {});
	if (script.hang > 0) {
		script.hang--;
		seen.hanging = (seen.hanging ?? 0) + 1;
		socket.resume();
		socket.on('close', () => seen.hanging--);
		return;
	}
	secure_server().emit('connection', socket);
}).listen(args.port, '127.0.0.1', 1024);

// --- bytes that break HTTP/2 -----------------------------------------------

const DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5,
    GOAWAY = 7, WINDOW_UPDATE = 8, CONTINUATION = 9;
const END_STREAM = 1, ACK = 1, END_HEADERS = 4;
const STATUS_200 = Buffer.from([0x88]);

function frame(type, flags, id, payload, length)
{
	const head = Buffer.alloc(9);

	head.writeUIntBE(length ?? payload.length, 0, 3);
	head[3] = type;
	head[4] = flags;
	head.writeUInt32BE(id, 5);
	return Buffer.concat([head, payload]);
}

function whole(id, text)
{
	return Buffer.concat([frame(HEADERS, END_HEADERS, id, STATUS_200),
		frame(DATA, END_STREAM, id, completion(text))]);
}

const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const zeros = (n) => Buffer.alloc(n);

// Instead of the server's first SETTINGS.
const greetings = {
	garbage: () => Buffer.from('no HTTP/2 at all, whatever ALPN has said\r\n'
	    .repeat(8)),
	http1: () => Buffer.from('HTTP/1.1 400 Bad Request\r\n'
	    + 'Content-Length: 0\r\nConnection: close\r\n\r\n'),
	settings_length: () => frame(SETTINGS, 0, 0, zeros(5)),
	settings_on_stream: () => frame(SETTINGS, 0, 1, zeros(0)),
	nothing: () => null, // the connection is closed
};

// To a question on stream `id`.  In `of_stream` are those that harm that stream alone.
const of_stream = [ 'no_status', 'window_of_stream' ];
const breaks = {
	hpack_index: (id) => frame(HEADERS, END_HEADERS, id, Buffer.from([0x80])),
	hpack_beyond: (id) => frame(HEADERS, END_HEADERS, id,
	    Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7f])),
	hpack_cut: (id) => frame(HEADERS, END_HEADERS, id,
	    Buffer.from([0x88, 0x40, 0x7f, 0x61])),
	no_status: (id) => frame(HEADERS, END_HEADERS, id,
	    Buffer.from([0x40, 1, 0x61, 1, 0x62])),
	frame_too_large: (id) => frame(DATA, 0, id, zeros(64), 0xffffff),
	rst_length: (id) => frame(RST_STREAM, 0, id, zeros(3)),
	padding: (id) => Buffer.concat([
		frame(HEADERS, END_HEADERS, id, STATUS_200),
		frame(DATA, 8, id, Buffer.from([200, 1, 2]))]),
	data_first: (id) => frame(DATA, END_STREAM, id, completion('wrong')),
	data_on_idle: (id) => frame(DATA, 0, id + 1000, zeros(8)),
	data_on_zero: () => frame(DATA, 0, 0, zeros(8)),
	headers_on_even: (id) => frame(HEADERS, END_HEADERS, id + 1, STATUS_200),
	push: (id) => frame(PUSH_PROMISE, END_HEADERS, id,
	    Buffer.concat([u32(2), STATUS_200])),
	no_continuation: (id) => Buffer.concat([
		frame(HEADERS, 0, id, STATUS_200),
		frame(DATA, END_STREAM, id, completion('wrong'))]),
	lone_continuation: (id) => frame(CONTINUATION, END_HEADERS, id,
	    STATUS_200),
	window_of_stream: (id) => Buffer.concat([
		frame(WINDOW_UPDATE, 0, id, u32(0x7fffffff)),
		frame(WINDOW_UPDATE, 0, id, u32(0x7fffffff))]),
	window_of_connection: () => Buffer.concat([
		frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff)),
		frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff))]),
	window_of_zero: () => frame(WINDOW_UPDATE, 0, 0, u32(0)),
	window_setting: () => frame(SETTINGS, 0, 0,
	    Buffer.concat([Buffer.from([0, 4]), u32(0x80000000)])),
	goaway_length: () => frame(GOAWAY, 0, 0, zeros(4)),
	goaway_error: () => frame(GOAWAY, 0, 0, Buffer.concat([u32(0), u32(2)])),
	cut_in_frame: (id) => [ frame(DATA, 0, id, zeros(8), 64), 'end' ],
	cut_in_answer: (id) => [ Buffer.concat([
		frame(HEADERS, END_HEADERS, id, STATUS_200),
		frame(DATA, 0, id, completion('wrong').subarray(0, 40))]), 'end' ],
};

// What comes after a whole answer, and cannot harm it.
const after = {
	data_on_closed: (id) => frame(DATA, END_STREAM, id, completion('wrong')),
	headers_on_closed: (id) => frame(HEADERS, END_HEADERS | END_STREAM, id,
	    STATUS_200),
	answer_twice: (id) => whole(id, 'wrong'),
};

function raw(connection)
{
	const socket = connection.socket, how = script.raw;
	let { raw_prime: prime, raw_after: left } = script;
	let bytes = zeros(0), preface = 24;
	const bodies = {}, whole_requests = [];

	if (greetings[how]) {
		const greeting = greetings[how]();
		socket.resume();
		if (greeting)
			socket.write(greeting);
		else
			socket.end();
		return;
	}
	socket.write(frame(SETTINGS, 0, 0, zeros(0)));
	if (how === 'frames') // questions may have 2 GB together
		socket.write(frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff - 65535)));
	const on_request = (id) => {
		const [request, marks] = note(connection, bodies[id]);
		delete bodies[id];
		if (how === 'frames') {
			held.push({ socket, id, marks, request });
			return;
		}
		if (prime > 0) {
			prime--;
			request.ended = 'answered';
			socket.write(whole(id, marks.text));
			return;
		}
		request.ended = 'broken';
		whole_requests.push([id, marks, request]);
		if (--left !== 0)
			return;
		if (after[how]) {
			prime = Infinity;
			for (const [id, marks, request] of whole_requests) {
				request.ended = 'answered';
				socket.write(Buffer.concat([whole(id, marks.text),
					after[how](id)]));
			}
			return;
		}
		const [text, end] = [breaks[how](id)].flat();
		socket.write(text);
		if (of_stream.includes(how)) {
			prime = Infinity;
			for (const [id, marks, request] of whole_requests.slice(0, -1)) {
				request.ended = 'answered';
				socket.write(whole(id, marks.text));
			}
		}
		if (end)
			socket.end();
	};
	socket.on('data', (piece) => {
		bytes = Buffer.concat([bytes, piece]);
		if (preface && bytes.length >= preface) {
			bytes = bytes.subarray(preface);
			preface = 0;
		}
		while (!preface && bytes.length >= 9) {
			const length = bytes.readUIntBE(0, 3);
			if (bytes.length < 9 + length)
				break;
			const [type, flags] = [bytes[3], bytes[4]];
			const id = bytes.readUInt32BE(5);
			const payload = bytes.subarray(9, 9 + length);
			bytes = bytes.subarray(9 + length);
			if (type === SETTINGS && !(flags & ACK))
				socket.write(frame(SETTINGS, ACK, 0, zeros(0)));
			// The client has found the error.
			if (type === GOAWAY && !script.raw_deaf)
				socket.end();
			if (type === DATA)
				bodies[id] = (bodies[id] ?? '') + payload.toString();
			if (type === DATA && flags & END_STREAM)
				on_request(id);
		}
	});
}

// --- answers in frames of any size -----------------------------------------

// A text in which no part is like another one.
function numbers(size)
{
	let text = '';

	for (let i = 0; text.length < size; i++)
		text += String(i).padStart(7, '0');
	return text.substring(0, size);
}

// The same numbers for the same seed (mulberry32).
function dice(seed)
{
	return (from, to) => {
		seed = seed + 0x6d2b79f5 | 0;
		let n = Math.imul(seed ^ seed >>> 15, 1 | seed);
		n = n + Math.imul(n ^ n >>> 7, 61 | n) ^ n;
		return from + ((n ^ n >>> 14) >>> 0) % (to - from + 1);
	};
}

// "1-16384", or one number for both.
function range(text)
{
	const [from, to] = String(text).split('-').map(Number);

	return [from, to ?? from];
}

// Bytes over 16,384 are a frame too large.
function frames_of(id, marks, roll)
{
	const body = completion(numbers(+marks.size));
	const [from, to] = range(marks.frame ?? 16384);
	const frames = [ frame(HEADERS, END_HEADERS, id, STATUS_200) ];

	for (let at = 0; at < body.length;) {
		const end = Math.min(body.length, at + roll(from, to));
		const ends = end === body.length && marks.last !== 'empty';
		frames.push(frame(DATA, ends ? END_STREAM : 0, id,
		    body.subarray(at, end)));
		at = end;
	}
	if (marks.last === 'empty')
		frames.push(frame(DATA, END_STREAM, id, zeros(0)));
	return frames;
}

// Send answers on one connection together:
//	stay    in percent, how often a frame is followed by one of the same stream
//	write   bytes of each write to TLS, as "1-40000"; 0: all at once
//	pause   milliseconds between two writes, as "0-20"
//	seed
async function send_frames(socket, answers, how)
{
	const { stay = 50, write = 0, pause = 0, seed = 1 } = how;
	const roll = dice(seed);
	const queues = answers.map((a) => frames_of(a.id, a.marks, roll));
	const bytes = [];

	for (let q = null; queues.length > 0;) {
		if (!queues.includes(q) || roll(0, 99) >= stay)
			q = queues[roll(0, queues.length - 1)];
		bytes.push(q.shift());
		if (q.length === 0)
			queues.splice(queues.indexOf(q), 1);
	}
	let rest = Buffer.concat(bytes);
	while (rest.length > 0 && !socket.destroyed) {
		const n = write ? roll(...range(write)) : rest.length;
		const sent = new Promise((done) =>
			socket.write(rest.subarray(0, n), done));
		rest = rest.subarray(n);
		await sent;
		if (pause && rest.length > 0)
			await new Promise((done) =>
				setTimeout(done, roll(...range(pause))));
	}
	for (const a of answers)
		a.request.ended = 'answered';
	seen.last_byte = Date.now() / 1000;
}

let held = []; // until `release` is ordered

// --- control ---------------------------------------------------------------

const orders = {
	// As a server does that is about to end.  half: of the streams that are
	// open, the later half is refused.
	goaway: (o) => {
		for (const c of open) {
			const ids = c.ids ?? [];
			if (!c.session || c.session.destroyed)
				continue;
			if (o.half)
				c.session.goaway(0, ids[(ids.length >> 1) - 1]);
			else
				c.session.close();
		}
	},
	// A reset of TCP.
	reset: () => { for (const c of open) (c.tcp ?? c.socket).resetAndDestroy(); },
	// The orderly end of TLS and TCP, without a GOAWAY.
	fin: () => { for (const c of open) c.socket.end(); },
	settings: (o) => {
		for (const c of open)
			if (c.session && !c.session.destroyed)
				c.session.settings(o.settings);
	},
	// Answers in frames, those to questions of which `texts` are the marks.
	release: (o) => {
		const go = held.filter((a) => o.texts.includes(a.marks.text));
		held = held.filter((a) => !go.includes(a));
		for (const socket of new Set(go.map((a) => a.socket)))
			send_frames(socket, go.filter((a) => a.socket === socket), o);
	},
	forget: () => {
		Object.assign(seen, { connections: 0, handshakes: 0, resumed: 0,
			requests: [] });
	},
};

http.createServer((request, response) => collect(request, (body) => {
	const o = body ? JSON.parse(body) : {};

	if (request.url === '/set')
		Object.assign(script, o);
	if (request.url === '/do')
		orders[o.order](o);
	// By then what was ordered is on its way.
	setTimeout(() => response.end(JSON.stringify({ ...seen, open: open.size })),
	    request.url === '/do' ? 50 : 0);
})).listen(args.control, '127.0.0.1');
