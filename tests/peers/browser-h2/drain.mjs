// A page has streams and a WebSocket open when the proxy is told to end. The streams run on to
// their end, the WebSocket is told why, and what is new goes elsewhere or nowhere.
//
//   node drain.mjs PROXY_URL --terminate PID [--cert FILE] [--streams 3] [--events 30]
//                  [--successor] [--deadline-ms 30000]
//
// --terminate: the proxy's process, which gets SIGTERM. With --successor another one takes its
// place and answers in the end; without, a request must fail.
//
// {"closed":{…},"streams":[…]}: how the WebSocket was closed, and how many events each stream had.
import { expect, number, sleep, step } from '../peer.mjs';
import { having, visit } from './visit.mjs';

const options = {
  terminate: { type: 'string' },
  streams: { type: 'string', default: '3' },
  events: { type: 'string', default: '30' },
  successor: { type: 'boolean', default: false },
};

await visit(options, async ({ page, options }) => {
  const streams = number(options, 'streams');
  const events = number(options, 'events');
  await page.evaluate(() => peer.socket());
  await page.evaluate(([streams, query]) => peer.open(streams, query), [streams, `?count=${events}`]);
  await having(page, streams, 2);
  step('terminating the proxy');
  process.kill(number(options, 'terminate'), 'SIGTERM');
  await page.waitForFunction(() => peer.sockets[0].closed);
  const closed = await page.evaluate(() => peer.sockets[0].closed);

  step(options.successor ? 'waiting for the successor' : 'waiting for a request in vain');
  const answers = () => peer.facts().then(() => true, () => false);
  // Until the client has heard of the end, its requests are answered.
  while ((await page.evaluate(answers)) !== options.successor) await sleep(50);
  const early = await page.evaluate(() => peer.seen());
  const open = early.filter(({ state }) => state === 1).length;
  expect(open === streams, `${open} of ${streams} streams are open after the signal`);

  await having(page, streams, events);
  step('waiting for the end of the streams');
  await page.waitForFunction(() => peer.seen().every(({ state }) => state !== EventSource.OPEN));
  const seen = await page.evaluate(() => peer.seen());
  return { closed, streams: seen.map(({ numbers }) => numbers.length) };
});
