// The page of the chat room: a plain `new WebSocket` that is closed in `onbeforeunload`.
const here = new URL(location.href);
const url = new URL(here.searchParams.get('socket') ?? '/room', here);
url.protocol = here.protocol.replace('http', 'ws');
url.searchParams.set('name', here.searchParams.get('name'));

const room = { texts: [], left: [], errors: 0, closed: null, opened: false };
const socket = new WebSocket(url);
socket.onopen = () => (room.opened = true);
socket.onerror = () => (room.errors += 1);
socket.onclose = ({ code, reason, wasClean }) => (room.closed = { code, reason, wasClean });
socket.onmessage = ({ data }) => {
  if (data.startsWith('{"left"')) room.left.push(JSON.parse(data).left);
  else room.texts.push(data);
};
window.onbeforeunload = () => socket.close();
room.send = (text) => socket.send(text);
window.room = room;
