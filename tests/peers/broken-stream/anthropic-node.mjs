// Anthropic's SDK for Node reads a stream that breaks: it must throw. anthropic-python.py, for the
// other SDK.
//
//   node broken-stream/anthropic-node.mjs BASE_URL [--api create|stream] [--whole]
//                                         [--deadline-ms 30000]
//
// BASE_URL has no /v1; `stream` is the SDK's helper that gathers a message. Prints
// {"error":…,"message":…,"text":…}: the class and the words of what was thrown, and the text that had
// come by then. A stream that ends without an error is a failure. With --whole it is the other way
// round: the stream must end without an error, and {"text":…} is printed.
import Anthropic from '@anthropic-ai/sdk';
import { client, expect, readToItsEnd } from '../peer.mjs';

const question = {
  model: 'demo',
  max_tokens: 100,
  messages: [{ role: 'user', content: 'Say hello.' }],
};

/** The text of a message, piece by piece. */
async function* create(anthropic) {
  yield* pieces(await anthropic.messages.create({ ...question, stream: true }));
}

/** The same, by the helper, which is asked for the whole message in the end. */
async function* stream(anthropic) {
  const stream = anthropic.messages.stream(question);
  yield* pieces(stream);
  await stream.finalMessage();
}

async function* pieces(stream) {
  for await (const event of stream) {
    if (event.type === 'content_block_delta') yield event.delta.text;
  }
}

const options = {
  api: { type: 'string', default: 'create' },
  whole: { type: 'boolean', default: false },
};

await client(['BASE_URL'], options, async ({ args: [baseURL], options }) => {
  const read = { create, stream }[options.api];
  expect(read, `--api: expected create or stream, found ${options.api}`);
  const anthropic = new Anthropic({ baseURL, apiKey: 'none', maxRetries: 0 });
  return readToItsEnd(read(anthropic), options.whole);
});
