/** The SDK as it comes: it finds the conversations itself, and asks for last turns and unread counts too. */
import { Syncline, textOf } from "@syncline/client";
import { asked, drawn } from "../shared.js";

const { server, user, device, conversations, messages, chat } = asked;
const client = new Syncline({ url: server, user, device: { id: device, name: "Laptop", kind: "laptop" } });
Object.assign(window, { stored: () => client.whenStored() });

const sidebar = drawn("sidebarMs", conversations, (screen) => {
  const rows = client.conversations.value;
  const lines = rows.slice(0, screen).map(({ title, last }) => `${title}: ${last?.preview ?? ""}`);
  return { count: rows.length, lines };
});
client.conversations.subscribe(sidebar);
sidebar();
if (chat !== undefined) {
  const conversation = client.conversation(chat);
  const turns = drawn("chatMs", messages, (screen) => {
    const { messages } = conversation.value;
    return { count: messages.length, lines: messages.slice(-screen).map(textOf) };
  });
  conversation.subscribe(turns);
}
