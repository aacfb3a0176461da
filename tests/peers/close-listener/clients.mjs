// Opens N streams, waits until each had its first event, destroys all at once and says when.
// The test compares that moment with the `close` lines of server.mjs.
//
//   node clients.mjs PROXY_URL N [--deadline-ms 30000]
//
// {"streams":N,"destroyed_ms":…,"first_event_ms":{"min":…,"max":…}}
// `destroyed_ms` is the wall clock just before the first destroy.
import http from 'node:http';
import { client, expect, step } from '../peer.mjs';

await client(['PROXY_URL', 'N'], {}, async ({ args: [url, count] }) => {
  const streams = Number(count);
  expect(Number.isInteger(streams) && streams > 0, `N: expected a number from 1, found ${count}`);

  step(`waiting for the first event of ${streams} streams`);
  const opened = await Promise.all(Array.from({ length: streams }, () => open(url)));
  const waits = opened.map((stream) => stream.firstEventMs);

  step('destroying them');
  const destroyed = Date.now();
  for (const { request } of opened) request.destroy();
  await Promise.all(opened.map((stream) => stream.closed));

  const first = { min: Math.min(...waits), max: Math.max(...waits) };
  return { streams, destroyed_ms: destroyed, first_event_ms: first };
});

/** A stream on a connection of its own, once its first event is complete. */
function open(url) {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const request = http.get(url, { agent: false, headers: { Accept: 'text/event-stream' } });
    request.on('error', reject);
    request.on('response', (response) => {
      const type = response.headers['content-type'];
      if (response.statusCode !== 200 || !type?.startsWith('text/event-stream')) {
        reject(new Error(`expected a stream of events, found ${response.statusCode} ${type}`));
      }
      const closed = new Promise((done) => response.on('close', done));
      let text = '';
      response.setEncoding('utf8');
      response.on('error', () => {}); // our own destroy
      response.on('end', () => reject(new Error(`the stream ended: ${JSON.stringify(text)}`)));
      response.on('data', (chunk) => {
        text += chunk;
        if (!/^data: .*\n\n/m.test(text)) return;
        resolve({ request, closed, firstEventMs: Math.round(performance.now() - start) });
      });
    });
  });
}
