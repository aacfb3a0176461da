// Chromium's EventSource is told by a proxy that goes away when to come back.
//
//   node farewell/browser.mjs PROXY_URL [--cert FILE] [--deadline-ms 30000]
//
// Behind browser-h2/server.mjs. Prints what watch.mjs says, and the protocol.
import { launch } from '../chromium.mjs';
import { client, step } from '../peer.mjs';
import { watch } from './watch.mjs';

await client(['PROXY_URL'], { cert: { type: 'string' } }, async ({ args: [url], options }) => {
  step('starting Chromium');
  const browser = await launch({ certificate: options.cert });
  const page = await browser.newPage();
  await page.goto(new URL('/facts', url).href);
  step('watching the stream');
  const seen = await page.evaluate(`(${watch})(EventSource, '/events')`);
  const protocol = await page.evaluate(
    () => performance.getEntriesByType('navigation')[0].nextHopProtocol,
  );
  await browser.close();
  return { ...seen, protocol };
});
