// What the programs here share: the dashboard in a page of headless Chromium.
import { launch } from '../chromium.mjs';
import { client, expect, step } from '../peer.mjs';

/** The size of a phone. */
export const PHONE = { width: 390, height: 844 };

/**
 * Runs `main({ browser, args, options, open })` as a client program. `open(url, more)` gives a page
 * that shows what the proxy at `url` says, `more` being Playwright's options of a page; errors in
 * it fail the program, but for those whose text has one of `forgiven` in it.
 */
export async function dashboard(names, options, main, forgiven = []) {
  await client(names, options, async ({ args, options }) => {
    step('starting Chromium');
    const browser = await launch();
    const problems = [];
    const note = (text) => {
      if (!forgiven.some((part) => text.includes(part))) problems.push(text);
    };
    const open = async (url, more) => {
      const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...more });
      page.on('pageerror', (error) => note(error.message));
      page.on('console', (message) => message.type() === 'error' && note(message.text()));
      await page.goto(url);
      await link(page, 'live');
      return page;
    };
    const measured = await main({ args, options, open });
    expect(problems.length === 0, `errors in the page: ${problems.join('; ')}`);
    await browser.close();
    return measured;
  });
}

/** Waits until the page says that of its connection: `live`, `paused`, `away`. */
export async function link(page, is) {
  await page.waitForFunction((is) => document.querySelector('#link').dataset.is === is, is);
}

/** What has the focus, as a selector or a text that a person would know it by. */
export function focus(page) {
  return page.evaluate(() => {
    const it = document.activeElement;
    if (it.id) return `#${it.id}`;
    return it.matches('tr') ? `row ${it.dataset.id}` : it.textContent.trim();
  });
}

/** Presses a key until `is` has the focus, and fails where it would have to go round. */
export async function press(page, key, is, most = 40) {
  const passed = [];
  for (let times = 0; times < most; times += 1) {
    await page.keyboard.press(key);
    passed.push(await focus(page));
    if (passed.at(-1) === is) {
      await seesFocus(page, is);
      return passed;
    }
  }
  throw new Error(`${key} does not lead to ${is}, but to ${passed.join(', ')}`);
}

/** What has the focus has an outline, on the screen. */
async function seesFocus(page, what) {
  const seen = await page.evaluate(() => {
    const it = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(it);
    const { left, top } = it.getBoundingClientRect();
    const isThere = left >= 0 && top >= 0 && left < innerWidth && top < innerHeight;
    return isThere && outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1;
  });
  expect(seen, `nobody sees that ${what} has the focus`);
}
