// A page in Chromium lives on while the instance of the proxy that it talks to drains, and another
// one takes over behind the same address.
//
//   node two-instances/browser.mjs BALANCER_URL [--cert FILE] [--deadline-ms 30000]
//
// Behind two-instances/server.mjs. Prints what the page saw, see `live`.
import { launch } from '../chromium.mjs';
import { client, step } from '../peer.mjs';

await client(['BALANCER_URL'], { cert: { type: 'string' } }, async ({ args: [url], options }) => {
  step('starting Chromium');
  const browser = await launch({ certificate: options.cert });
  const page = await browser.newPage();
  await page.goto(new URL('/', url).href);
  step('waiting until all of the page lives with another instance');
  const seen = await page.evaluate(live);
  const protocol = await page.evaluate(
    () => performance.getEntriesByType('navigation')[0].nextHopProtocol,
  );
  await browser.close();
  return { ...seen, protocol };
});

/**
 * An EventSource, a WebSocket that comes back when it is told to go, and a request every 100 ms,
 * until the first two have been served by a second instance for a while.
 * ids: of all events; errors: how often onerror was called; events_back_ms: from the first of them
 * until it was open again; closes: of the WebSocket; socket_back_ms: until it was open again;
 * requests, failed; events_from, socket_from: the instances, in their order.
 */
function live() {
  const seen = {
    ids: [], errors: 0, events_back_ms: null, closes: [], socket_back_ms: null, requests: 0,
    failed: [], events_from: [], socket_from: [],
  };
  const note = (list, instance) => {
    if (list.at(-1) !== instance) list.push(instance);
  };
  return new Promise((resolve, reject) => {
    let [afterwards, echoed] = [0, 0];
    const done = () => {
      if (afterwards < 10 || echoed < 10) return;
      clearInterval(asking);
      resolve(seen);
    };

    const source = new EventSource('/events');
    let lost = null;
    source.onerror = () => {
      seen.errors += 1;
      lost ??= performance.now();
      if (source.readyState === 2) reject(new Error('EventSource gave up'));
    };
    source.onopen = () => {
      if (lost !== null) seen.events_back_ms ??= performance.now() - lost;
    };
    source.onmessage = ({ data, lastEventId }) => {
      seen.ids.push(Number(lastEventId));
      note(seen.events_from, JSON.parse(data).instance);
      if (seen.events_from.length > 1) afterwards += 1;
      done();
    };

    // At 1001 (RFC 6455, section 7.4.1: "going away") it comes back at once, so to speak: all pages
    // would, and a moment of its own for each costs nobody anything.
    let closed = null;
    const connect = () => {
      const socket = new WebSocket(new URL('/echo', location.href.replace('http', 'ws')));
      socket.onopen = () => {
        if (closed !== null) seen.socket_back_ms ??= performance.now() - closed;
        socket.send('beat');
      };
      socket.onmessage = ({ data }) => {
        if (data !== 'beat') return note(seen.socket_from, JSON.parse(data).instance);
        if (seen.socket_from.length > 1) echoed += 1;
        setTimeout(() => socket.send('beat'), 100);
        return done();
      };
      socket.onclose = ({ code, reason, wasClean }) => {
        seen.closes.push({ code, reason, wasClean });
        closed ??= performance.now();
        setTimeout(connect, code === 1001 ? 100 * Math.random() : 1000);
      };
    };
    connect();

    const asking = setInterval(async () => {
      seen.requests += 1;
      try {
        const { status } = await fetch('/short');
        if (status !== 200) seen.failed.push(status);
      } catch (error) {
        seen.failed.push(error.message);
      }
    }, 100);
  });
}
