// openai for Node reads a stream that breaks: it must throw. openai-python.py, for the other SDK.
//
//   node broken-stream/openai-node.mjs BASE_URL [--api chat|responses] [--whole]
//                                      [--deadline-ms 30000]
//
// BASE_URL ends in /v1. Prints {"error":…,"message":…,"text":…}: the class and the words of what was
// thrown, and the text that had come by then. A stream that ends without an error is a failure.
// With --whole it is the other way round: it must end without one, and {"text":…} is printed.
import OpenAI from 'openai';
import { client, expect, readToItsEnd } from '../peer.mjs';

/** The text of a chat completion, piece by piece. */
async function* chat(openai) {
  const messages = [{ role: 'user', content: 'Say hello.' }];
  const question = { model: 'demo', messages, stream: true };
  for await (const chunk of await openai.chat.completions.create(question)) {
    for (const choice of chunk.choices) yield choice.delta.content ?? '';
  }
}

/** The text of a response, piece by piece. */
async function* responses(openai) {
  const question = { model: 'demo', input: 'Say hello.', stream: true };
  for await (const event of await openai.responses.create(question)) {
    if (event.type === 'response.output_text.delta') yield event.delta;
  }
}

const options = {
  api: { type: 'string', default: 'chat' },
  whole: { type: 'boolean', default: false },
};

await client(['BASE_URL'], options, async ({ args: [baseURL], options }) => {
  const read = { chat, responses }[options.api];
  expect(read, `--api: expected chat or responses, found ${options.api}`);
  const openai = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
  return readToItsEnd(read(openai), options.whole);
});
