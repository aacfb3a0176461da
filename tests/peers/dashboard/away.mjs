// The dashboard while the proxy goes away and comes back, with a stream that is looked at. It proves
// that the page says so and from when it is; that nothing on it pretends to go on; that it comes back
// by itself, to what there is now and not to what there was, and says of the stream that nobody knows
// it any more.
//
//   node away.mjs --longwire BINARY
//
// It starts an upstream and the proxy itself. {"back_ms":…}: how long it took the page to notice that
// the proxy was there again.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, sleep, step } from '../peer.mjs';
import { dashboard, link } from './page.mjs';

/** The browser says so of every try while nobody answers, and of what nobody knows any more. */
const FORGIVEN = ['net::ERR_', 'status of 404'];

const folder = mkdtempSync(path.join(tmpdir(), 'longwire-away-'));
process.on('exit', () => rmSync(folder, { recursive: true }));

await dashboard([], { longwire: { type: 'string' } }, async ({ options, open }) => {
  const upstream = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const timer = setInterval(() => response.write('data: tick\n\n'), 100);
    response.on('close', () => clearInterval(timer));
  });
  const [web, admin] = [await free(), await free()];
  const to = await listening(upstream);
  const config = path.join(folder, 'longwire.toml');
  writeFileSync(config, `
    [listeners.web]
    bind = ["127.0.0.1:${web}"]
    [routes.all]
    upstream = "http://127.0.0.1:${to}"
    [admin]
    bind = "127.0.0.1:${admin}"
  `);
  const start = async () => {
    // Whatever becomes of this program, the proxy does not outlive it.
    const command = ['--pdeathsig', 'KILL', options.longwire, 'run', '-c', config];
    const child = spawn('setpriv', command, { stdio: 'ignore' });
    while (!(await answers(admin))) await sleep(20);
    return child;
  };
  const stop = async (child) => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };

  step('starting the proxy');
  let proxy = await start();
  ask(web);
  const page = await open(`http://127.0.0.1:${admin}/`);
  const row = page.locator('#rows tr');
  await row.first().waitFor();
  await row.first().click();
  await page.locator('#drawer .timeline li').filter({ hasText: 'still open' }).waitFor();

  step('waiting for the page to see that the proxy is gone');
  await stop(proxy);
  await link(page, 'away');
  const banner = page.locator('#banner');
  await banner.filter({ hasText: /Lost the proxy .* is from \d\d:\d\d:\d\d/ }).waitFor();
  const looks = () => page.evaluate(() => [
    document.querySelector('#rows').textContent, document.querySelector('#uptime').textContent,
  ].join());
  const age = () => page.locator('.facts div').filter({ hasText: 'Age' }).textContent();
  const [before, old] = [await looks(), await age()];
  await page.locator('#link').filter({ hasText: /reconnecting in \d+ s/ }).waitFor();
  await page.evaluate(() => drawStreams(true));
  const after = await looks();
  expect(after === before, `it moves although nobody says so: ${before} and then ${after}`);
  expect((await age()) === old, 'the stream grows older although nobody says so');

  step('waiting for the page to see that it is back');
  proxy = await start();
  const began = Date.now();
  await link(page, 'live');
  const back = Date.now() - began;
  await banner.waitFor({ state: 'hidden' });
  await page.locator('#none').filter({ hasText: 'No stream is open' }).waitFor();
  const drawer = page.locator('#drawer');
  await drawer.filter({ hasText: 'not known any more' }).waitFor();
  expect(!(await drawer.textContent()).includes('still open'), 'it is still called open');
  const kill = await page.locator('#drawer-acts button').count();
  expect(kill === 0, 'it can still be killed');
  await page.keyboard.press('Escape');

  step('losing it once more, on a page that is paused');
  ask(web);
  await row.first().waitFor();
  await page.keyboard.press('p');
  await link(page, 'paused');
  await stop(proxy);
  await link(page, 'away');
  proxy = await start();
  await link(page, 'paused');
  await banner.waitFor({ state: 'hidden' });
  expect((await row.count()) === 1, 'what is looked at is gone although the page is paused');
  await page.keyboard.press('p');
  await page.locator('#none').filter({ hasText: 'No stream is open' }).waitFor();
  await stop(proxy);
  return { back_ms: back };
}, FORGIVEN);

/** A stream, for as long as there is somebody to give it. */
function ask(port) {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {}).resume();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
}

function listening(server) {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });
}

/** A port that nobody has. */
async function free() {
  const server = createServer();
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
