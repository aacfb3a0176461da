// The page of the chat, as most teams first build it: fetchEventSource posts the messages and shows
// each delta. It also keeps what arrived when, for browser.mjs to judge.
import { fetchEventSource } from '/node_modules/@microsoft/fetch-event-source/lib/esm/index.js';

const QUESTION = { messages: [{ role: 'user', content: 'What does the proxy hold back?' }] };
const JSON_BODY = { method: 'POST', headers: { 'Content-Type': 'application/json' } };

/** The answer through fetchEventSource, with all four callbacks. */
async function chat() {
  const seen = { opens: 0, closes: 0, errors: [], messages: [], text: '' };
  await fetchEventSource('/api/chat', {
    ...JSON_BODY,
    body: JSON.stringify(QUESTION),
    async onopen(response) {
      seen.opens += 1;
      seen.status = response.status;
      seen.type = response.headers.get('content-type');
    },
    onmessage(message) {
      seen.messages.push({ data: message.data, event: message.event, at_ms: Date.now() });
      if (message.data === '[DONE]') return;
      seen.text += JSON.parse(message.data || '{}').choices?.[0].delta.content ?? '';
      document.querySelector('#answer').textContent = seen.text;
    },
    onclose() {
      seen.closes += 1;
    },
    onerror(error) {
      seen.errors.push(String(error));
      throw error; // without this it asks again, and a broken stream would look like a slow one
    },
  }).catch(() => {});
  return seen;
}

/** The same answer in one piece, without a stream. */
async function whole() {
  const body = JSON.stringify({ ...QUESTION, stream: false });
  return (await fetch('/api/chat', { ...JSON_BODY, body })).json();
}

/** The same stream as text, read with fetch: what the library hides; and what broke it, if so. */
async function raw() {
  const response = await fetch('/api/chat', { ...JSON_BODY, body: JSON.stringify(QUESTION) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const seen = { text: '', error: null };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return seen;
      seen.text += value;
    }
  } catch (error) {
    return { ...seen, error: String(error) };
  }
}

/** The first `count` events of a plain EventSource, and its errors until then. */
function time(count) {
  return new Promise((resolve) => {
    const seen = { opens: 0, errors: 0, messages: [] };
    const source = new EventSource('/api/time');
    const finish = () => {
      source.close();
      resolve(seen);
    };
    source.onopen = () => (seen.opens += 1);
    source.onerror = () => {
      seen.errors += 1;
      if (source.readyState === EventSource.CLOSED) finish();
    };
    source.onmessage = (message) => {
      seen.messages.push({ data: message.data, at_ms: Date.now() });
      if (seen.messages.length === count) finish();
    };
  });
}

/** How the page itself came: "http/1.1", "h2". */
const protocol = () => performance.getEntriesByType('navigation')[0].nextHopProtocol;

window.peer = { chat, whole, raw, time, protocol };
