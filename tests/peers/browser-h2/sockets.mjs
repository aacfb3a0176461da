// A page that came over HTTP/2 opens WebSockets: it sends and gets large messages, is silent while
// it is pinged, closes, is closed, and is told when the server behind the proxy dies.
//
//   node sockets.mjs PROXY_URL [--cert FILE] [--bytes 1048576] [--silent-ms 1000]
//                    [--deadline-ms 30000]
//
// {"extensions":…,"statuses":[…],"closed":{…},"died":[{…},{…}],"after":…}: what the first WebSocket
// agreed on; the status of each handshake; what the page heard when the server closed one, and of
// two whose server was killed; the status of a request afterwards.
import { expect, number, sleep, step } from '../peer.mjs';
import { visit } from './visit.mjs';

const options = {
  bytes: { type: 'string', default: String(1024 * 1024) },
  'silent-ms': { type: 'string', default: '1000' },
};

await visit(options, async ({ page, options }) => {
  // 101 over HTTP/1.1, 200 over HTTP/2.
  const statuses = [];
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Network.enable');
  devtools.on('Network.webSocketHandshakeResponseReceived', ({ response }) => {
    statuses.push(response.status);
  });

  step('sending large messages');
  const first = await open(page);
  const extensions = await page.evaluate((at) => peer.sockets[at].socket.extensions, first);
  const bytes = number(options, 'bytes');
  const same = await page.evaluate(([at, bytes]) => peer.large(at, bytes), [first, bytes]);
  expect(same.echoed && same.sent, `large messages came changed: ${JSON.stringify(same)}`);

  step('being silent'); // a silence of that length is what is to be seen, not waited for
  await sleep(number(options, 'silent-ms'));
  const echo = await page.evaluate((at) => peer.exchange(at, 'still here'), first);
  expect(echo === 'still here', `after the silence comes ${echo}`);

  step('closing');
  await page.evaluate((at) => peer.sockets[at].socket.close(4001, 'enough'), first);
  const own = await ended(page, first);
  expect(own.code === 4001 && own.wasClean, `the page's own close: ${JSON.stringify(own)}`);

  step('being closed');
  const second = await open(page);
  await page.evaluate((at) => peer.sockets[at].socket.send('!close 4002 go away'), second);
  const closed = await ended(page, second);

  step('losing the server');
  const lost = [await open(page), await open(page)];
  await page.evaluate((at) => peer.sockets[at].socket.send('!die'), lost[0]);
  const died = [await ended(page, lost[0]), await ended(page, lost[1])];
  const after = await page.evaluate(async () => (await fetch('/facts')).status);
  return { extensions, statuses, closed, died, after };
});

function open(page) {
  return page.evaluate(() => peer.socket());
}

/** How a WebSocket was closed, once it is. */
async function ended(page, at) {
  await page.waitForFunction((at) => peer.sockets[at].closed, at);
  return page.evaluate((at) => peer.sockets[at].closed, at);
}
