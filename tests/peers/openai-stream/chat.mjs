// openai for Node streams a chat completion through the proxy: chat.py, for the other SDK.
//
//   node chat.mjs BASE_URL [--think-ms 1200] [--tokens 20] [--rate 20] [--expect-heartbeats]
//                 [--deadline-ms 30000]
//
// BASE_URL ends in /v1. Prints {"chunks":…,"pieces":…,"comments":…,"first_ms":…,"span_ms":…}:
// `comments` counts the comment lines in the very bytes that the SDK read, `first_ms` is the wait
// for the first piece, `span_ms` the time from the first to the last.
import OpenAI from 'openai';
import { client, expect, number, step } from '../peer.mjs';

const options = {
  'think-ms': { type: 'string', default: '1200' },
  tokens: { type: 'string', default: '20' },
  rate: { type: 'string', default: '20' },
  'expect-heartbeats': { type: 'boolean', default: false },
};

await client(['BASE_URL'], options, async ({ args: [baseURL], options }) => {
  const think = number(options, 'think-ms');
  const tokens = number(options, 'tokens');
  const rate = number(options, 'rate');
  const wire = { text: '' };
  const openai = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0, fetch: tapped(wire) });
  const question = {
    model: 'demo',
    messages: [{ role: 'user', content: 'What does the proxy hold back?' }],
    longwire_demo: { think: `${think}ms`, tokens, rate },
  };

  step('reading the stream');
  const start = performance.now();
  let chunks = 0;
  const pieces = [];
  const finishReasons = [];
  for await (const chunk of await openai.chat.completions.create({ ...question, stream: true })) {
    chunks += 1;
    expect(chunk.choices?.length > 0, `chunk ${chunks} has no choices: ${JSON.stringify(chunk)}`);
    const [{ delta, finish_reason }] = chunk.choices;
    if (delta.content) pieces.push({ text: delta.content, at: performance.now() - start });
    if (finish_reason) finishReasons.push(finish_reason);
  }
  const stream = wire.text;

  step('asking without a stream');
  const whole = (await openai.chat.completions.create(question)).choices[0].message.content;

  const text = pieces.map((piece) => piece.text).join('');
  expect(text === whole, `${JSON.stringify(text)} is not ${JSON.stringify(whole)}`);
  expect(String(finishReasons) === 'stop', `finish reasons: ${finishReasons}`);
  expect(pieces.length === tokens, `${pieces.length} pieces of ${tokens} tokens`);
  const tail = JSON.stringify(stream.slice(-80));
  expect(stream.endsWith('data: [DONE]\n\n'), `the stream ends with ${tail}`);

  const first = Math.round(pieces[0].at);
  const span = Math.round(pieces.at(-1).at) - first;
  const planned = ((tokens - 1) / rate) * 1000;
  expect(first >= 0.9 * think, `the first piece came after ${first} ms, not ${think} ms`);
  expect(span >= planned / 2, `${planned} ms of pieces came within ${span} ms`);

  // A blank line after a heartbeat is an empty event for an SDK that has seen an `id` before.
  const events = stream.split('\n\n').filter((block) => block.includes('data:')).length;
  const blank = stream.split('\n').slice(0, -1).filter((line) => line === '').length;
  expect(blank === events, `${blank} blank lines for ${events} events`);
  const comments = stream.split('\n').filter((line) => line.startsWith(':')).length;
  expect(comments > 0 || !options['expect-heartbeats'], 'the stream had no comment line');
  return { chunks, pieces: pieces.length, comments, first_ms: first, span_ms: span };
});

/** Node's fetch; `wire.text` holds what was read of the last body. */
function tapped(wire) {
  return async (url, init) => {
    const response = await fetch(url, init);
    const decoder = new TextDecoder();
    wire.text = '';
    const tap = new TransformStream({
      transform(chunk, controller) {
        wire.text += decoder.decode(chunk, { stream: true });
        controller.enqueue(chunk);
      },
    });
    return new Response(response.body.pipeThrough(tap), response);
  };
}
