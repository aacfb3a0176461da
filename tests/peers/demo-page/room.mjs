// Two pages of `longwire demo` in headless Chromium meet in its chat room. It proves that each sees
// what the other says and who is there, that longwire's pings are counted, that a page that closes
// leaves, and that the page tells why when longwire is stopped, and wants to come back.
//
//   node room.mjs DEMO_URL --interrupt PID [--screenshot DIR] [--deadline-ms 30000]
//
// --interrupt: the demo's process, which gets SIGINT at the end.
//
// {"pings":…,"states":[…],"stopped":…}: the pings that the page counted, what the state line said,
// and what it said first when longwire was stopped.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { launch } from '../chromium.mjs';
import { client, expect, number, step } from '../peer.mjs';

const options = { interrupt: { type: 'string' }, screenshot: { type: 'string' } };

await client(['DEMO_URL'], options, async ({ args: [url], options }) => {
  const { screenshot } = options;
  step('starting Chromium');
  const browser = await launch();
  const problems = [];
  const viewport = { width: 1280, height: 800 };
  if (screenshot) mkdirSync(screenshot, { recursive: true });
  const shot = async (page, name) => {
    if (screenshot) await page.screenshot({ path: path.join(screenshot, `room-${name}.png`) });
  };

  step('entering the room');
  const ada = await enter(browser, url, viewport, problems);
  await says(ada, 'people', 'only you');
  const ben = await enter(browser, url, viewport, problems);
  for (const page of [ada, ben]) await says(page, 'people', '2 people');
  const states = await Promise.all([ada, ben].map((page) => text(page, 'room-state')));
  expect(states[0] === 'Connected. You are guest-1.', `the first page says: ${states[0]}`);
  expect(states[1] === 'Connected. You are guest-2.', `the second page says: ${states[1]}`);

  step('talking');
  const mark = '<b>not bold</b> «grüße 🌍»';
  await speak(ada, 'Is somebody there?');
  await says(ben, 'said', 'guest-1Is somebody there?');
  await speak(ben, mark);
  await says(ada, 'said', `guest-2${mark}`);
  for (const page of [ada, ben]) {
    const lines = await page.locator('#said p:not(.about)').allTextContents();
    expect(lines.length === 2, `two messages were said, and the page has ${lines.length}`);
    expect((await page.locator('#said .mine').count()) === 1, 'one of them is the page\'s own');
  }
  expect((await ada.locator('#words').inputValue()) === '', 'what was said stays in the input');

  step('waiting for pings and the count of sockets');
  await says(ada, 'm-sockets', '2');
  await ada.waitForFunction(() => Number(document.getElementById('m-pings').textContent) > 1);
  const beats = await text(ada, 'm-beats');
  expect(!(Number(beats) > 0), `pings are counted as the chat's heartbeats: ${beats}`);
  const pings = Number(await text(ada, 'm-pings'));
  if (screenshot) await looks(ada, shot);

  step('closing one page');
  await ben.close({ runBeforeUnload: true });
  await says(ada, 'people', 'only you');
  await says(ada, 'm-sockets', '1');
  expect(problems.length === 0, `errors in the pages: ${problems.join('; ')}`);

  step('stopping longwire');
  process.kill(number(options, 'interrupt'), 'SIGINT');
  await says(ada, 'room-state', 'Reconnecting in');
  const stopped = (await text(ada, 'room-state')).replaceAll('\u00a0', ' ');
  expect(stopped.startsWith('1001: the proxy is restarting. Reconn'), `the page says: ${stopped}`);
  await shot(ada, 'stopped');

  step('waiting for a try in vain');
  const waits = await ada.evaluate(() => room.tries);
  await ada.waitForFunction((tries) => room.tries > tries, waits);
  const later = await text(ada, 'room-state');
  expect(later.startsWith('1001: the proxy'), `a try in vain hides the reason: ${later}`);
  await ada.locator('#words').fill('Not lost');
  await ada.locator('#words').press('Enter');
  expect((await ada.locator('#words').inputValue()) === 'Not lost', 'unsaid words are gone');
  await browser.close();
  return { pings, states, stopped };
});

async function enter(browser, url, viewport, problems) {
  const page = await browser.newPage({ viewport });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  await page.goto(url);
  await says(page, 'room-state', 'Connected.');
  return page;
}

/** As a person with a keyboard does it. */
async function speak(page, words) {
  await page.getByLabel('Say to everybody').fill(words);
  await page.keyboard.press('Enter');
}

function text(page, id) {
  return page.locator(`#${id}`).textContent();
}

/** Waits until the element has that text in it. */
async function says(page, id, words) {
  step(`waiting until #${id} says ${JSON.stringify(words)}`);
  const has = ([id, words]) => document.getElementById(id).textContent.includes(words);
  await page.waitForFunction(has, [id, words]);
}

/** Desktop, a small laptop, telephones, and a dark room. */
async function looks(page, shot) {
  const sizes = { desktop: [1280, 800], wide: [1680, 1000], laptop: [1024, 768] };
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const [name, [width, height]] of Object.entries(sizes)) {
      await page.setViewportSize({ width, height });
      await shot(page, `${name}-${colorScheme}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    await page.locator('#words').scrollIntoViewIfNeeded();
    await shot(page, `phone-${colorScheme}`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}
