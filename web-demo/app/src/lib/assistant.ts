/**
 * The built-in assistant: it answers from real answers that people rated, where the build found them, else from a few of
 * its own.
 *
 * The device that asked answers. What it still owes outlives a reload; the request that an answer bears makes it one
 * message, however often it is tried.
 */
import type { Conversation, ConversationId, MessageId, Syncline } from "@syncline/client";
import { textOf } from "@syncline/client";

interface Answer {
  readonly question: string;
  readonly answers: readonly string[];
}

interface Owed {
  readonly conversation: ConversationId;
  readonly message: MessageId;
}

const MODEL = "built-in";
/** An assistant that answers within the same frame looks like an echo. */
const THINKS_MS = 500;
/** Two rare words in common, about: less is no answer to what was asked. */
const ENOUGH = 6;
const OWN: readonly string[] = [
  "Good question. Your words are on this device first, then on the server's disk, then on every other device.",
  "Switch this device offline and go on: it will all be merged when you are back.",
  "Rename this conversation on two devices while both are offline. The later name wins, and the other one stays in reach.",
  "Ask me once more with “Answer again”: both answers stay, as alternatives.",
];

export class Assistant {
  readonly #client: Syncline;
  readonly #key: string;
  readonly #busy = new Set<MessageId>();

  constructor(client: Syncline, key: string) {
    this.#client = client;
    this.#key = key;
    void client.ready.then(() => {
      for (const owed of this.#owed) void this.#answer(owed);
    });
  }

  /** Answers a turn of the person's, now or once this device has the server again. */
  owe(conversation: ConversationId, message: MessageId): void {
    const owed = { conversation, message };
    this.#keep([...this.#owed, owed]);
    void this.#answer(owed);
  }

  /** Answers the same turn in another way. */
  async again(chat: Conversation, message: MessageId): Promise<void> {
    const before = chat.message(message);
    const asked = before?.parent ? chat.message(before.parent) : undefined;
    if (before === undefined) return;
    const text = await this.#words(asked === undefined ? "" : textOf(asked), before.alternatives.count);
    chat.alternative(message, { role: "assistant", model: MODEL, parts: [{ type: "text", text }] });
  }

  async #answer(owed: Owed): Promise<void> {
    const { conversation, message } = owed;
    if (this.#busy.has(message)) return;
    this.#busy.add(message);
    const chat = this.#client.conversation(conversation);
    // Held open until it is answered.
    const release = chat.subscribe(() => undefined);
    try {
      await chat.ready();
      const asked = await this.#accepted(chat, message);
      if (asked !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, THINKS_MS));
        const text = await this.#words(textOf(asked), 0);
        const req = `answer-${message}`;
        chat.send({ role: "assistant", parent: message, req, model: MODEL, parts: [{ type: "text", text }] });
      }
      this.#keep(this.#owed.filter((other) => other.message !== message));
    } finally {
      release();
      this.#busy.delete(message);
    }
  }

  /** Waits until the turn is on the server's disk; undefined where it never will be. */
  #accepted(chat: Conversation, message: MessageId) {
    return new Promise<ReturnType<Conversation["message"]>>((resolve) => {
      const look = () => {
        const found = chat.message(message);
        if (chat.value.phase === "gone" || found?.erased === true) return settle(undefined);
        if (found !== undefined && found.seq !== null) settle(found);
      };
      const stop = chat.subscribe(look);
      const settle = (found: ReturnType<Conversation["message"]>) => {
        resolve(found);
        queueMicrotask(stop);
      };
      look();
    });
  }

  async #words(question: string, which: number): Promise<string> {
    const known = nearest(question, await answers());
    const choice = known?.answers ?? OWN;
    const first = known === undefined ? hash(question) : 0;
    return choice[(first + which) % choice.length] ?? "";
  }

  get #owed(): readonly Owed[] {
    return JSON.parse(localStorage.getItem(this.#key) ?? "[]") as readonly Owed[];
  }

  #keep(owed: readonly Owed[]): void {
    localStorage.setItem(this.#key, JSON.stringify(owed));
  }
}

let loading: Promise<readonly Answer[]> | undefined;

/** What the build found, loaded when it is first needed. */
function answers(): Promise<readonly Answer[]> {
  loading ??= fetch("/answers.json")
    .then((answer) => (answer.ok ? (answer.json() as Promise<readonly Answer[]>) : []))
    .catch(() => {
      loading = undefined;
      return [];
    });
  return loading;
}

/** The question that shares the rarest words with this one; undefined where there is none to speak of. */
function nearest(question: string, known: readonly Answer[]): Answer | undefined {
  const counts = new Map<string, number>();
  for (const { question } of known)
    for (const word of wordsOf(question)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const weight = (word: string) => {
    const count = counts.get(word) ?? 0;
    // What stands in every tenth question says nothing of this one.
    return count === 0 || count > known.length / 10 ? 0 : Math.log(known.length / count);
  };
  const asked = new Set(wordsOf(question));
  const score = (answer: Answer) =>
    wordsOf(answer.question).reduce((sum, word) => sum + (asked.has(word) ? weight(word) : 0), 0);
  const scored = known.map((answer) => [answer, score(answer)] as const);
  const best = scored.reduce<(typeof scored)[number] | undefined>(
    (best, each) => (best === undefined || each[1] > best[1] ? each : best),
    undefined,
  );
  return best !== undefined && best[1] >= ENOUGH ? best[0] : undefined;
}

function wordsOf(text: string): string[] {
  return [...new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [])];
}

function hash(text: string): number {
  let sum = 7;
  for (const char of text) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  return sum;
}
