// The room is in the query: /?room=kitchen. The socket goes where the page came from.
const room = new URLSearchParams(location.search).get("room") ?? "lobby";
const scheme = location.protocol === "https:" ? "wss" : "ws";
const socket = new WebSocket(`${scheme}://${location.host}/ws/${room}`);
const write = (line) => document.querySelector("pre").append(`${line}\n`);
socket.onopen = () => write(`in ${room}`);
socket.onmessage = ({ data }) => write(data);
socket.onclose = ({ code, reason }) => write(`closed: ${code} ${reason}`);
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  socket.send(event.target.text.value);
  event.target.reset();
};
