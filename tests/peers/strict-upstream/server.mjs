// Node's HTTP server (llhttp, strict), which tells what it understood: of whatever comes out of a
// proxy, and whatever went in.
//
//   node server.mjs [--port 0]
//
// {"event":"request",…}  a request came to its end: `method`, `target`, `fields` as
//                        [[name, value]…], `body` as text (latin1), `trailers` as the fields
// {"event":"cut",…}      a request did not: `target`
// {"event":"bad",…}      what came is no request: `code`
import http from 'node:http';
import { event, serve, serverOptions } from '../peer.mjs';

const options = serverOptions();

const pairs = (raw) => raw.flatMap((name, at) => (at % 2 ? [] : [[name, raw[at + 1]]]));

const server = http.createServer({ insecureHTTPParser: false }, (req, res) => {
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    event('request', {
      method: req.method,
      target: req.url,
      fields: pairs(req.rawHeaders),
      body: Buffer.concat(parts).toString('latin1'),
      trailers: pairs(req.rawTrailers),
    });
    res.end('ok');
  });
  req.on('close', () => {
    if (!req.complete) event('cut', { target: req.url });
  });
});
server.on('clientError', (error, socket) => {
  // A connection that ends in a body is told by `cut`.
  if (error.code !== 'ECONNRESET' && error.code !== 'HPE_INVALID_EOF_STATE') {
    event('bad', { code: error.code });
  }
  socket.destroy();
});

serve(server, options.port);
