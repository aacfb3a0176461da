// What two instances of a proxy stand in front of: a page, a feed that is the same for everybody, a
// WebSocket that echoes. It tells each time which instance asked, by its X-Instance.
//
//   node server.mjs [--port 0]
//
//   GET  /         an empty page
//   GET  /short    {"instance":…}
//   GET  /events   the feed: every 100 ms an event with its `id` and {"instance":…}; a client that
//                  comes with Last-Event-ID gets what it has missed, any other what is new
//   GET  /echo     with a handshake, a WebSocket that says {"instance":…} and echoes
import http from 'node:http';
import { WebSocketServer } from 'ws';
import { serve, serverOptions } from '../peer.mjs';

const options = serverOptions();
const readers = new Set();
let newest = 0;

setInterval(() => {
  newest += 1;
  for (const tell of readers) tell(newest);
}, 100);

const instance = (req) => JSON.stringify({ instance: req.headers['x-instance'] });

const server = http.createServer((req, res) => {
  if (req.url === '/events') return feed(req, res);
  const [type, body] = {
    '/': ['text/html', '<!doctype html><link rel="icon" href="data:,"><title>a feed</title>'],
    '/short': ['application/json', instance(req)],
  }[req.url] ?? [];
  if (!type) return res.writeHead(404).end();
  return res.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(body);
});

function feed(req, res) {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  const tell = (id) => res.write(`id: ${id}\ndata: ${instance(req)}\n\n`);
  const last = Number(req.headers['last-event-id'] ?? newest);
  for (let id = last + 1; id <= newest; id += 1) tell(id);
  readers.add(tell);
  res.on('close', () => readers.delete(tell));
}

new WebSocketServer({ server, path: '/echo' }).on('connection', (socket, req) => {
  socket.on('error', () => {}); // 'close' follows
  socket.on('message', (data, binary) => socket.send(data, { binary }));
  socket.send(instance(req));
});
serve(server, options.port);
