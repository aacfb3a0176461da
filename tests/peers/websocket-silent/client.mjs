// A WebSocket that says nothing for a while, then asks for an echo.
//
//   node client.mjs PROXY_URL [--silent-ms 1000] [--deadline-ms 30000]
//
// It answers pings, as every `ws` does by itself. Prints `open` once it is connected. Passes if the
// connection lives through the silence. {"pings":N,"silent_ms":N}
import WebSocket from 'ws';
import { client, expect, sleep, step } from '../peer.mjs';

await client(['PROXY_URL'], { 'silent-ms': { type: 'string', default: '1000' } }, async ({ args, options }) => {
  const socket = new WebSocket(args[0].replace(/^http/, 'ws'));
  let pings = 0;
  socket.on('ping', () => { pings += 1; });
  const closed = new Promise((_, reject) => {
    socket.on('close', (code, reason) => reject(new Error(`closed with ${code} ${reason}`)));
    socket.on('error', reject);
  });
  closed.catch(() => {});
  step('connecting');
  await Promise.race([new Promise((open) => { socket.on('open', open); }), closed]);
  console.log('open');
  const silent = Number(options['silent-ms']);
  step('silent');
  await Promise.race([sleep(silent), closed]);
  step('asking for an echo');
  const answer = new Promise((resolve) => { socket.on('message', resolve); });
  socket.send('still there?');
  const text = String(await Promise.race([answer, closed]));
  expect(text === 'still there?', `the echo is ${text}`);
  step('closing');
  const over = new Promise((resolve) => { socket.on('close', resolve); });
  socket.close(1000);
  await over;
  return { pings, silent_ms: silent };
});
