// The dashboard in front of a proxy with more open streams than a watcher is told of. It proves that a
// filter finds one that the page was never told of, and that its states are counted; that an order is
// the order of all; that such a stream can be looked at and killed.
//
//   node beyond.mjs ADMIN_URL --id ID
//
// ID is of the youngest stream. {"open":…,"listed":…}: streams, and those that the page was told of.
import { expect, step } from '../peer.mjs';
import { dashboard } from './page.mjs';

await dashboard(['ADMIN_URL'], { id: { type: 'string' } }, async ({ args: [url], options: { id }, open }) => {
  const page = await open(url);
  const row = page.locator(`#rows tr[data-id="${id}"]`);
  const counts = await page.evaluate(() => ({ open: seen.open, listed: seen.streams.size }));
  const isListed = await page.evaluate((id) => [...seen.streams.values()].some((s) => s.id === id), id);
  expect(!isListed, 'the proxy has told of it by itself');
  const chips = await page.locator('#states button b').allTextContents();
  const [all, ...states] = chips.map(Number);
  const sum = states.reduce((sum, count) => sum + count, 0);
  expect(all === counts.open && sum === all, `of ${counts.open} the states count ${chips}`);

  step('filtering');
  for (const words of [id, `state:idle id:${id}`, `idle ${id} -nobody`]) {
    await page.locator('#filter').fill(words);
    await row.waitFor();
    await page.locator('#filter').fill('nobody');
    await row.waitFor({ state: 'detached' });
  }
  step('ordering');
  await page.locator('#filter').fill('');
  await page.locator('#heads .c-age button').click(); // the youngest first
  await page.locator(`#rows tr[data-id="${id}"]:first-child`).waitFor();
  // Many began in the same millisecond.
  const numbers = await page.locator('#rows tr').evaluateAll((rows) => rows.map((row) => Number(row.dataset.number)));
  expect(numbers.length > 1 && numbers.every((number, at) => at === 0 || number < numbers[at - 1]), `in the order ${numbers}`);
  step('looking at it');
  await row.click();
  await page.locator('#drawer .timeline li').filter({ hasText: 'first byte' }).waitFor();
  step('killing it');
  await page.locator('#drawer-acts button').click();
  await page.locator('#ask').filter({ hasText: id }).waitFor();
  await page.locator('#ask-yes').click();
  await page.locator(`#ended tr.failed[data-id="${id}"]`).waitFor();
  return counts;
});
