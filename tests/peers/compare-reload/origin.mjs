// What the proxies of compare.py stand in front of: numbered events, an echo, short answers.
//
//   node origin.mjs [--port 0] [--gap-ms 100]
//
//   GET /events   an event each `gap-ms` until the client leaves
//   GET /echo     with a handshake, a WebSocket that answers each message with itself
//   GET /short    {"name":"Longwire"}
import http from 'node:http';
import { WebSocketServer } from 'ws';
import { number, serve, serverOptions } from '../peer.mjs';

const options = serverOptions({ 'gap-ms': { type: 'string', default: '100' } });
const gap = number(options, 'gap-ms');

// Longer than anything is measured: an idle connection that the origin closes is another story.
const server = http.createServer({ keepAliveTimeout: 120_000 }, (req, res) => {
  if (req.url !== '/events') {
    res.writeHead(200, { 'Content-Type': 'application/json' });
    res.end('{"name":"Longwire"}');
    return;
  }
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  let sent = 0;
  const timer = setInterval(() => res.write(`data: ${(sent += 1)}\n\n`), gap);
  res.on('close', () => clearInterval(timer));
});
new WebSocketServer({ server, path: '/echo' }).on('connection', (socket) => {
  socket.on('error', () => {}); // it ends, and that is all
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
serve(server, options.port);
