// The dashboard under a person's hands, in front of a proxy with one stream of 10 events a second, an
// endpoint "a" that has it, and a second endpoint "b". It proves that a paused page stands still and
// can be filtered meanwhile; that endpoints are drained after a question and made ready again; that
// the files are read anew, and what is said when they are wrong; that the theme is what it says, and
// stays; that everything can be had by keys alone, with a focus that is seen; and that a phone shows
// all of it without scrolling sideways.
//
//   node hands.mjs ADMIN_URL --principal NAME --config FILE
//
// FILE is the proxy's configuration; it is spoiled for a moment. {"widest":…}: the page's widest
// element on a phone, in pixels.
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, step } from '../peer.mjs';
import { PHONE, dashboard, focus, link, press } from './page.mjs';

const options = { principal: { type: 'string' }, config: { type: 'string' } };

/** Chromium says so of the answer to a reload that failed. */
const FORGIVEN = ['status of 422'];

await dashboard(['ADMIN_URL'], options, async ({ args: [url], options, open }) => {
  const page = await open(url);
  const row = page.locator('#rows tr').filter({ hasText: options.principal });
  await row.waitFor();
  await pausing(page, row);
  await endpoints(page);
  await reloading(page, options.config);
  await themes(page);
  await keys(page, row);
  await page.close();
  return { widest: await phone(await open(url, { viewport: PHONE, hasTouch: true })) };
}, FORGIVEN);

async function pausing(page, row) {
  step('pausing');
  const cells = () => page.locator('#rows').textContent();
  await page.locator('#pause').click();
  await link(page, 'paused');
  expect((await page.locator('#pause').textContent()) === 'Go on', 'the button says what it does');
  const before = await cells();
  await ticks(page, 3);
  expect((await cells()) === before, 'it moves while it is paused');
  await page.locator('#filter').fill('no-such-stream');
  await page.locator('#none').filter({ hasText: 'No open stream fits' }).waitFor();
  await page.locator('#filter').fill('');
  await row.waitFor();
  const after = await cells();
  expect(after === before, `a filter lets newer numbers in: ${before} and then ${after}`);
  await page.keyboard.press('Escape');
  await page.keyboard.press('p');
  await link(page, 'live');
  step('going on');
  await page.waitForFunction(
    (before) => document.querySelector('#rows').textContent !== before, before,
  );
}

/** Waits until the page has heard of so many more seconds. */
async function ticks(page, count) {
  await page.evaluate((count) => new Promise((resolve) => {
    const { now: first } = known;
    const timer = setInterval(() => {
      if (known.now < first + count) return;
      clearInterval(timer);
      resolve();
    }, 50);
  }), count);
}

async function endpoints(page) {
  step('draining an endpoint');
  const name = page.locator('td:nth-child(2)', { hasText: /^b$/ });
  const endpoint = page.locator('#upstreams tr').filter({ has: name });
  const state = endpoint.locator('.state');
  const button = endpoint.locator('button');
  await button.click();
  await page.locator('#ask').filter({ hasText: 'Drain b of up?' }).waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#ask').waitFor({ state: 'hidden' });
  expect((await state.textContent()) === 'up', 'it is drained without a yes');
  await button.click();
  await page.locator('#ask-yes').click();
  await state.filter({ hasText: 'drained' }).waitFor();
  expect((await button.textContent()) === 'ready', 'the button offers the way back');
  step('making it ready');
  await button.click();
  await state.filter({ hasText: 'up' }).waitFor();
  await page.locator('.toast').filter({ hasText: 'b is ready' }).waitFor();
}

async function reloading(page, file) {
  step('reloading');
  await page.locator('#config').click();
  const reload = page.locator('#drawer-acts button').filter({ hasText: 'Reload' });
  await reload.click();
  await page.locator('.toast').filter({ hasText: 'Reloaded' }).waitFor();
  step('reloading what is wrong');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, `${text}\n[routes.all.sse]\nhartbeat = "15s"\n`);
  await reload.click();
  await page.locator('#drawer [role=alert]').filter({ hasText: 'hartbeat' }).waitFor();
  writeFileSync(file, text);
  await page.keyboard.press('Escape');
  await page.locator('#drawer').waitFor({ state: 'hidden' });
}

