/** The conversation list of a device; 5,000 rows scroll like 50. */
import type { ConversationId, ConversationRow } from "@syncline/client";
import { useConversations } from "@syncline/client/react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useDeferredValue, useRef, useState } from "react";
import type { DemoDevice } from "../lib/device.ts";
import type { View } from "./device-panel.tsx";
import { Icon, IconButton } from "./icon.tsx";

type Shelf = "current" | "archived" | "deleted";

const ROW_HEIGHT = 58;
const SHELVES: Readonly<Record<Shelf, { readonly name: string; readonly empty: string }>> = {
  current: { name: "Chats", empty: "No conversations yet." },
  archived: { name: "Archived", empty: "Nothing is archived." },
  deleted: { name: "Recently deleted", empty: "Nothing was deleted." },
};

export function Sidebar(props: {
  readonly device: DemoDevice;
  readonly view: View;
  readonly onShow: (view: View) => void;
}) {
  const { device, view, onShow } = props;
  const { name } = device.role;
  const [shelf, setShelf] = useState<Shelf>("current");
  const [words, setWords] = useState("");
  const searched = useDeferredValue(words.trim());
  const rows = useConversations({
    ...(shelf === "archived" ? { archived: true } : {}),
    ...(shelf === "deleted" ? { deleted: true } : {}),
    ...(searched === "" ? {} : { words: searched }),
  });
  const shown = view.kind === "chat" ? view.id : undefined;
  const begin = () => onShow({ kind: "chat", id: device.client.conversations.create() });
  return (
    <nav className="sidebar" aria-label={`Conversations on the ${device.role.title.toLowerCase()}`}>
      <div className="sidebar-head">
        <button type="button" className="new-chat" data-testid={`new-chat-${name}`} onClick={begin}>
          <Icon name="add" />
          New chat
        </button>
        <IconButton
          icon="sliders"
          label="Preferences"
          pressed={view.kind === "preferences"}
          testid={`preferences-${name}`}
          onClick={() => onShow({ kind: "preferences" })}
        />
      </div>
      <div className="sidebar-tools">
        <label className="search">
          <Icon name="search" />
          <span className="visually-hidden">Search titles</span>
          <input
            type="search"
            value={words}
            placeholder="Search titles"
            onChange={(event) => setWords(event.currentTarget.value)}
          />
        </label>
        <select
          aria-label="Which conversations"
          value={shelf}
          data-testid={`shelf-${name}`}
          onChange={(event) => setShelf(event.currentTarget.value as Shelf)}
        >
          {Object.entries(SHELVES).map(([value, { name }]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </div>
      {rows.length === 0 ? (
        <p className="empty">{searched === "" ? SHELVES[shelf].empty : "No title holds these words."}</p>
      ) : (
        <Rows
          rows={rows}
          shown={shown}
          testid={`list-${name}`}
          onOpen={(id) => onShow({ kind: "chat", id })}
        />
      )}
    </nav>
  );
}

function Rows(props: {
  readonly rows: readonly ConversationRow[];
  readonly shown: ConversationId | undefined;
  readonly testid: string;
  readonly onOpen: (id: ConversationId) => void;
}) {
  const { rows, shown, testid, onOpen } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    getItemKey: (index) => rows[index]?.id ?? index,
    overscan: 6,
  });
  return (
    <div ref={scroller} className="rows" data-testid={testid} data-count={rows.length}>
      <ul style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map(({ key, index, start }) => {
          const row = rows[index];
          if (row === undefined) return null;
          return (
            <li
              key={key}
              style={{ transform: `translateY(${start}px)` }}
              aria-setsize={rows.length}
              aria-posinset={index + 1}
            >
              <Row row={row} isShown={row.id === shown} onOpen={onOpen} />
            </li>
          );
        })}
      </ul>
    </div>
  );
}

const Row = memo(function Row(props: {
  readonly row: ConversationRow;
  readonly isShown: boolean;
  readonly onOpen: (id: ConversationId) => void;
}) {
  const { row, isShown, onOpen } = props;
  return (
    <button
      type="button"
      className="row"
      aria-current={isShown ? "true" : undefined}
      onClick={() => onOpen(row.id)}
    >
      <span className="row-title">
        {row.pinned && <Icon name="pin" />}
        <span>{row.title ?? row.last?.preview ?? "New chat"}</span>
        {row.unread > 0 && !isShown && (
          <span className="badge" title={`${row.unread} unread`}>
            {row.unread > 99 ? "99+" : row.unread}
          </span>
        )}
      </span>
      <span className="row-preview">
        {row.news ? (
          <strong>New activity since it was deleted</strong>
        ) : (
          (row.last?.preview ?? "Nothing said yet")
        )}
      </span>
    </button>
  );
});
