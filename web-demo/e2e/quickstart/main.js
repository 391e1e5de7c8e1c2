import { parseConversationId, Syncline, textOf } from "@syncline/client";

const client = new Syncline({ url: import.meta.env.VITE_SYNCLINE ?? "http://127.0.0.1:8787", user: "ada" });
await client.ready; // this browser's own store is open; that never waits for the network

const known = parseConversationId(location.hash.slice(1)); // the conversation of this address, or a new one
const chat = client.conversation(known ?? client.conversations.create({ title: "First chat" }));
location.hash = chat.id;

const [status, turns, form] = ["output", "ol", "form"].map((name) => document.querySelector(name));
function draw() {
  const { kind, unsaved = 0 } = client.status.value;
  status.textContent = unsaved > 0 ? `${kind}, ${unsaved} not saved yet` : kind;
  const lines = chat.value.messages.map((message) => {
    const line = document.createElement("li");
    line.textContent = `${textOf(message)} (${message.delivery})`;
    return line;
  });
  turns.replaceChildren(...lines);
}
chat.subscribe(draw);
client.status.subscribe(draw);
draw();

form.addEventListener("submit", (event) => {
  event.preventDefault();
  chat.send(new FormData(form).get("text"));
  form.reset();
});
