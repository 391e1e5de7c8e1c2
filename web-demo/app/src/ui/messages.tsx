/** The turns of a conversation; 10,000 scroll like 10. New ones keep the end in view for who is at the end. */
import type { Message, MessageId } from "@syncline/client";
import type { useConversation } from "@syncline/client/react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import type { DemoDevice } from "../lib/device.ts";
import { MessageView } from "./message-view.tsx";

/** A usual turn; real heights are measured as they come into view. */
const TURN_HEIGHT = 92;
/** Nearer to the end than this is at the end. */
const END_PX = 80;

export function Messages(props: {
  readonly device: DemoDevice;
  readonly state: ReturnType<typeof useConversation>;
}) {
  const { device, state } = props;
  const { messages, phase, conversation } = state;
  const scroller = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const [edited, edit] = useState<MessageId>();
  const virtual = useVirtualizer({
    count: messages.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => TURN_HEIGHT,
    getItemKey: (index) => messages[index]?.id ?? index,
    overscan: 4,
  });
  const last = messages.at(-1)?.id;
  const height = virtual.getTotalSize();
  useLayoutEffect(() => {
    const { current } = scroller;
    // Also when a turn turns out to be higher than was thought.
    if (current !== null && isAtEnd.current && height > 0 && last !== undefined)
      current.scrollTop = current.scrollHeight;
  }, [height, last]);
  useEffect(() => {
    // Who writes wants to see it.
    const own = messages.at(-1);
    if (own?.delivery === "pending" && own.device === device.client.device.id) isAtEnd.current = true;
  }, [messages, device]);
  if (messages.length === 0)
    return (
      <p className="empty">
        {phase === "loading" ? "Opening…" : "Say something: it is kept at once, and synced when it can be."}
      </p>
    );
  return (
    <div
      ref={scroller}
      className="messages"
      role="log"
      aria-label="Messages"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keyboard
      tabIndex={0}
      data-testid={`messages-${device.role.name}`}
      onScroll={({ currentTarget: at }) => {
        isAtEnd.current = at.scrollHeight - at.scrollTop - at.clientHeight < END_PX;
      }}
    >
      <ol style={{ height }}>
        {virtual.getVirtualItems().map(({ key, index, start }) => {
          const message = messages[index] as Message;
          return (
            <li
              key={key}
              ref={virtual.measureElement}
              data-index={index}
              aria-setsize={messages.length}
              aria-posinset={index + 1}
              style={{ transform: `translateY(${start}px)` }}
            >
              <MessageView
                message={message}
                device={device}
                conversation={conversation}
                isEdited={edited === message.id}
                onEdit={edit}
              />
            </li>
          );
        })}
      </ol>
    </div>
  );
}
