/** React hooks. Each gives the same object for as long as nothing changed, so that memoised components stay still. */
import {
  createContext,
  createElement,
  type ReactNode,
  useCallback,
  useContext,
  useMemo,
  useSyncExternalStore,
} from "react";
import type {
  Conversation,
  ConversationId,
  ConversationRow,
  ConversationState,
  ListFilter,
  Live,
  Preference,
  Status,
  Syncline,
} from "../index.ts";

const ClientContext = createContext<Syncline | undefined>(undefined);

/** Gives the client to the hooks below it. */
export function SynclineProvider(props: {
  readonly client: Syncline;
  readonly children?: ReactNode;
}): ReactNode {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

/** The client of the provider around. */
export function useSyncline(): Syncline {
  const client = useContext(ClientContext);
  if (client === undefined) throw new Error("there is no SynclineProvider around this component");
  return client;
}

/** Any live value. */
export function useLive<T>(live: Live<T>): T {
  const subscribe = useCallback((listener: () => void) => live.subscribe(listener), [live]);
  const read = useCallback(() => live.value, [live]);
  return useSyncExternalStore(subscribe, read, read);
}

/** The conversation list: pinned ones first, then the newest; or another one (archived, deleted, a folder, a tag). */
export function useConversations(filter: ListFilter = {}): readonly ConversationRow[] {
  return useLive(useSyncline().conversations.list(filter));
}

/** One conversation, with what can be done with it. It stays open while the component is there. */
export function useConversation(
  id: ConversationId,
): ConversationState & { readonly conversation: Conversation } {
  const conversation = useSyncline().conversation(id);
  const state = useLive(conversation);
  return useMemo(() => ({ ...state, conversation }), [state, conversation]);
}

/** One preference, with where it came from; undefined while there is none. */
export function usePreference(name: string): Preference | undefined {
  const { preferences } = useSyncline();
  const subscribe = useCallback((listener: () => void) => preferences.subscribe(listener), [preferences]);
  const read = useCallback(() => preferences.get(name), [preferences, name]);
  return useSyncExternalStore(subscribe, read, read);
}

/** What this device can truthfully say: of all its documents, or of one conversation. */
export function useSyncStatus(id?: ConversationId): Status {
  const client = useSyncline();
  const live = id === undefined ? client.status : client.conversation(id);
  const value = useLive<Status | ConversationState>(live);
  return "status" in value ? value.status : value;
}
