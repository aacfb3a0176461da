// The dashboard in headless Chromium, in front of a proxy with one open stream. It proves that the
// page runs under its policy and asks nobody else, that it asks for the token where there is one,
// that the stream is there with counts that go up, that the filter finds it, that it is killed after
// a question and moves to the ended ones, and that its timeline can be read.
//
//   node browser.mjs ADMIN_URL --principal NAME [--token TOKEN] [--screenshot DIR]
//
// {"id":…,"events":[…, …],"reason":…,"requests":…}: the stream, its count of events at first and
// later, the reason on the page, and how many requests the page made.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { launch } from '../chromium.mjs';
import { client, expect, step } from '../peer.mjs';

const options = {
  principal: { type: 'string' }, token: { type: 'string' }, screenshot: { type: 'string' },
};

await client(['ADMIN_URL'], options, async ({ args: [url], options }) => {
  const { principal, token, screenshot } = options;
  step('starting Chromium');
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1680, height: 900 } });
  const [problems, requests] = [[], []];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => {
    // Chromium says that it was answered with 401; the page is meant to be.
    const isWanted = token && message.text().includes('status of 401');
    if (message.type() === 'error' && !isWanted) problems.push(message.text());
  });
  const shot = async (name) => {
    if (!screenshot) return;
    mkdirSync(screenshot, { recursive: true });
    await page.screenshot({ path: path.join(screenshot, `dashboard-${name}.png`) });
  };

  step('opening the page');
  const answer = await page.goto(url);
  const policy = answer.headers()['content-security-policy'] ?? '';
  expect(policy.startsWith("default-src 'none'"), `the policy is ${policy}`);
  if (token) await giveToken(page, token);

  step('waiting for the stream');
  await page.waitForFunction(() => document.querySelector('#link').dataset.is === 'live');
  const row = page.locator('#rows tr').filter({ hasText: principal });
  await row.waitFor();
  const id = await row.getAttribute('data-id');
  const events = [await count(row)];
  step(`waiting for more than ${events[0]} events`);
  await page.waitForFunction(
    ([id, before]) => {
      const cell = document.querySelector(`#rows tr[data-id="${id}"] .c-events`);
      return Number(cell.textContent.replaceAll(',', '')) > before;
    },
    [id, events[0]],
  );
  events.push(await count(row));
  await shot('open');

  step('filtering');
  await page.keyboard.press('/');
  await page.keyboard.type('no-such-stream');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr').length === 0);
  await page.keyboard.press('Escape');
  await row.waitFor();

  step('reading its timeline');
  await row.click();
  await page.locator('#drawer .timeline li').filter({ hasText: 'first byte' }).waitFor();
  const drawer = await page.locator('#drawer').textContent();
  expect(drawer.includes(principal) && drawer.includes(id), `the drawer says ${drawer}`);
  await shot('timeline');
  await page.keyboard.press('Escape');
  await page.locator('#drawer').waitFor({ state: 'hidden' });

  step('reading the configuration');
  await page.keyboard.press('c');
  await page.keyboard.type('dashboard');
  await page.locator('#drawer mark').filter({ hasText: 'dashboard' }).first().waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');

  step('killing it');
  await row.locator('.kill').click();
  await page.locator('#ask').filter({ hasText: id }).waitFor();
  await page.keyboard.press('Enter'); // on Cancel
  await page.locator('#ask').waitFor({ state: 'hidden' });
  expect((await row.getAttribute('class')) !== 'gone', 'it is gone without a yes');
  await row.locator('.kill').click();
  await page.locator('#ask-yes').click();
  const ended = page.locator('#ended tr.failed').filter({ hasText: principal });
  await ended.waitFor();
  const reason = await ended.locator('.reason').textContent();
  await shot('killed');
  step('leaving');
  await page.locator('#rows tr.gone').waitFor(); // somebody looks at it
  await page.evaluate(() => { view.touched = -Infinity; });
  await row.waitFor({ state: 'detached' });

  const origin = new URL(url).origin;
  const elsewhere = requests.filter((to) => !to.startsWith(origin) && !to.startsWith('data:'));
  expect(elsewhere.length === 0, `the page asks others: ${elsewhere}`);
  expect(problems.length === 0, `errors in the page: ${problems.join('; ')}`);
  await browser.close();
  return { id, events, reason, requests: requests.length };
});

/** First a wrong one, which is refused, then the right one. */
async function giveToken(page, token) {
  step('waiting to be asked for the token');
  await page.locator('#token').waitFor();
  expect((await page.locator('#link').textContent()) === 'needs token', 'the page says why');
  await page.locator('#token-value').fill('wrong');
  await page.keyboard.press('Enter');
  await page.locator('#token-error').waitFor();
  await page.locator('#token-value').fill(token);
  await page.keyboard.press('Enter');
  await page.locator('#token').waitFor({ state: 'hidden' });
}

async function count(row) {
  return Number((await row.locator('.c-events').textContent()).replaceAll(',', ''));
}
