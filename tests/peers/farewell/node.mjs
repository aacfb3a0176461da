// The `eventsource` of npm is told by a proxy that goes away when to come back.
//
//   node farewell/node.mjs PROXY_URL [--deadline-ms 30000]
//
// Behind browser-h2/server.mjs. Prints what watch.mjs says.
import { EventSource } from 'eventsource';
import { client, step } from '../peer.mjs';
import { watch } from './watch.mjs';

await client(['PROXY_URL'], {}, async ({ args: [url] }) => {
  step('watching the stream');
  return watch(EventSource, new URL('/events', url).href);
});
