// A page with open, silent streams and a WebSocket is reloaded, then left for another one.
//
//   node leave.mjs PROXY_URL [--cert FILE] [--streams 20] [--deadline-ms 30000]
//
// {"reloaded_ms":…,"left_ms":…}: the wall clock just before each.
import { number, step } from '../peer.mjs';
import { having, load, visit } from './visit.mjs';

await visit({ streams: { type: 'string', default: '20' } }, async ({ page, options, url }) => {
  const streams = number(options, 'streams');
  const fill = async () => {
    await page.evaluate((streams) => peer.open(streams, '?gap_ms=60000'), streams);
    await page.evaluate(() => peer.socket());
    await having(page, streams, 1);
  };
  await fill();
  const reloaded = Date.now();
  await load(page, () => page.reload());
  await fill();
  step('leaving');
  const left = Date.now();
  await page.goto(new URL('/facts', url).href);
  return { reloaded_ms: reloaded, left_ms: left };
});
