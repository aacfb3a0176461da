// An echo server with npm `ws`: the first of the two ends that conformance.py plays its cases to.
//
//   node echo-ws.mjs [--port 0]
//
// Each message is answered with itself, of the same kind. A text that begins with `!` is a command:
//   !close CODE REASON   begins the closing handshake; without CODE an empty close frame
//   !ping TEXT           pings; when the pong comes, it says so with the text `pong TEXT`
//   !send LENGTH         a binary message of that many bytes
//   !fragments TEXT…     one text message, each word a frame
//   !die                 cuts the connection
// Messages end at 16 MiB. permessage-deflate is accepted when offered, the subprotocol `second` or
// else the first. A request without `Upgrade` is answered with 200.
//
// {"event":"close","play":…,"code":…,"reason":…}   `play` is the query of the handshake
import http from 'node:http';
import { WebSocketServer } from 'ws';
import { event, serve, serverOptions } from '../peer.mjs';

const options = serverOptions();
const server = http.createServer((req, res) => res.end('no handshake\n'));
const sockets = new WebSocketServer({
  server,
  maxPayload: 16 * 1024 * 1024,
  perMessageDeflate: { threshold: 0, zlibDeflateOptions: { level: 6 } },
  handleProtocols: (offered) => (offered.has('second') ? 'second' : [...offered][0]),
});

sockets.on('connection', (socket, req) => {
  const play = new URL(req.url, 'http://echo').search.slice(1);
  socket.on('error', () => {}); // 'close' follows
  socket.on('close', (code, reason) => event('close', { play, code, reason: reason.toString() }));
  socket.on('message', (data, isBinary) => {
    if (!isBinary && data[0] === 0x21) command(socket, data.toString());
    else socket.send(data, { binary: isBinary });
  });
});

function command(socket, text) {
  const [name, ...rest] = text.split(' ');
  if (name === '!close') {
    const [code, ...reason] = rest;
    if (code) socket.close(Number(code), reason.join(' '));
    else socket.close();
  } else if (name === '!ping') {
    socket.once('pong', (data) => socket.send(`pong ${data}`));
    socket.ping(rest.join(' '));
  } else if (name === '!send') {
    socket.send(Buffer.alloc(Number(rest[0]), 'longwire'));
  } else if (name === '!fragments') {
    for (const [index, word] of rest.entries()) {
      socket.send(word, { fin: index === rest.length - 1 });
    }
  } else if (name === '!die') {
    socket.terminate();
  }
}

serve(server, options.port);
