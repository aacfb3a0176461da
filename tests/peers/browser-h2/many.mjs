// A page opens many EventSources to one host and closes all of them at once, as when its tab is
// left; then it opens as many again, which are silent, and closes them, too. It tells how many ran,
// how late their events came, and when they were closed.
//
//   node many.mjs PROXY_URL [--cert FILE] [--streams 50] [--running 50] [--events 10]
//                 [--gap-ms 200] [--deadline-ms 45000]
//
// --running: so many streams are to have all events, and the others none.
//
// {"states":{…},"delays":{"median_ms":…,"latest_ms":…},"closed_ms":[…,…],"protocols":{…}}
// `states` counts how many are connecting, open and closed; `closed_ms` is the wall clock just
// before the first close, for both times.
import { expect, number, step } from '../peer.mjs';
import { having, visit } from './visit.mjs';

/** Nothing is written that would fail: only who watches its client sees it leave. */
const SILENT = '?gap_ms=60000';

const STATES = ['connecting', 'open', 'closed'];

const options = {
  streams: { type: 'string', default: '50' },
  running: { type: 'string', default: '50' },
  events: { type: 'string', default: '10' },
  'gap-ms': { type: 'string', default: '200' },
  'deadline-ms': { type: 'string', default: '45000' },
};

await visit(options, async ({ page, options }) => {
  const [streams, running, events, gap] = ['streams', 'running', 'events', 'gap-ms'].map((name) =>
    number(options, name),
  );
  await page.evaluate(([streams, gap]) => peer.open(streams, `?gap_ms=${gap}`), [streams, gap]);
  await having(page, running, events);
  const seen = await page.evaluate(() => peer.seen());
  step('closing all at once');
  const closed = [await page.evaluate(() => peer.close())];

  const ran = seen.filter(({ numbers }) => numbers.length > 0);
  expect(ran.length === running, `${ran.length} of ${streams} streams have events`);
  for (const { opens, errors, numbers } of ran) {
    expect(opens === 1 && errors === 0, `a stream had ${opens} opens, ${errors} errors`);
    const whole = numbers.every((number, index) => number === index);
    expect(whole, `a stream had the events ${numbers.join(' ')}`);
  }

  step('asking once more');
  await page.evaluate(() => peer.facts());
  await page.evaluate(([running, silent]) => peer.open(running, silent), [running, SILENT]);
  await having(page, running, 1);
  closed.push(await page.evaluate(() => peer.close()));
  const protocols = await page.evaluate(() => peer.protocols());
  return { states: count(seen), delays: delays(ran), closed_ms: closed, protocols };
});

function count(seen) {
  const counted = STATES.map((name, state) => [name, seen.filter((one) => one.state === state)]);
  return Object.fromEntries(counted.map(([name, those]) => [name, those.length]));
}

function delays(ran) {
  const sorted = ran.flatMap(({ delays }) => delays).sort((a, b) => a - b);
  return { median_ms: sorted[Math.floor(sorted.length / 2)], latest_ms: sorted.at(-1) };
}
