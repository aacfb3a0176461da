// A chat room with nodejs-websocket, as its own README has it: each text goes to every connection,
// and it listens for 'text', 'close' and 'error'. It proves that a plain broadcast server works
// behind the proxy, and that it hears of each page that left.
//
//   node server.mjs [--port 0]
//
// The page is served on a port of its own, since nodejs-websocket does no HTTP. Who leaves is told
// to those who stay, as the text {"left":NAME,…}. The text "die" ends it as a crash does: SIGKILL.
//
// {"event":"page","port":…}          where the page is: `/` and `/page.mjs`
// {"event":"connection",…}           `connection` counts from 1, `path` is what was asked for
// {"event":"text",…}, {"event":"close",…}, {"event":"error",…}  of one connection
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import websocket from 'nodejs-websocket';
import { event, serve, serverOptions } from '../peer.mjs';

const HERE = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const FILES = { '/': ['page.html', 'text/html'], '/page.mjs': ['page.mjs', 'text/javascript'] };

const options = serverOptions();
let connections = 0;

const room = websocket.createServer((connection) => {
  const number = (connections += 1);
  const name = new URL(connection.path, 'http://room').searchParams.get('name');
  event('connection', { connection: number, path: connection.path });
  connection.on('text', (text) => {
    event('text', { connection: number, length: text.length });
    if (text === 'die') process.kill(process.pid, 'SIGKILL');
    broadcast(text);
  });
  connection.on('close', (code, reason) => {
    event('close', { connection: number, name, code, reason });
    broadcast(JSON.stringify({ left: name, code }));
  });
  connection.on('error', (error) => {
    event('error', { connection: number, name, code: error.code, message: error.message });
  });
});

function broadcast(text) {
  for (const connection of room.connections) {
    if (connection.readyState === connection.OPEN) connection.sendText(text);
  }
}

const pages = http.createServer(async (req, res) => {
  const [file, type] = FILES[new URL(req.url, 'http://room').pathname] ?? [];
  if (!file) return res.writeHead(404).end();
  const fields = { 'Content-Type': `${type}; charset=utf-8` };
  return res.writeHead(200, fields).end(await readFile(path.join(HERE, file)));
});

pages.listen(0, '127.0.0.1', () => {
  serve(room.socket, options.port);
  room.socket.once('listening', () => event('page', { port: pages.address().port }));
});
