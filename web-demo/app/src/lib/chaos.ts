/**
 * The chaos run: networks are cut and mended at random while every device writes, and a count of turns, by their ids,
 * shows whether one is missing anywhere.
 */
import type { Conversation, ConversationId, MessageId } from "@syncline/client";
import type { DemoDevice } from "./device.ts";
import type { Mode } from "./network.ts";
import type { DeviceName } from "./place.ts";
import { Store } from "./store.ts";

export interface ChaosState {
  readonly phase: "idle" | "running" | "mending" | "proved";
  readonly conversation: ConversationId | undefined;
  /** Turns written. */
  readonly sent: number;
  /** Of these, how many each device shows, */
  readonly on: Readonly<Record<DeviceName, number>>;
  /** and the server has on disk, as its HTTP API tells. */
  readonly server: number;
  /** How often a network was cut or mended. */
  readonly turns: number;
}

export const IDLE: ChaosState = {
  phase: "idle",
  conversation: undefined,
  sent: 0,
  on: { phone: 0, laptop: 0, tab: 0 },
  server: 0,
  turns: 0,
};

const WRITE_MS = 500;
const CUT_MS: readonly [number, number] = [500, 1_200];
const COUNT_MS = 300;
const PAGE = 200;
const WORDS = "apple river stone cloud lamp garden winter paper bridge candle harbour meadow".split(" ");
/** Mostly cut: an online device proves nothing. */
const DRAWN: readonly Mode[] = ["offline", "offline", "flaky", "slow", "online"];

interface Page {
  readonly items: readonly { readonly id: MessageId }[];
  readonly next: string | null;
}

export class Chaos {
  readonly state = new Store<ChaosState>(IDLE);
  readonly #devices: readonly DemoDevice[];
  readonly #sent = new Set<MessageId>();
  #chats: readonly (readonly [DemoDevice, Conversation])[] = [];
  #before = new Map<DemoDevice, Mode>();
  #ending: (() => void)[] = [];

  constructor(devices: readonly DemoDevice[]) {
    this.#devices = devices;
  }

  async start(): Promise<void> {
    const [first] = this.#devices;
    if (first === undefined || this.state.value.phase === "running" || this.state.value.phase === "mending")
      return;
    const id = first.client.conversations.create({ title: "Chaos run" });
    this.#sent.clear();
    this.state.set({ ...IDLE, phase: "running", conversation: id });
    this.#chats = this.#devices.map((device) => [device, device.client.conversation(id)] as const);
    this.#before = new Map(this.#devices.map((device) => [device, device.network.mode.value]));
    this.#ending = this.#chats.map(([, chat]) => chat.subscribe(() => undefined));
    for (const [device, chat] of this.#chats) {
      await chat.ready();
      this.#every([WRITE_MS, WRITE_MS], () => this.#write(device, chat));
    }
    this.#every(CUT_MS, () => this.#cut());
    this.#every([COUNT_MS, 0], () => this.#count());
  }

  /** Mends all networks, and ends once every turn is everywhere. */
  async stop(): Promise<void> {
    if (this.state.value.phase !== "running") return;
    for (const end of this.#ending.splice(this.#chats.length)) end();
    this.#note({ phase: "mending" });
    for (const [device, mode] of this.#before) device.network.set(mode === "offline" ? "online" : mode);
    this.#every([COUNT_MS, 0], async () => {
      await this.#count();
      const { sent, on, server, phase } = this.state.value;
      if (phase !== "mending" || server !== sent || Object.values(on).some((count) => count !== sent)) return;
      this.#note({ phase: "proved" });
      for (const end of this.#ending.splice(0)) end();
    });
  }

  #note(change: Partial<ChaosState>): void {
    this.state.set({ ...this.state.value, ...change });
  }

  /** Does something again and again, one at a time, until the run ends. */
  #every([least, more]: readonly [number, number], work: () => void | Promise<void>): void {
    let timer: ReturnType<typeof setTimeout>;
    let over = false;
    const plan = () => {
      timer = setTimeout(
        async () => {
          await work();
          if (!over) plan();
        },
        least + Math.random() * more,
      );
    };
    this.#ending.push(() => {
      over = true;
      clearTimeout(timer);
    });
    plan();
  }

  #write({ role }: DemoDevice, chat: Conversation): void {
    const word = WORDS[Math.floor(Math.random() * WORDS.length)] ?? "";
    this.#sent.add(chat.send(`${role.title} ${this.#sent.size + 1}: ${word}`));
    this.#note({ sent: this.#sent.size });
  }

  #cut(): void {
    const device = this.#devices[Math.floor(Math.random() * this.#devices.length)];
    const mode = DRAWN[Math.floor(Math.random() * DRAWN.length)];
    if (device === undefined || mode === undefined) return;
    device.network.set(mode);
    this.#note({ turns: this.state.value.turns + 1 });
  }

  async #count(): Promise<void> {
    const on = { ...IDLE.on };
    for (const [{ role }, chat] of this.#chats) {
      const all = await chat.all();
      on[role.name] = all.filter(({ id }) => this.#sent.has(id)).length;
    }
    this.#note({ on, server: await this.#onServer() });
  }

  /** Asks the server itself, past the devices' networks. */
  async #onServer(): Promise<number> {
    const { conversation, server } = this.state.value;
    const [first] = this.#devices;
    if (conversation === undefined || first === undefined) return server;
    try {
      let found = 0;
      let cursor: string | null = "";
      while (cursor !== null) {
        const after: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
        const path = `/conversations/${conversation}/messages?branch=all&limit=${PAGE}${after}`;
        const page = (await first.ask(path)) as Page;
        found += page.items.filter(({ id }) => this.#sent.has(id)).length;
        cursor = page.next;
      }
      return found;
    } catch {
      return server;
    }
  }
}
