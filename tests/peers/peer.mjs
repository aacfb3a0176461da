// What the peer programs in Node share: how a client reports and how a server lives.
//
// Client: exit 0 and one JSON line of measurements, or exit 1 and the reason on stderr. It has a
// deadline of its own (--deadline-ms, 30 s), so it never hangs.
// Server: `listening PORT` first, then a JSON line for each event; it ends when its stdin does, so
// that it never outlives the test that started it.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

export { sleep };

/** Throws unless `condition` holds; the message is all that the test's author will read. */
export function expect(condition, message) {
  if (!condition) throw new Unmet(message);
}

class Unmet extends Error {}

/** Says what a client is about to do; a passed deadline tells it. */
export function step(text) {
  doing = text;
}

let doing = 'starting';

/** Runs `main({ args, options })` as a client program; `names` are the positional arguments. */
export async function client(names, options, main) {
  const { args, values } = argumentsOf(names, {
    'deadline-ms': { type: 'string', default: '30000' },
    ...options,
  });
  const fail = (reason) => {
    process.stderr.write(`${reason}\n`, () => process.exit(1));
  };
  const deadline = number(values, 'deadline-ms');
  setTimeout(() => fail(`not finished after ${deadline} ms: ${doing}`), deadline);
  try {
    const measured = await main({ args, options: values });
    process.stdout.write(`${JSON.stringify(measured)}\n`, () => process.exit(0));
  } catch (error) {
    fail(error instanceof Unmet ? error.message : (error.stack ?? error));
  }
}

/**
 * Reads a stream of text that must break, or, if it is to be `whole`, must not. Gives the
 * measurements: the text, and the class and the words of what was raised.
 */
export async function readToItsEnd(pieces, whole) {
  step('reading the stream');
  let text = '';
  try {
    for await (const piece of pieces) text += piece;
  } catch (error) {
    if (whole) throw error;
    return { error: error.constructor.name, message: error.message, text };
  }
  expect(whole, `the stream looks complete: ${JSON.stringify(text)}`);
  return { text };
}

/** Reads the arguments of a server program and returns its options. */
export function serverOptions(options = {}) {
  return argumentsOf([], { port: { type: 'string', default: '0' }, ...options }).values;
}

/** Listens on the loopback interface until stdin ends. */
export function serve(server, port) {
  server.listen(Number(port), '127.0.0.1', () => console.log(`listening ${server.address().port}`));
  // A pipe ends and closes, a file only ends, a socket that was reset only closes.
  for (const over of ['end', 'close']) process.stdin.on(over, () => process.exit(0));
  process.stdin.resume();
}

/** Prints one event of a server. `ms` is the wall clock, which the test can compare. */
export function event(name, facts = {}) {
  console.log(JSON.stringify({ event: name, ms: Date.now(), ...facts }));
}

/** An option's value as a number, or the end of the program. */
export function number(options, name) {
  const value = Number(options[name]);
  if (!Number.isFinite(value)) usage(`--${name}: expected a number, found ${options[name]}`);
  return value;
}

function argumentsOf(names, options) {
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (positionals.length !== names.length) {
      const found = positionals.join(' ');
      usage(`expected the arguments: ${names.join(' ') || 'none'}; found: ${found || 'none'}`);
    }
    return { args: positionals, values };
  } catch (error) {
    usage(error.message);
  }
}

function usage(message) {
  console.error(message);
  process.exit(1);
}
