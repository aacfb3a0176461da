// What an EventSource makes of a proxy that goes away while another one takes its place. It runs in
// a page as well as in Node, so it uses nothing but its arguments.

/**
 * Opens a stream, and again when it ends, until there are events again. `Source` is the class.
 * {"errors":…,"empty":…,"back_ms":…}: how often onerror was called, how many messages were empty,
 * and how long after the first end it asked again, as far as it shows: an attempt that fails counts.
 */
export function watch(Source, url) {
  return new Promise((resolve, reject) => {
    const seen = { errors: 0, empty: 0, back_ms: null };
    let lost = null;
    const source = new Source(url);
    const back = () => {
      if (lost !== null) seen.back_ms ??= Date.now() - lost;
    };
    source.onerror = () => {
      seen.errors += 1;
      if (source.readyState === 2) reject(new Error('EventSource gave up'));
      back();
      lost ??= Date.now();
    };
    source.onopen = back;
    source.onmessage = ({ data }) => {
      if (data === '') seen.empty += 1;
      if (seen.back_ms === null) return;
      source.close();
      resolve(seen);
    };
  });
}
