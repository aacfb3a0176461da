// How long the dashboard takes to show what was asked of it, in front of a proxy with many streams:
// from the click or the key to the frame that shows it.
//
//   node pace.mjs ADMIN_URL [--rounds 9]
//
// {"sort_ms":…,"filter_ms":…,"open_ms":…,"second_ms":…,"longest_ms":…,"rows":…}: medians of an order,
// of a letter in the filter, of a stream's view, and of drawing what is new each second; the longest
// of all; and the rows that are drawn.
import { number, step } from '../peer.mjs';
import { dashboard } from './page.mjs';

await dashboard(['ADMIN_URL'], { rounds: { type: 'string', default: '9' } }, async ({ args: [url], options, open }) => {
  const page = await open(url);
  const rounds = number(options, 'rounds');
  await page.locator('#rows tr').first().waitFor();
  step('measuring');
  const measured = await page.evaluate(async (rounds) => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const time = async (act) => {
      await frame();
      const began = performance.now();
      act();
      await frame();
      return performance.now() - began;
    };
    const median = (times) => times.toSorted((a, b) => a - b)[times.length >> 1];
    const types = (text) => {
      const filter = document.querySelector('#filter');
      filter.value = text;
      filter.dispatchEvent(new Event('input'));
    };
    const times = { sort: [], filter: [], open: [], second: [] };
    for (let round = 0; round < rounds; round += 1) {
      times.sort.push(await time(() => document.querySelector('#heads .c-out button').click()));
      times.filter.push(await time(() => types(round % 2 ? '' : 'up -nobody')));
      times.open.push(await time(() => document.querySelector('#rows tr').click()));
      hide();
      times.second.push(await time(draw));
    }
    const medians = Object.entries(times).map(([name, all]) => [`${name}_ms`, Number(median(all).toFixed(1))]);
    const longest = Math.max(...Object.values(times).flat());
    const rows = document.querySelectorAll('#rows tr').length;
    return { ...Object.fromEntries(medians), longest_ms: Number(longest.toFixed(1)), rows };
  }, rounds);
  return measured;
});
