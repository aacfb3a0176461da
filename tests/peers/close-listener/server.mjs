// The Node server that most teams build first: SSE with `Connection: keep-alive` and CORS fields
// of its own, the time written each second, and a close listener that stops the work. It proves
// that a client that left is seen by the server: it prints when each stream opened and closed.
//
//   node server.mjs [--port 0] [--interval-ms 1000] [--silent]
//
// With --silent it never answers at all, as a model that reads a long prompt.
//
// {"event":"open",…}          a request came in; `stream` counts from 1
// {"event":"close",…}         req.on('close') fired; `sent` events were written; once per stream
// {"event":"socket-close",…}  the listener on the connection beneath it fired
import http from 'node:http';
import { event, number, serve, serverOptions } from '../peer.mjs';

const options = serverOptions({
  'interval-ms': { type: 'string', default: '1000' },
  silent: { type: 'boolean', default: false },
});
const interval = number(options, 'interval-ms');
let streams = 0;

const server = http.createServer((req, res) => {
  const stream = (streams += 1);
  let sent = 0;
  event('open', { stream, path: req.url });

  let timer;
  if (!options.silent) {
    res.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache',
      Connection: 'keep-alive',
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Allow-Headers': 'Content-Type, Last-Event-ID',
    });
    timer = setInterval(() => {
      res.write(`data: ${new Date().toISOString()}\n\n`);
      sent += 1;
    }, interval);
  }

  req.on('close', () => {
    clearInterval(timer);
    event('close', { stream, sent });
  });
  req.socket.once('close', () => event('socket-close', { stream }));
});

serve(server, options.port);
