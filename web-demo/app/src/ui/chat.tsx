/** One conversation on one device. */
import type { ConversationId, Hint } from "@syncline/client";
import { useConversation, useSyncline } from "@syncline/client/react";
import { useEffect, useState } from "react";
import type { DemoDevice } from "../lib/device.ts";
import { Composer } from "./composer.tsx";
import { useWriterName } from "./hooks.ts";
import { Icon, IconButton } from "./icon.tsx";
import { Messages } from "./messages.tsx";

type State = ReturnType<typeof useConversation>;

export function Chat(props: {
  readonly id: ConversationId;
  readonly device: DemoDevice;
  readonly onBack: () => void;
}) {
  const { id, device, onBack } = props;
  const state = useConversation(id);
  const { phase, unread, conversation, messages } = state;
  useEffect(() => {
    if (unread > 0) void conversation.markRead();
  }, [unread, conversation]);
  return (
    <article
      className="chat"
      data-testid={`chat-${device.role.name}`}
      data-phase={phase}
      data-conversation={id}
      data-turns={messages.length}
    >
      <ChatHead id={id} state={state} name={device.role.name} onBack={onBack} />
      <Absent state={state} />
      {phase === "gone" ? (
        <p className="empty">This conversation was erased for good, on every device.</p>
      ) : (
        <>
          <Messages device={device} state={state} />
          <Composer key={id} device={device} state={state} />
        </>
      )}
    </article>
  );
}

interface HeadProps {
  readonly id: ConversationId;
  readonly state: State;
  readonly name: string;
  readonly onBack: () => void;
}

function ChatHead({ id, state, name, onBack }: HeadProps) {
  const { conversations } = useSyncline();
  const { row, messages } = state;
  const isDeleted = row?.deleted === true;
  return (
    <header className="chat-head">
      <IconButton icon="back" label="All conversations" testid={`back-${name}`} onClick={onBack} />
      <Title id={id} title={row?.title ?? null} name={name} />
      <span className="turns" title="Turns on this branch">
        {messages.length.toLocaleString("en")}
      </span>
      {isDeleted ? (
        <IconButton
          icon="restore"
          label="Restore"
          testid={`restore-${name}`}
          onClick={() => void conversations.restore(id)}
        />
      ) : (
        <>
          <IconButton
            icon="pin"
            label={row?.pinned === true ? "Unpin" : "Pin"}
            pressed={row?.pinned === true}
            onClick={() => void conversations.pin(id, row?.pinned !== true)}
          />
          <IconButton
            icon="archive"
            label={row?.archived === true ? "Bring back from the archive" : "Archive"}
            pressed={row?.archived === true}
            onClick={() => void conversations.archive(id, row?.archived !== true)}
          />
          <IconButton
            icon="remove"
            label="Delete"
            testid={`delete-${name}`}
            onClick={() => void conversations.delete(id)}
          />
        </>
      )}
      <TitleConflict id={id} state={state} name={name} />
      {isDeleted && (
        <p className="hint" data-testid={`deleted-${name}`}>
          {row?.news === true
            ? "This conversation was deleted, and somebody wrote in it since. Nothing of it is lost."
            : "This conversation is deleted. It can be restored."}
        </p>
      )}
    </header>
  );
}

function Title(props: { readonly id: ConversationId; readonly title: string | null; readonly name: string }) {
  const { id, title, name } = props;
  const { conversations } = useSyncline();
  const [edited, edit] = useState<string>();
  const end = (isKept: boolean) => {
    if (isKept && edited !== undefined && edited.trim() !== (title ?? ""))
      void conversations.rename(id, edited.trim());
    edit(undefined);
  };
  if (edited === undefined)
    return (
      <h3>
        <button
          type="button"
          className="title"
          title="Rename"
          data-testid={`title-${name}`}
          onClick={() => edit(title ?? "")}
        >
          {title ?? "New chat"}
          <Icon name="edit" />
        </button>
      </h3>
    );
  return (
    <input
      className="title-input"
      aria-label="Title"
      data-testid={`title-input-${name}`}
      value={edited}
      maxLength={200}
      ref={focusFirst}
      onChange={(event) => edit(event.currentTarget.value)}
      onBlur={() => end(true)}
      onKeyDown={(event) => {
        if (event.key === "Enter") end(true);
        if (event.key === "Escape") end(false);
      }}
    />
  );
}

/** Puts the caret into a field that has just come, once. */
function focusFirst(field: HTMLInputElement | HTMLTextAreaElement | null): void {
  if (field === null || field.dataset["met"] !== undefined) return;
  field.dataset["met"] = "";
  field.focus();
  field.select();
}

/** Two devices named it: the later name stands, the other stays in reach, and either choice can be undone. */
function TitleConflict({ id, state, name }: Omit<HeadProps, "onBack">) {
  const { conversations } = useSyncline();
  const nameOf = useWriterName();
  const [undo, setUndo] = useState<string>();
  const key = `syncline.kept.${name}.${id}`;
  const [kept, setKept] = useState(() => localStorage.getItem(key));
  const keep = (hlc: string) => {
    localStorage.setItem(key, hlc);
    setKept(hlc);
  };
  const title = state.row?.title ?? "";
  const hint: Hint | undefined = state.row?.conflicts["title"]?.[0];
  if (undo !== undefined)
    return (
      <p className="hint" role="status" data-testid={`conflict-${name}`}>
        Now named “{title}”.
        <button
          type="button"
          onClick={() => {
            void conversations.adopt(id, "title", { value: undo });
            setUndo(undefined);
          }}
        >
          Undo
        </button>
        <IconButton icon="close" label="Keep it" onClick={() => setUndo(undefined)} />
      </p>
    );
  if (hint === undefined || kept === hint.hlc || typeof hint.value !== "string" || hint.value === "")
    return null;
  return (
    <p className="hint" data-testid={`conflict-${name}`}>
      Also named “{hint.value}” on {nameOf(hint.writer)}.
      <button
        type="button"
        onClick={() => {
          setUndo(title);
          void conversations.adopt(id, "title", hint);
        }}
      >
        Use that
      </button>
      <IconButton icon="close" label="Keep the name as it is" onClick={() => keep(hint.hlc)} />
    </p>
  );
}

/** Which other devices lack something of this conversation. */
function Absent({ state }: { readonly state: State }) {
  const behind = state.devices.filter((device) => (device.behind ?? 0) > 0);
  if (behind.length === 0) return null;
  const words = behind.map(
    ({ name, behind, online }) => `${name} is ${behind} behind${online ? "" : ", offline"}`,
  );
  return <p className="absent">{words.join(" · ")}</p>;
}
