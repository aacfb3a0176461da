// The backend of a page that lives on one connection: it serves the page, event streams, and a
// WebSocket that echoes, all of it over HTTP/1.1, and tells how each request reached it.
//
//   node server.mjs [--port 0]
//
//   GET  /                 the page; its library comes from node_modules as it was published
//   GET  /facts            what it was asked: {"version":…,"via":…,"proto":…,"host":…}
//   GET  /events           an event each `gap_ms` (100) with its number and the moment of its
//                          sending; after `count` of them, if that is given, the stream ends
//   POST /chat             the same, ten events and [DONE]
//   GET  /echo             with a handshake, a WebSocket that answers each message with itself
//
// A text that begins with `!` is a command to the WebSocket: `!close CODE REASON`, `!send LENGTH`
// (a binary message), `!die` (ends the whole server, as a crash does).
//
// {"event":"open","stream":…,"path":…}   a stream begins; `stream` counts from 1
// {"event":"close","stream":…}           its client has left, or it has ended
// {"event":"handshake",…}                method, version, via, proto, extensions of a WebSocket
// {"event":"socket-close",…}             its code, its reason, how many pings came before
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { WebSocketServer } from 'ws';
import { event, serve, serverOptions, sleep } from '../peer.mjs';

const HERE = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const LIBRARY = '/node_modules/@microsoft/fetch-event-source/lib/esm/';
const FILES = { '/': ['page.html', 'text/html'], '/page.mjs': ['page.mjs', 'text/javascript'] };

const options = serverOptions();
let streams = 0;

const server = http.createServer(async (req, res) => {
  const { pathname, searchParams } = new URL(req.url, 'http://backend');
  if (pathname === '/facts') return json(res, asked(req));
  if (pathname === '/events') {
    const count = Number(searchParams.get('count') ?? Infinity);
    return stream(req, res, Number(searchParams.get('gap_ms') ?? 100), count, '');
  }
  if (pathname === '/chat' && req.method === 'POST') {
    req.resume();
    return stream(req, res, 50, 10, 'data: [DONE]\n\n');
  }
  if (pathname.startsWith(LIBRARY)) {
    // The published modules import each other without extension.
    const name = path.basename(pathname, '.js') + '.js';
    return file(res, path.join(HERE, '..', LIBRARY, name), 'text/javascript');
  }
  const [name, type] = FILES[pathname] ?? [];
  if (name) return file(res, path.join(HERE, name), type);
  return res.writeHead(404).end();
});

/** How a request reached us. */
function asked(req) {
  const { via, host, 'x-forwarded-proto': proto } = req.headers;
  return { method: req.method, version: req.httpVersion, via, proto, host };
}

function json(res, value) {
  res.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  res.end(JSON.stringify(value));
}

async function file(res, name, type) {
  try {
    res.writeHead(200, { 'Content-Type': `${type}; charset=utf-8` }).end(await readFile(name));
  } catch (error) {
    res.writeHead(404).end(error.code);
  }
}

async function stream(req, res, gap, count, last) {
  const number = (streams += 1);
  event('open', { stream: number, path: req.url });
  res.on('close', () => event('close', { stream: number, complete: res.writableFinished }));
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  for (let sent = 0; sent < count && !res.destroyed; sent += 1) {
    res.write(`data: ${JSON.stringify({ number: sent, sent_ms: Date.now() })}\n\n`);
    await sleep(gap);
  }
  if (!res.destroyed) res.end(last);
}

const sockets = new WebSocketServer({
  server,
  path: '/echo',
  perMessageDeflate: { threshold: 0 },
});
sockets.on('connection', (socket, req) => {
  let pings = 0;
  event('handshake', { ...asked(req), extensions: socket.extensions });
  socket.on('ping', () => (pings += 1));
  socket.on('error', () => {}); // 'close' follows
  socket.on('close', (code, reason) => {
    event('socket-close', { code, reason: reason.toString(), pings });
  });
  socket.on('message', (data, isBinary) => {
    if (!isBinary && data[0] === 0x21) command(socket, data.toString());
    else socket.send(data, { binary: isBinary });
  });
});

function command(socket, text) {
  const [name, value, ...rest] = text.split(' ');
  if (name === '!close') socket.close(Number(value), rest.join(' '));
  else if (name === '!send') socket.send(Buffer.alloc(Number(value), 'longwire'));
  else if (name === '!die') process.kill(process.pid, 'SIGKILL');
}

serve(server, options.port);
