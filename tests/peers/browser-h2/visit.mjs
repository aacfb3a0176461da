// What the browser programs of this folder share: a page of server.mjs in Chromium.
import { launch } from '../chromium.mjs';
import { client, expect, step } from '../peer.mjs';

/**
 * Runs a program that takes PROXY_URL and [--cert FILE], the proxy's certificate: `main` gets a
 * page that has started, and the other options.
 */
export function visit(options, main) {
  const own = { cert: { type: 'string' }, ...options };
  return client(['PROXY_URL'], own, async ({ args: [url], options }) => {
    step('starting Chromium');
    const browser = await launch({ certificate: options.cert });
    const page = await browser.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(error.message));
    await load(page, () => page.goto(new URL('/', url).href));
    const measured = await main({ page, options, url });
    await browser.close();
    expect(problems.length === 0, `errors in the page: ${problems.join('; ')}`);
    return measured;
  });
}

/** Waits until the page, which `go` brings, has started. */
export async function load(page, go) {
  step('loading the page');
  await go();
  await page.waitForFunction(() => window.peer);
}

/** Waits until `count` streams have at least `events` events each. */
export async function having(page, count, events) {
  step(`waiting until ${count} streams have ${events} events`);
  const enough = ([count, events]) => peer.having(events) >= count;
  await page.waitForFunction(enough, [count, events], { timeout: 0 });
}
