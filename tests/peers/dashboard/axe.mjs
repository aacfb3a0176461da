// The dashboard by the rules of axe-core (WCAG 2.2 AA and its best practices): every view of it in
// both themes on a screen, in one on a phone. Nothing serious or critical may be found.
//
//   node axe.mjs ADMIN_URL --principal NAME
//
// In front of a proxy with an open stream, one that has failed, and an endpoint that is down, so that
// there is a text of every colour. {"views":…,"passed":…}: views looked at, and rules that held.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, step } from '../peer.mjs';
import { PHONE, dashboard } from './page.mjs';

const SCREEN = { width: 1440, height: 900 };
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

await dashboard(['ADMIN_URL'], { principal: { type: 'string' } }, async ({ args, options, open }) => {
  const found = [];
  let [views, passed] = [0, 0];
  const look = async (page, name) => {
    step(`looking at ${name}`);
    const { violations, passes } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
    const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    for (const { id, nodes } of grave) {
      found.push(...nodes.map((node) => `${name}: ${id}: ${node.html.slice(0, 120)}: ${node.failureSummary}`));
    }
    views += 1;
    passed += passes.length;
  };
  for (const [colorScheme, viewport] of [['light', SCREEN], ['dark', SCREEN], ['dark', PHONE]]) {
    const page = await open(args[0], { viewport, colorScheme });
    await page.evaluate(axe);
    const where = `${colorScheme}, ${viewport.width} wide`;
    const row = page.locator('#rows tr').filter({ hasText: options.principal });
    await row.waitFor();
    await page.locator('#ended tr.failed').first().waitFor();
    await page.locator('.state[data-is=down]').first().waitFor();
    await look(page, `the page, ${where}`);
    await row.click();
    await page.locator('#drawer .timeline li').filter({ hasText: 'first byte' }).waitFor();
    await look(page, `a stream, ${where}`);
    await page.locator('#drawer-acts button').click();
    await page.locator('#ask').waitFor();
    await look(page, `the question, ${where}`);
    await page.keyboard.press('Escape');
    await page.locator('#ask').waitFor({ state: 'hidden' });
    await page.locator('#drawer-close').click();
    await page.keyboard.press('c');
    await page.keyboard.type('heartbeat');
    await page.locator('#drawer mark').first().waitFor();
    await look(page, `the configuration, ${where}`);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    await page.locator('#keys').waitFor();
    await look(page, `the keys, ${where}`);
    await page.keyboard.press('Escape');
    // A person who has lost the proxy, or waits for its end, must be able to read that.
    await page.evaluate(() => {
      toast('done');
      toast('not done', true);
      seen.draining = true;
      link('away', 'nobody answers');
      draw = link = () => {}; // it stays so
    });
    await look(page, `a page without its proxy, ${where}`);
    await page.close();
  }
  expect(found.length === 0, found.join('\n'));
  return { views, passed };
});
