/** One turn: who, what, how far it has come, and what can be done with it. */
import {
  type Conversation,
  type Delivery,
  hlcMs,
  type Message,
  type MessageId,
  type Part,
  textOf,
} from "@syncline/client";
import { memo, useState } from "react";
import type { DemoDevice } from "../lib/device.ts";
import { useWriterName } from "./hooks.ts";
import { Icon, IconButton } from "./icon.tsx";

interface MessageProps {
  readonly message: Message;
  readonly device: DemoDevice;
  readonly conversation: Conversation;
  readonly isEdited: boolean;
  readonly onEdit: (id: MessageId | undefined) => void;
}

const DELIVERIES: Readonly<
  Record<Delivery, { readonly icon: "slow" | "saved" | "everywhere"; readonly words: string }>
> = {
  pending: { icon: "slow", words: "On this device only" },
  accepted: { icon: "saved", words: "On the server's disk" },
  everywhere: { icon: "everywhere", words: "On all devices" },
};
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export const MessageView = memo(function MessageView(props: MessageProps) {
  const { message, isEdited } = props;
  const isOwn = message.role === "user";
  return (
    <section
      className={isOwn ? "turn own" : "turn"}
      data-testid="turn"
      data-id={message.id}
      data-role={message.role}
      data-delivery={message.delivery}
      data-seq={message.seq ?? ""}
    >
      <div className="byline">
        <Byline message={message} />
        <Tools {...props} />
      </div>
      {isEdited ? <Rewording {...props} /> : <Content message={message} />}
    </section>
  );
});

function Byline({ message }: { readonly message: Message }) {
  const nameOf = useWriterName();
  const delivery = DELIVERIES[message.delivery];
  const own = message.device === undefined ? "You" : `You, ${nameOf(message.by)}`;
  return (
    <p>
      {message.role === "user" ? own : "Assistant"}
      <time dateTime={new Date(hlcMs(message.at)).toISOString()}>{TIME.format(hlcMs(message.at))}</time>
      <span className="delivery" data-delivery={message.delivery} title={delivery.words}>
        <Icon name={delivery.icon} />
        <span className="visually-hidden">{delivery.words}</span>
      </span>
    </p>
  );
}

function Content({ message }: { readonly message: Message }) {
  if (message.erased) return <p className="words erased">Erased for good</p>;
  const others = message.parts.filter(({ type }) => type !== "text" && type !== "step-start");
  const text = textOf(message);
  return (
    <>
      {(text !== "" || others.length === 0) && <p className="words">{text}</p>}
      {others.length > 0 && (
        <ul className="parts">
          {others.map((part, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a message never change
            <li key={at}>{nameOfPart(part)}</li>
          ))}
        </ul>
      )}
      {message.state === "interrupted" && <p className="state">The answer broke off here.</p>}
      {message.state === "error" && <p className="state">The answer ended with an error.</p>}
    </>
  );
}

function nameOfPart(part: Part): string {
  const name = part["filename"] ?? part["title"] ?? part["toolName"] ?? part["url"];
  return typeof name === "string" ? `${part.type}: ${name}` : part.type;
}

function Tools({ message, device, conversation, isEdited, onEdit }: MessageProps) {
  const { index, count, ids } = message.alternatives;
  const at = ids.indexOf(message.id);
  const isOwn = message.role === "user";
  const vote = message.feedback?.v ?? 0;
  const judge = (v: 1 | -1) => void conversation.feedback(message.id, vote === v ? null : { v });
  const go = (step: number) => {
    const other = ids[at + step];
    if (other !== undefined) void conversation.select(other);
  };
  return (
    <span className="tools">
      {count > 1 && (
        <span className="alternatives" data-testid="alternatives">
          <IconButton icon="back" label="The one before" disabled={index <= 1} onClick={() => go(-1)} />
          {index} of {count}
          <IconButton icon="forward" label="The next one" disabled={index >= count} onClick={() => go(1)} />
        </span>
      )}
      {!message.erased && isOwn && !isEdited && (
        <IconButton icon="edit" label="Say it in another way" onClick={() => onEdit(message.id)} />
      )}
      {!message.erased && !isOwn && (
        <>
          <IconButton
            icon="again"
            label="Answer again"
            testid="again"
            onClick={() => void device.assistant.again(conversation, message.id)}
          />
          <IconButton icon="good" label="A good answer" pressed={vote === 1} onClick={() => judge(1)} />
          <IconButton icon="bad" label="A bad answer" pressed={vote === -1} onClick={() => judge(-1)} />
        </>
      )}
    </span>
  );
}

/** The same turn said in another way: both stay. */
function Rewording({ message, device, conversation, onEdit }: MessageProps) {
  const [text, setText] = useState(textOf(message));
  const send = () => {
    const id = conversation.alternative(message.id, text.trim());
    device.assistant.owe(conversation.id, id);
    onEdit(undefined);
  };
  return (
    <form
      className="rewording"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() !== "") send();
      }}
    >
      <textarea
        aria-label="Say it in another way"
        value={text}
        rows={3}
        data-testid="rewording"
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && onEdit(undefined)}
      />
      <button type="submit" disabled={text.trim() === ""}>
        Send
      </button>
      <button type="button" onClick={() => onEdit(undefined)}>
        Cancel
      </button>
    </form>
  );
}
