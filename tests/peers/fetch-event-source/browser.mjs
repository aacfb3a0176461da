// Headless Chromium reads a chat through the proxy with @microsoft/fetch-event-source and with
// EventSource. It proves that each event arrives as it is sent, that the answer is complete, and
// that heartbeats, which the bytes do contain, never surface as messages.
//
//   node browser.mjs PROXY_URL [--expect-heartbeats] [--late-ms 300] [--screenshot FILE]
//                    [--deadline-ms 30000]
//
// Prints one JSON line: the protocol; for chat and time how many events came at how many moments,
// and their delays; for raw the comment lines.
import { launch } from '../chromium.mjs';
import { client, expect, number, step } from '../peer.mjs';

const TIME_EVENTS = 8;

const options = {
  'expect-heartbeats': { type: 'boolean', default: false },
  'late-ms': { type: 'string', default: '300' },
  screenshot: { type: 'string' },
};

await client(['PROXY_URL'], options, async ({ args: [url], options }) => {
  const late = number(options, 'late-ms');
  step('starting Chromium');
  const browser = await launch();
  const page = await browser.newPage({ ignoreHTTPSErrors: true }); // a test's certificate
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));

  step('loading the page');
  await page.goto(new URL('/', url).href);
  await page.waitForFunction(() => window.peer, null, { timeout: 5000 }).catch(() => {
    throw new Error(`the page did not start: ${problems.join('; ') || 'a file is missing'}`);
  });

  step('asking without a stream'); // which also warms the page up, before anything is timed
  const whole = await page.evaluate(() => peer.whole());
  step('reading the streams'); // all at once, which takes as long as the longest
  const [chat, raw, time] = await page.evaluate(
    (count) => Promise.all([peer.chat(), peer.raw(), peer.time(count)]),
    TIME_EVENTS,
  );
  step('closing Chromium');
  const protocol = await page.evaluate(() => peer.protocol());
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  await browser.close();

  expect(problems.length === 0, `errors in the page: ${problems.join('; ')}`);
  return {
    protocol,
    chat: checkChat(chat, whole, late),
    raw: checkRaw(raw, whole, options['expect-heartbeats']),
    time: checkTime(time, late),
  };
});

function checkChat({ opens, closes, errors, messages, text, status, type }, whole, late) {
  expect(errors.length === 0, `chat: onerror was called: ${errors.join('; ')}`);
  expect(opens === 1, `chat: onopen was called ${opens} times`);
  expect(closes === 1, `chat: onclose was called ${closes} times`);
  expect(status === 200 && type.startsWith('text/event-stream'), `chat: ${status} ${type}`);
  const empty = messages.filter(({ data }) => data === '').length;
  expect(empty === 0, `chat: onmessage was called for ${empty} empty messages, as by a heartbeat`);
  expect(messages.at(-1)?.data === '[DONE]', `chat: the last message is ${messages.at(-1)?.data}`);
  expect(text === whole.content, `chat: the text is ${JSON.stringify(text)}`);
  const deltas = messages.slice(0, -1);
  expect(deltas.length === whole.deltas, `chat: ${deltas.length} deltas of ${whole.deltas}`);
  return checkArrivals('chat', deltas, late);
}

function checkTime({ opens, errors, messages }, late) {
  expect(errors === 0, `time: EventSource reported ${errors} errors while it was open`);
  expect(opens === 1, `time: EventSource opened ${opens} times`);
  const numbers = messages.map(({ data }) => JSON.parse(data).number);
  expect(numbers.every((number, index) => number === index), `time: events ${numbers.join(' ')}`);
  expect(numbers.length === TIME_EVENTS, `time: ${numbers.length} events of ${TIME_EVENTS}`);
  return checkArrivals('time', messages, late);
}

/** Lines of the raw stream: every blank one ends an event, and comments are there if expected. */
function checkRaw({ text, error }, whole, expectHeartbeats) {
  expect(error === null, `raw: ${error} after ${JSON.stringify(text.slice(-200))}`);
  const lines = text.split('\n');
  const comments = lines.filter((line) => line.startsWith(':')).length;
  const events = text.split('\n\n').filter((block) => /^data: /m.test(block)).length;
  const blank = lines.filter((line) => line === '').length - 1; // the text ends with a line feed
  expect(events === whole.deltas + 1, `raw: ${events} events of ${whole.deltas} and [DONE]`);
  expect(blank === events, `raw: ${blank} blank lines for ${events} events`);
  expect(!expectHeartbeats || comments > 0, `raw: no comment line in ${JSON.stringify(text)}`);
  return { comments };
}

/**
 * The events came as they were sent: none more than `late` ms late, most far sooner, and not
 * in a lump. A busy machine may delay a few, which then come together.
 */
function checkArrivals(name, messages, late) {
  const events = messages.map(({ data, at_ms }) => ({ sent: JSON.parse(data).sent_ms, at: at_ms }));
  const delays = events.map(({ sent, at }) => at - sent);
  const [earliest, median, latest] = [0, 0.5, 1].map((rank) => quantile(delays, rank));
  const moments = new Set(events.map(({ at }) => at)).size;

  const list = `delays in ms: ${delays.join(' ')}`;
  expect(latest <= late, `${name}: an event came more than ${late} ms late; ${list}`);
  expect(median <= late / 3, `${name}: half of the events came late; ${list}`);
  expect(earliest >= -50, `${name}: an event came before it was sent; ${list}`);
  const least = (2 / 3) * events.length;
  expect(moments >= least, `${name}: ${events.length} events in ${moments} moments; ${list}`);
  return { events: events.length, moments, median_ms: median, latest_ms: latest };
}

function quantile(values, rank) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(rank * (sorted.length - 1))];
}
