// The chat backend behind the proxy: it serves the page and the streams that the page reads.
//
//   node backend.mjs [--port 0] [--delta-ms 100] [--gap-ms 1500] [--lump]
//
//   GET  /               the page; its library comes from node_modules as it was published
//   POST /api/chat       OpenAI-like deltas, two of them after a gap; `stream: false`: all at once
//   GET  /api/time       an event each --delta-ms without end, the fourth after a gap
//
// Each event holds the moment of its sending, so that the page can tell how long it took.
// --lump holds each stream back for three seconds, as a buffering proxy does: browser.mjs must
// then fail.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { event, number, serve, serverOptions, sleep } from '../peer.mjs';
import { ANSWER, GAPS_AFTER } from './answer.mjs';

const HERE = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const LIBRARY = '/node_modules/@microsoft/fetch-event-source/lib/esm/';

const options = serverOptions({
  'delta-ms': { type: 'string', default: '100' },
  'gap-ms': { type: 'string', default: '1500' },
  lump: { type: 'boolean', default: false },
});
const delta = number(options, 'delta-ms');
const gap = number(options, 'gap-ms');

const server = http.createServer(async (req, res) => {
  const { pathname } = new URL(req.url, 'http://backend');
  event('request', { method: req.method, path: pathname });
  if (pathname === '/') return file(res, path.join(HERE, 'page.html'), 'text/html');
  if (pathname === '/page.mjs') return file(res, path.join(HERE, 'page.mjs'), 'text/javascript');
  if (pathname.startsWith(LIBRARY)) {
    // The published modules import each other without extension.
    const name = path.basename(pathname, '.js') + '.js';
    return file(res, path.join(HERE, '..', LIBRARY, name), 'text/javascript');
  }
  if (pathname === '/api/chat' && req.method === 'POST') return chat(req, res);
  if (pathname === '/api/time') return time(res);
  return res.writeHead(404).end();
});

async function file(res, name, type) {
  try {
    res.writeHead(200, { 'Content-Type': `${type}; charset=utf-8` }).end(await readFile(name));
  } catch (error) {
    res.writeHead(404).end(error.code);
  }
}

async function chat(req, res) {
  let body = '';
  for await (const chunk of req) body += chunk;
  const { messages, stream = true } = JSON.parse(body);
  if (!Array.isArray(messages)) return res.writeHead(400).end('messages are missing');
  if (!stream) {
    const answer = { content: ANSWER.join(''), deltas: ANSWER.length };
    return res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
  }
  const write = stream_of(res);
  for (const [index, content] of ANSWER.entries()) {
    await sleep(GAPS_AFTER.includes(index) ? gap : delta);
    write(JSON.stringify({ choices: [{ index: 0, delta: { content } }], sent_ms: Date.now() }));
  }
  write('[DONE]');
  res.end();
}

async function time(res) {
  const write = stream_of(res);
  for (let number = 0; !res.destroyed; number += 1) {
    await sleep(number === 3 ? gap : delta);
    write(JSON.stringify({ number, sent_ms: Date.now() }));
  }
}

/** Begins an event stream and returns what writes an event to it. */
function stream_of(res) {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  if (!options.lump) {
    res.flushHeaders();
  } else {
    res.cork();
    setTimeout(() => res.uncork(), 3000);
  }
  return (data) => res.write(`data: ${data}\n\n`);
}

serve(server, options.port);
