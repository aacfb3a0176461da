// Headless Chromium, as installed on this machine, for the browser clients.
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** Starts it with a fresh user data directory, which is removed at the end. */
export function launch() {
  return chromium.launch({ executablePath: onPath('chromium'), args: FLAGS });
}

function onPath(command) {
  for (const directory of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(directory, command);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {} // not in this directory
  }
  throw new Error(`${command} is not on the PATH: run tests/peers/install`);
}
