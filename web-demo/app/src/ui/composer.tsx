/** Where a person writes. What stands here is a draft: the other devices see it and can go on with it. */
import type { Draft } from "@syncline/client";
import type { useConversation } from "@syncline/client/react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { DemoDevice } from "../lib/device.ts";
import { useWriterName } from "./hooks.ts";
import { IconButton } from "./icon.tsx";

/** How long after the last keystroke a draft is kept. */
const DRAFT_MS = 1_500;
const LENGTH = 16_000;

export function Composer(props: {
  readonly device: DemoDevice;
  readonly state: ReturnType<typeof useConversation>;
}) {
  const { device, state } = props;
  const { conversation, draft, otherDrafts } = state;
  const [text, setText] = useState(draft?.text ?? "");
  /** What this field has last put into the draft: that comes back, and is no news. */
  const known = useRef(draft?.text);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  // A draft that comes from this device's store, or was taken over from another one, fills the field.
  useEffect(() => {
    const kept = known.current;
    if (draft?.text === kept) return;
    known.current = draft?.text;
    if (draft !== undefined) setText(draft.text);
    // It was sent from another device. What was typed here since then stays.
    else setText((text) => (text === kept ? "" : text));
  }, [draft]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const keep = (words: string) => {
    clearTimeout(timer.current);
    known.current = words;
    return conversation.setDraft({ text: words });
  };
  const write = (words: string) => {
    setText(words);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => void keep(words), DRAFT_MS);
  };
  const send = async () => {
    if (text.trim() === "") return;
    setText("");
    await keep(text.trim());
    const id = await conversation.sendDraft();
    known.current = undefined;
    if (id !== undefined) device.assistant.owe(conversation.id, id);
  };
  const typed = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void send();
  };
  return (
    <footer className="composer">
      <OtherDrafts drafts={otherDrafts} onTake={(other) => void conversation.takeDraft(other.writer)} />
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <textarea
          aria-label={`Message from the ${device.role.title.toLowerCase()}`}
          placeholder={`Write from the ${device.role.title.toLowerCase()}`}
          data-testid={`composer-${device.role.name}`}
          rows={1}
          maxLength={LENGTH}
          enterKeyHint="send"
          value={text}
          onChange={(event) => write(event.currentTarget.value)}
          onBlur={() => text !== (known.current ?? "") && void keep(text)}
          onKeyDown={typed}
        />
        <IconButton
          icon="send"
          label="Send"
          disabled={text.trim() === ""}
          testid={`send-${device.role.name}`}
          onClick={() => void send()}
        />
      </form>
    </footer>
  );
}

function OtherDrafts(props: { readonly drafts: readonly Draft[]; readonly onTake: (draft: Draft) => void }) {
  const nameOf = useWriterName();
  const free = props.drafts.filter(({ takenBy, text }) => takenBy === undefined && text !== "");
  return free.map((draft) => (
    <p key={draft.writer} className="hint" data-testid="other-draft">
      <span>
        Being written on {nameOf(draft.writer)}: “{draft.text.slice(0, 80)}”
      </span>
      <button type="button" onClick={() => props.onTake(draft)}>
        Go on here
      </button>
    </p>
  ));
}
