// A model behind OpenAI's streaming API, as far as a proxy can see one: few places, slow tokens,
// a health page, and moods.
//
//   node server.mjs [--port 0] [--name a] [--tokens 40] [--gap-ms 50] [--think-ms 0] [--places 0]
//
//   POST /v1/chat/completions   `--think-ms`, then the head and `--tokens` events `--gap-ms` apart,
//                               and `data: [DONE]`; each event holds the server's name. With
//                               `X-Number: N`, N is in its events. Above `--places` (0: no limit)
//                               requests wait in the server, as in a model's own queue.
//   GET  /health                200, or what it was told
//
// Told by lines on stdin, each answered by {"event":"told","line":…}:
//
//   answer 503     chat requests that come from now on get that status; `answer 200` ends it
//   health 503     so does /health
//   refuse         the port is closed, and each connection after its answer. `listen` opens it
//
// {"event":"request",…}  a chat request was read; `number`, `open` (itself included)
// {"event":"end",…}      it is over: `number`, `tokens`, `how`: done | answered | left
import http from 'node:http';
import readline from 'node:readline';
import { event, number, serve, serverOptions, sleep } from '../peer.mjs';

const options = serverOptions({
  name: { type: 'string', default: 'a' },
  tokens: { type: 'string', default: '40' },
  'gap-ms': { type: 'string', default: '50' },
  'think-ms': { type: 'string', default: '0' },
  places: { type: 'string', default: '0' },
});
const [tokens, gap, think, places] = ['tokens', 'gap-ms', 'think-ms', 'places'].map((name) =>
  number(options, name),
);

const mood = { answer: 200, health: 200 };
const waiting = [];
let open = 0;
let running = 0;

const server = http.createServer(async (request, response) => {
  if (request.url === '/health') {
    response.statusCode = mood.health;
    return response.end(`${mood.health}\n`);
  }
  if (!(await read(request))) return;
  const which = Number(request.headers['x-number'] ?? 0);
  open += 1;
  event('request', { number: which, open });
  if (mood.answer !== 200) {
    response.statusCode = mood.answer;
    return end(response, which, 0, 'answered', '{"error":{"message":"told to"}}\n');
  }
  await stream(response, which);
});

/** Reads a body to its end and says whether it has one. */
async function read(request) {
  try {
    for await (const _ of request);
    return true;
  } catch {
    return false;
  }
}

/** One answer of the model, at its place. */
async function stream(response, which) {
  let left = false;
  response.on('close', () => (left = true));
  if (places && running >= places) await new Promise((free) => waiting.push(free));
  running += 1;
  let sent = 0;
  if (!left) await sleep(think);
  if (!left) response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  for (; sent < tokens && !left; sent += 1) {
    response.write(`data: ${JSON.stringify(chunk(which, `${options.name}${sent} `))}\n\n`);
    await sleep(gap);
  }
  running -= 1;
  waiting.shift()?.();
  if (left) return end(null, which, sent, 'left');
  end(response, which, sent, 'done', 'data: [DONE]\n\n');
}

/** Counted before the last byte goes out: whoever has read it finds the place free. */
function end(response, which, sent, how, last) {
  open -= 1;
  event('end', { number: which, tokens: sent, how });
  response?.end(last);
}

function chunk(which, content) {
  const choices = [{ index: 0, delta: { content }, finish_reason: null }];
  const id = `chatcmpl-${which}`;
  return { id, object: 'chat.completion.chunk', created: 0, model: options.name, choices };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, value] = line.split(' ');
  const told = () => event('told', { line });
  if (word === 'answer' || word === 'health') mood[word] = Number(value);
  else if (word === 'refuse') return server.close(), closeWhatIsIdle(), told();
  else if (word === 'listen') return server.listen(port, '127.0.0.1', told);
  else return event('told', { line, error: 'no such word' });
  told();
});

// Node keeps connections that are idle after `close` until their time is over.
function closeWhatIsIdle() {
  server.closeIdleConnections();
  if (!server.listening) setTimeout(closeWhatIsIdle, 5).unref();
}

let port = 0;
server.once('listening', () => (port = server.address().port));
serve(server, options.port);
