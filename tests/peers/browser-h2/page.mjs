// What the programs of this folder let a page do: streams, WebSockets and plain requests, as pages
// have them, and what became of each.
import { fetchEventSource } from '/node_modules/@microsoft/fetch-event-source/lib/esm/index.js';

const streams = [];
const sockets = [];

/** A request without a stream, and what the backend says that it was asked. */
async function facts() {
  return (await fetch('/facts')).json();
}

/** Opens `count` EventSources; `query` is theirs. They stay until `close`. */
function open(count, query = '') {
  for (let opened = 0; opened < count; opened += 1) {
    const source = new EventSource(`/events${query}`);
    const seen = { source, opens: 0, errors: 0, numbers: [], delays: [] };
    source.onopen = () => (seen.opens += 1);
    source.onerror = () => (seen.errors += 1);
    source.onmessage = ({ data }) => {
      const { number, sent_ms } = JSON.parse(data);
      seen.numbers.push(number);
      seen.delays.push(Date.now() - sent_ms);
    };
    streams.push(seen);
  }
}

/** What came of all that are open. */
function seen() {
  return streams.map(({ source, ...seen }) => ({ state: source.readyState, ...seen }));
}

/** How many of them have at least `events` events. */
function having(events) {
  return streams.filter(({ numbers }) => numbers.length >= events).length;
}

/** Closes all in one turn of the event loop; gives the wall clock just before. */
function close() {
  const ms = Date.now();
  for (const { source } of streams.splice(0)) source.close();
  return ms;
}

/** A chat through fetchEventSource. */
async function chat() {
  const seen = { opens: 0, closes: 0, messages: [] };
  await fetchEventSource('/chat', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{}',
    async onopen() {
      seen.opens += 1;
    },
    onmessage: ({ data }) => seen.messages.push(data),
    onclose: () => (seen.closes += 1),
    onerror: (error) => {
      throw error; // without this it asks again, and a broken stream would look like a slow one
    },
  });
  return seen;
}

/** Opens a WebSocket; gives its place in the list once it is open, or its end. */
function socket() {
  const url = new URL('/echo', location.href.replace('http', 'ws'));
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  const seen = { socket, messages: [], closed: null };
  const place = sockets.push(seen) - 1;
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(place);
    socket.onmessage = ({ data }) => seen.messages.push(data);
    socket.onclose = ({ code, reason, wasClean }) => {
      seen.closed = { code, reason, wasClean };
      reject(new Error(`the WebSocket was closed with ${code} ${reason}`));
    };
  });
}

/** Sends, and waits for what comes next. */
async function exchange(place, message) {
  const { socket, messages } = sockets[place];
  const before = messages.length;
  socket.send(message);
  while (messages.length === before) {
    if (sockets[place].closed) throw new Error(JSON.stringify(sockets[place].closed));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return messages[before];
}

/** A text of that length there and back, and so many bytes from there: whether all is the same. */
async function large(place, length) {
  // Random, so that compression has something to do and does not shrink it to nothing.
  const text = Array.from({ length }, () => String.fromCharCode(32 + 94 * Math.random())).join('');
  const echoed = (await exchange(place, text)) === text;
  const bytes = new Uint8Array(await exchange(place, `!send ${length}`));
  const sent = bytes.length === length && bytes.every((byte, at) => byte === LONGWIRE[at % 8]);
  return { echoed, sent };
}

const LONGWIRE = new TextEncoder().encode('longwire');

/** How each resource came: {"/facts":"h2",…}. */
function protocols() {
  const came = performance.getEntriesByType('resource');
  const entries = [...performance.getEntriesByType('navigation'), ...came];
  return Object.fromEntries(entries.map((entry) => {
    return [new URL(entry.name).pathname, entry.nextHopProtocol];
  }));
}

window.peer = {
  chat, close, exchange, facts, having, large, open, protocols, seen, socket, sockets,
};
