/**
 * `@syncline/client`: the state of AI chat sessions on one device, in sync with all others through a Syncline server.
 *
 * What it promises: an edit is in this device's own store before anybody calls it more than pending, and it counts
 * as unsaved, across reloads and pages too, until the server has said that it is on disk. Start with `new Syncline`.
 */
export { type OpenDocument, Syncline, type SynclineOptions } from "./client.ts";
export { LoneDocument, type OpenOptions, openDocument } from "./lone.ts";
export { type Hlc, hlcMs } from "./model/hlc.ts";
export {
  type ConversationId,
  type DeviceId,
  type FolderId,
  type MessageId,
  parseConversationId,
  parseDeviceId,
  parseMessageId,
  type Writer,
} from "./model/ids.ts";
export type { Json } from "./model/json.ts";
export type { Conflicts, Draft } from "./model/listing.ts";
export {
  type Alternatives,
  type Delivery,
  type Feedback,
  type Message,
  type MessageState,
  type Part,
  textOf,
} from "./model/message.ts";
export type { Folder, Preference, ProfileDevice } from "./model/profile.ts";
export type { Hint, Source } from "./model/register.ts";
export type { Aside } from "./sync/asides.ts";
export type { Frame } from "./sync/connection.ts";
export type { SyncedDocument } from "./sync/document.ts";
export type { Device, DeviceKind, PeerDevice, Refusal, RefusalCode, Status } from "./sync/status.ts";
export type { TokenSource } from "./sync/token.ts";
export type { Conversation, ConversationState, MessageContent, NewMessage } from "./views/conversation.ts";
export type { ConversationRow, Conversations, NewConversation } from "./views/conversations.ts";
export type { DraftContent, Drafts } from "./views/drafts.ts";
export type { Live } from "./views/live.ts";
export type { Devices, Folders, Preferences, Provenance } from "./views/profile.ts";
export type { ListFilter } from "./views/rows.ts";
export type { LastTurn } from "./views/summaries.ts";
