// Headless Chromium, as installed on this machine, for the browser clients.
import { createHash, X509Certificate } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/**
 * Starts it with a fresh user data directory, which is removed at the end. `certificate` is a PEM
 * file: this one is trusted, whoever has signed it, and no other.
 */
export function launch({ certificate } = {}) {
  const trust = certificate ? [`--ignore-certificate-errors-spki-list=${spki(certificate)}`] : [];
  return chromium.launch({ executablePath: onPath('chromium'), args: [...FLAGS, ...trust] });
}

/** The hash of a certificate's public key, as Chromium wants it. */
function spki(file) {
  const { publicKey } = new X509Certificate(readFileSync(file));
  const der = publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(der).digest('base64');
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