async function themes(page) {
  step('changing the theme');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const button = page.locator('#theme');
  const seen = {};
  for (const name of ['light', 'dark', 'system', 'light']) {
    await button.click();
    const label = await button.getAttribute('aria-label');
    expect(label === `Theme: ${name}`, `it says ${label} where ${name} was to come`);
    seen[name] = await ground();
  }
  expect(seen.light !== seen.dark, `both are ${seen.dark}`);
  expect(seen.system === seen.light, 'the system of the test is light');
  await page.emulateMedia({ colorScheme: 'dark' });
  expect((await ground()) === seen.light, 'light is light whatever the system is');
  await page.keyboard.press('t');
  expect((await ground()) === seen.dark, 'the key does the same');
  await page.reload();
  await link(page, 'live');
  await page.emulateMedia({ colorScheme: 'light' });
  expect((await ground()) === seen.dark, 'it is kept');
  await page.keyboard.press('t'); // as the system is
}

async function keys(page, row) {
  step('going by Tab');
  await row.waitFor();
  const id = await row.getAttribute('data-id');
  await page.evaluate(() => document.activeElement.blur());
  const order = await press(page, 'Tab', `row ${id}`);
  const expected = ['#pause', '#config', '#theme', '#help', '#filter'];
  const passed = order.filter((name) => expected.includes(name));
  expect(passed.join() === expected.join(), `Tab goes by ${order.join(', ')}`);

  step('opening a stream by Enter');
  await page.keyboard.press('Enter');
  await page.locator('#drawer .timeline li').first().waitFor();
  expect((await focus(page)) === '#drawer', `the focus stays on ${await focus(page)}`);
  await page.keyboard.press('Escape');
  await page.locator('#drawer').waitFor({ state: 'hidden' });
  expect((await focus(page)) === `row ${id}`, `it comes back to ${await focus(page)}`);

  step('not killing it by Escape');
  await page.keyboard.press('x');
  await page.locator('#ask').filter({ hasText: id }).waitFor();
  expect((await focus(page)) === '#ask-no', 'what does nothing has the focus');
  await press(page, 'Tab', '#ask-yes', 1);
  await page.keyboard.press('Escape');
  await page.locator('#ask').waitFor({ state: 'hidden' });
  expect((await focus(page)) === `row ${id}`, `it comes back to ${await focus(page)}`);

  step('ordering by keys');
  await press(page, 'Shift+Tab', 'Events');
  await page.keyboard.press('Enter');
  await page.locator('#heads th.c-events[aria-sort=descending]').waitFor();
  await page.keyboard.press('Space');
  await page.locator('#heads th.c-events[aria-sort=ascending]').waitFor();

  step('reading which keys there are');
  await page.keyboard.press('?');
  await page.locator('#keys').waitFor();
  await page.keyboard.press('Enter');
  await page.locator('#keys').waitFor({ state: 'hidden' });
}

/** Nothing is wider than the screen: not the page, not a stream, not a question. */
async function phone(page) {
  step('holding a phone');
  const widest = () => page.evaluate(() => document.documentElement.scrollWidth);
  const fits = async (what) => {
    const width = await widest();
    expect(width <= PHONE.width, `${what} is ${width} pixels wide`);
    return width;
  };
  await page.locator('#rows tr').first().waitFor();
  const widths = [await fits('the page')];
  // Fingers are not mice.
  const small = await page.evaluate(() => [...document.querySelectorAll('button, select, input')]
    .map((element) => ({ text: element.textContent || element.id, ...element.getBoundingClientRect().toJSON() }))
    .filter(({ width, height }) => width > 0 && height < 24)
    .map(({ text, height }) => `${text} (${height})`));
  expect(small.length === 0, `too small to touch: ${small}`);
  await page.locator('#rows tr').first().tap();
  await page.locator('#drawer .timeline li').first().waitFor();
  widths.push(await fits('a stream'));
  await page.locator('#drawer-acts button').tap();
  await page.locator('#ask').waitFor();
  widths.push(await fits('the question'));
  await page.locator('#ask-no').tap();
  await page.locator('#drawer-close').tap();
  await page.locator('#config').tap();
  await page.locator('.config dl').first().waitFor();
  widths.push(await fits('the configuration'));
  return Math.max(...widths);
}
