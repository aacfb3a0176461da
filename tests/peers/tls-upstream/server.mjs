// An upstream with TLS, HTTP/2 or both, that tells what it was asked and over what.
//
//   node server.mjs [--port 0] [--cert FILE --key FILE] [--http2]
//
// With a certificate it speaks TLS. With --http2 also HTTP/2: by ALPN with TLS, else by prior
// knowledge and nothing else.
//
//   GET  /         {"version":"1.1"|"2.0","sni":…,"host":…,"port":…}, `port` is the other end's
//   POST /         the same with "bytes"
//   GET  /sse      three events, 100 ms apart
//
// {"event":"connection",…}  a connection was made; `alpn` of TLS
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { event, serve, serverOptions, sleep } from '../peer.mjs';

const options = serverOptions({
  cert: { type: 'string' },
  key: { type: 'string' },
  http2: { type: 'boolean', default: false },
});

async function answer(request, response) {
  let bytes = 0;
  for await (const piece of request) bytes += piece.length;
  if (request.url === '/sse') return stream(response);
  const socket = request.stream?.session?.socket ?? request.socket;
  const facts = {
    version: request.httpVersion,
    sni: socket.servername || null,
    host: request.authority ?? request.headers.host,
    port: socket.remotePort,
    bytes,
  };
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(facts));
}

async function stream(response) {
  response.setHeader('Content-Type', 'text/event-stream');
  for (let count = 0; count < 3; count += 1) {
    if (count) await sleep(100);
    response.write(`data: ${count}\n\n`);
  }
  response.end();
}

function create() {
  if (!options.cert) return (options.http2 ? http2 : http).createServer(answer);
  const pair = { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) };
  if (!options.http2) return https.createServer(pair, answer);
  return http2.createSecureServer({ ...pair, allowHTTP1: true }, answer);
}

const server = create();
server.on(options.cert ? 'secureConnection' : 'connection', (socket) => {
  event('connection', { alpn: socket.alpnProtocol || null });
});
serve(server, options.port);
