// Chromium uses everything that a page of a chat has, on one connection: EventSource,
// @microsoft/fetch-event-source, a WebSocket, plain requests.
//
//   node talk.mjs PROXY_URL [--cert FILE] [--deadline-ms 30000]
//
// {"protocols":{PATH:PROTOCOL,…},"facts":{…}}: how each resource came, by the browser's own
// account, and what the backend saw of a plain request.
import { expect, step } from '../peer.mjs';
import { having, visit } from './visit.mjs';

await visit({}, async ({ page }) => {
  step('asking without a stream');
  const facts = await page.evaluate(() => peer.facts());
  step('opening an EventSource');
  await page.evaluate(() => peer.open(1, '?gap_ms=400'));
  await having(page, 1, 4);
  const [{ opens, errors, numbers }] = await page.evaluate(() => peer.seen());
  expect(opens === 1 && errors === 0, `EventSource: ${opens} opens, ${errors} errors`);
  expect(numbers.every((number, index) => number === index), `EventSource: events ${numbers}`);

  step('reading a chat with fetch-event-source');
  const chat = await page.evaluate(() => peer.chat());
  expect(chat.opens === 1 && chat.closes === 1, `chat: ${JSON.stringify(chat)}`);
  expect(chat.messages.length === 11, `chat: ${chat.messages.length} messages`);
  expect(chat.messages.at(-1) === '[DONE]', `chat: it ends with ${chat.messages.at(-1)}`);

  step('talking over a WebSocket');
  const socket = await page.evaluate(() => peer.socket());
  const echo = await page.evaluate((socket) => peer.exchange(socket, 'grüße 🌍'), socket);
  expect(echo === 'grüße 🌍', `the echo is ${echo}`);

  await page.evaluate(() => peer.close());
  // What was closed is among the resources a moment later.
  step('waiting for the account of the EventSource');
  await page.waitForFunction(() => peer.protocols()['/events'] !== undefined);
  return { protocols: await page.evaluate(() => peer.protocols()), facts };
});
