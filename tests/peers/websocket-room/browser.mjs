// Three headless-Chromium pages in one chat room. It proves that every page gets every message in
// one order, that a page that closes leaves the room, and that pages learn honestly when the server
// behind the proxy dies.
//
//   node browser.mjs PAGE_URL [--socket URL] [--messages 40] [--expect-code 1011]
//                    [--deadline-ms 45000]
//
// --socket is the room's address; without it, `/room` of the page's own. The last page tells the
// server to kill itself; all that stay must be closed with --expect-code (1006 is what a browser
// says when it was told nothing, as directly at the server).
//
// {"messages":…,"left":[…],"closes":[{"code":…,"reason":…,"wasClean":…}…]}
import { launch } from '../chromium.mjs';
import { client, expect, number, step } from '../peer.mjs';

const NAMES = ['ada', 'ben', 'cleo'];
// A long message has a 64-bit length, and one of 300 bytes a 16-bit one. Chromium sends very long
// ones in fragments, of which nodejs-websocket decodes each for itself: so they end in ASCII.
const LENGTHS = new Map([[1, 300], [2, 70_000]]);

const options = {
  socket: { type: 'string' },
  messages: { type: 'string', default: '40' },
  'expect-code': { type: 'string', default: '1011' },
  'deadline-ms': { type: 'string', default: '45000' },
};

await client(['PAGE_URL'], options, async ({ args: [url], options }) => {
  const count = number(options, 'messages');
  step('starting Chromium');
  const browser = await launch();
  const problems = [];
  step('entering the room');
  const pages = await Promise.all(NAMES.map((name) => enter(browser, url, name, options, problems)));

  step('talking');
  await Promise.all(
    pages.map((page, index) => page.evaluate((texts) => texts.forEach(room.send), said(index, count))),
  );
  const total = NAMES.length * count;
  const heard = await Promise.all(pages.map((page) => hear(page, total)));
  for (const [index, texts] of heard.entries()) {
    expect(texts.length === total, `${NAMES[index]} heard ${texts.length} of ${total} messages`);
    expect(same(texts, heard[0]), `${NAMES[index]} heard another order than ${NAMES[0]}`);
  }
  for (const [index, name] of NAMES.entries()) {
    const own = heard[0].filter((text) => text.startsWith(`${name} `));
    const wrong = said(index, count).findIndex((text, number) => text !== own[number]);
    const found = JSON.stringify(own[wrong]?.slice(0, 80));
    expect(wrong < 0, `${name}'s message ${wrong} came changed or out of order: ${found}`);
  }

  step(`waiting until ${NAMES[2]}'s page has closed and the room knows`);
  await pages[2].close({ runBeforeUnload: true });
  const stay = pages.slice(0, 2);
  for (const page of stay) await page.waitForFunction(() => room.left.length > 0);
  const left = await stay[0].evaluate(() => room.left);
  expect(same(left, [NAMES[2]]), `these left the room: ${left.join(' ')}`);
  for (const page of stay) {
    expect(await page.evaluate(() => room.closed === null), 'a page that stays was closed too');
  }

  step('waiting for the end of the pages whose server was killed');
  await stay[1].evaluate(() => room.send('die'));
  const closes = [];
  for (const page of stay) {
    await page.waitForFunction(() => room.closed);
    closes.push(await page.evaluate(() => room.closed));
  }
  await browser.close();
  const honest = number(options, 'expect-code');
  const seen = JSON.stringify(closes);
  expect(closes.every(({ code }) => code === honest), `closed, not with ${honest}: ${seen}`);
  expect(problems.length === 0, `errors in the pages: ${problems.join('; ')}`);
  return { messages: total, left, closes };
});

async function enter(browser, url, name, { socket }, problems) {
  const page = await browser.newPage();
  page.on('pageerror', (error) => problems.push(error.message));
  const address = new URL('/', url);
  address.searchParams.set('name', name);
  if (socket) address.searchParams.set('socket', socket);
  await page.goto(address.href);
  await page.waitForFunction(() => window.room?.opened || window.room?.closed);
  const closed = await page.evaluate(() => room.closed);
  expect(closed === null, `${name} could not enter: ${JSON.stringify(closed)}`);
  return page;
}

/** What a page says: short, long, and not only ASCII. */
function said(index, count) {
  return Array.from({ length: count }, (_, number) => {
    const text = `${NAMES[index]} ${number} «grüße 🌍»`;
    return text.padEnd(LENGTHS.get(number) ?? 0, '.');
  });
}

/** All that a page heard, once it is `total` messages. */
async function hear(page, total) {
  await page.waitForFunction((total) => room.texts.length >= total, total).catch(() => {});
  return page.evaluate(() => room.texts);
}

function same(texts, others) {
  return texts.length === others.length && texts.every((text, index) => text === others[index]);
}
