// Node's HTTP/2 client opens N streams of events of echo.py, cancels all at once, and goes on with
// its session.
//
//   node cancel.mjs PROXY_URL N [--deadline-ms 30000]
//
// {"cancelled":N,"answers":N}
import { once } from 'node:events';
import http2 from 'node:http2';
import { client, expect, step } from '../peer.mjs';

await client(['PROXY_URL', 'N'], {}, async ({ args: [url, count] }) => {
  const session = http2.connect(url);
  session.on('goaway', (code) => expect(false, `GOAWAY ${code}`));

  step(`waiting for the first event of ${count} streams`);
  const streams = Array.from({ length: Number(count) }, () =>
    session.request({ ':path': '/sse?n=1000&gap_ms=200' }),
  );
  await Promise.all(streams.map((stream) => once(stream, 'data')));

  step('cancelling them');
  const closed = streams.map((stream) => once(stream, 'close'));
  for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
  await Promise.all(closed);

  step('asking again');
  const answers = await Promise.all(streams.map(() => ask(session)));
  session.close();
  return { cancelled: streams.length, answers: answers.filter((status) => status === 200).length };
});

/** The status of a small response. */
async function ask(session) {
  const stream = session.request({ ':path': '/status/200' });
  const [fields] = await once(stream, 'response');
  stream.resume();
  await once(stream, 'close');
  return fields[':status'];
}
