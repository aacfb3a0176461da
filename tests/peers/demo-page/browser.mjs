// Headless Chromium uses the chat page of `longwire demo` as a person would: it asks, kills the
// model, leaves. It proves that the page shows tokens and heartbeats as they come, a broken answer
// as broken, and that leaving is seen by the proxy's own counter.
//
//   node browser.mjs DEMO_URL [--screenshot DIR] [--deadline-ms 30000]
//
// Prints {"asked":…,"killed":…,"left":…}: what the page said of each stream, as text, with its
// tokens, events and heartbeats.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { launch } from '../chromium.mjs';
import { client, expect, step } from '../peer.mjs';

const ASKED = { think: 2, tokens: 30, rate: 20 };
const KILLED_AFTER = 32; // tokens, says the button's script

const options = { screenshot: { type: 'string' } };

await client(['DEMO_URL'], options, async ({ args: [url], options: { screenshot } }) => {
  step('starting Chromium');
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  if (screenshot) mkdirSync(screenshot, { recursive: true });
  const shot = async (name) => {
    if (screenshot) await page.screenshot({ path: path.join(screenshot, `${name}.png`) });
  };

  step('loading the page');
  await page.goto(url);
  expect((await page.title()) === 'longwire demo', `the title is ${await page.title()}`);
  await page.getByText('From /metrics, once a second.').waitFor();
  await shot('1-start');

  const asked = await ask(page, shot);
  // What the browser itself says of a connection that breaks is no fault of the page.
  expect(problems.length === 0, `errors in the page: ${problems.join('; ')}`);
  const killed = await kill(page, shot);
  const left = await leave(page, shot);
  if (screenshot) await otherLooks(page, shot);
  const thrown = problems.filter((text) => !text.startsWith('Failed to load resource'));
  expect(thrown.length === 0, `errors in the page: ${thrown.join('; ')}`);

  step('closing Chromium');
  await browser.close();
  return { asked, killed, left };
});

async function ask(page, shot) {
  step('asking');
  await page.locator('summary').click();
  for (const [knob, value] of Object.entries(ASKED)) {
    await page.locator(`#knob-${knob}`).fill(String(value));
  }
  await page.locator('summary').click();
  await page.getByLabel('Message').fill('What does the proxy hold back?');
  await page.getByRole('button', { name: 'Send' }).click();

  step('waiting for a heartbeat in the silence');
  await page.waitForFunction(() => document.getElementById('beats').textContent === '1');
  const early = await seen(page);
  expect(early.tokens === 0 && early.state === 'silent', `in silence: ${JSON.stringify(early)}`);
  await shot('2-silent');

  step('waiting for the first token');
  await page.waitForFunction(() => [...document.querySelectorAll('.text')].at(-1).textContent);
  const midway = await seen(page);
  expect(midway.tokens < ASKED.tokens, `all ${midway.tokens} tokens appeared at once`);

  step('waiting for the end');
  const done = await ended(page);
  await shot('3-done');
  expect(done.state === 'done' && done.note.startsWith('Complete:'), JSON.stringify(done));
  expect(done.tokens === ASKED.tokens, `${done.tokens} of ${ASKED.tokens} tokens appeared`);
  expect(done.events === ASKED.tokens + 2, `${done.events} events: tokens, "stop", [DONE]`);
  const whole = await page.evaluate(async (demo) => {
    const body = JSON.stringify({ model: 'demo', messages: [], longwire_demo: demo });
    const response = await fetch('/v1/chat/completions', { method: 'POST', body });
    return (await response.json()).choices[0].message.content;
  }, { tokens: ASKED.tokens });
  expect(done.text === whole, `${JSON.stringify(done.text)} is not ${JSON.stringify(whole)}`);
  return done;
}

async function kill(page, shot) {
  step('killing the model');
  await page.getByRole('button', { name: 'Kill the model' }).click();
  const killed = await ended(page);
  await page.locator('#reasons', { hasText: 'upstream_reset' }).waitFor();
  await shot('4-killed');
  const { state, note, tokens } = killed;
  expect(state === 'broken', `a killed model looks ${state}: ${note}`);
  expect(note.startsWith('Broken, not complete.'), `the break is told as: ${note}`);
  expect(!note.includes('[DONE]'), `the proxy gave a broken answer a clean end: ${note}`);
  expect(tokens === KILLED_AFTER, `${tokens} of ${KILLED_AFTER} tokens appeared before the break`);
  return killed;
}

async function leave(page, shot) {
  step('waiting for a heartbeat, then leaving');
  const before = await cancelled(page);
  await page.getByRole('button', { name: 'Long think' }).click();
  await page.waitForFunction(() => document.getElementById('beats').textContent === '1');
  await page.getByRole('button', { name: 'Leave' }).click();
  step('waiting for the cancelled counter to rise');
  await page.waitForFunction(
    (before) => Number(document.getElementById('m-cancelled').textContent) > before,
    before,
  );
  const left = await ended(page);
  await shot('5-left');
  const after = await cancelled(page);
  expect(after === before + 1, `cancelled went from ${before} to ${after}`);
  expect(left.state === 'left', `leaving looks ${left.state}: ${left.note}`);
  const told = `cancelled ${before} → ${after}`;
  expect(left.note.includes(told), `the note does not say ${told}: ${left.note}`);
  return { ...left, cancelled: after };
}

/** The numbers of the latest stream once it has ended. */
async function ended(page) {
  await page.waitForFunction(() => {
    const { state } = [...document.querySelectorAll('.note')].at(-1).dataset;
    return ['done', 'broken', 'left'].includes(state);
  });
  return seen(page);
}

/** What a person sees of the latest stream. */
function seen(page) {
  return page.evaluate(() => {
    const last = (selector) => [...document.querySelectorAll(selector)].at(-1);
    const number = (id) => Number(document.getElementById(id).textContent);
    const text = last('.text').textContent;
    return {
      state: last('.note').dataset.state,
      note: last('.note').textContent.replaceAll('\u00a0', ' '),
      text,
      tokens: text.split(' ').length - 1, // each ends with a space
      events: number('events'),
      heartbeats: number('beats'),
    };
  });
}

async function cancelled(page) {
  return Number(await page.locator('#m-cancelled').textContent());
}

/** A telephone, and a dark room. */
async function otherLooks(page, shot) {
  await page.emulateMedia({ colorScheme: 'dark' });
  await shot('6-dark');
  await page.setViewportSize({ width: 390, height: 844 });
  await shot('7-narrow');
}
