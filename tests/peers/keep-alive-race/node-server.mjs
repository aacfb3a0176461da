// Node's `http` server with its own idea of how long a connection may be idle: the same paths,
// counts and events as uvicorn-server.py.
//
//   node node-server.mjs [--port 0] [--keep-alive-ms MS]
//
// Without --keep-alive-ms it is Node's own default, 5 seconds (newer versions add up to one).
import http from 'node:http';
import { event, number, serve, serverOptions, sleep } from '../peer.mjs';

const THINKS_MS = 5; // so that requests which are sent together are open together

const options = serverOptions({ 'keep-alive-ms': { type: 'string' } });
const seen = new Map();
let whole = 0;

const server = http.createServer(async (request, response) => {
  if (request.url === '/counts') return answer(response, counts());
  const which = Number(request.headers['x-number']);
  seen.set(which, (seen.get(which) ?? 0) + 1);
  const port = request.socket.remotePort;
  let bytes = 0;
  try {
    for await (const chunk of request) bytes += chunk.length;
  } catch {
    return; // the other side left before its end
  }
  whole += 1;
  if (request.url.startsWith('/hold')) return event('request', { number: which, bytes });
  await sleep(THINKS_MS);
  answer(response, { number: which, port, bytes });
});

function counts() {
  const times = [...seen.values()];
  const requests = times.reduce((sum, count) => sum + count, 0);
  const twice = [...seen].filter(([, count]) => count > 1).map(([which]) => which);
  return { requests, numbers: seen.size, twice: twice.slice(0, 20), partial: requests - whole };
}

function answer(response, facts) {
  const body = JSON.stringify(facts);
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.end(body);
}

if (options['keep-alive-ms'] !== undefined) {
  server.keepAliveTimeout = number(options, 'keep-alive-ms');
}
serve(server, options.port);
