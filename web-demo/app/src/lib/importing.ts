/** Imports a ChatGPT data export, or an archive of ours, and tells how it goes. */
import { Store } from "./store.ts";

export interface ImportState {
  readonly phase: "idle" | "reading" | "done" | "failed";
  readonly file: string;
  readonly imported: number;
  readonly skipped: number;
  readonly failed: readonly string[];
  readonly problem: string | undefined;
}

const IDLE: ImportState = {
  phase: "idle",
  file: "",
  imported: 0,
  skipped: 0,
  failed: [],
  problem: undefined,
};

interface Line {
  readonly report?: { readonly status: string; readonly title: string | null; readonly reason?: string };
  readonly problem?: { readonly detail?: string; readonly title?: string };
}

export class Importing {
  readonly state = new Store<ImportState>(IDLE);
  readonly #post: (body: Blob) => Promise<Response>;

  readonly #done: () => void;

  /** `done` is called once everything is on the server: the devices have to hear of it. */
  constructor(post: (body: Blob) => Promise<Response>, done: () => void) {
    this.#post = post;
    this.#done = done;
  }

  async take(file: File): Promise<void> {
    if (this.state.value.phase === "reading") return;
    this.state.set({ ...IDLE, phase: "reading", file: file.name });
    try {
      const answer = await this.#post(file);
      if (!answer.ok || answer.body === null) {
        const told = (await answer.json().catch(() => ({}))) as { readonly detail?: string };
        throw new Error(told.detail ?? `the server answered ${answer.status}`);
      }
      for await (const line of linesOf(answer.body)) this.#hear(JSON.parse(line) as Line);
      if (!this.#isOver) this.#note({ phase: "done" });
    } catch (error) {
      this.#note({ phase: "failed", problem: error instanceof Error ? error.message : String(error) });
    }
    if (this.state.value.imported > 0) this.#done();
  }

  dismiss(): void {
    if (this.#isOver) this.state.set(IDLE);
  }

  get #isOver(): boolean {
    return this.state.value.phase !== "reading";
  }

  #hear({ report, problem }: Line): void {
    const { imported, skipped, failed } = this.state.value;
    if (problem !== undefined)
      this.#note({ phase: "failed", problem: problem.detail ?? problem.title ?? "it failed" });
    if (report?.status === "imported") this.#note({ imported: imported + 1 });
    if (report?.status === "skipped") this.#note({ skipped: skipped + 1 });
    if (report?.status === "failed")
      this.#note({ failed: [...failed, `${report.title ?? "untitled"}: ${report.reason ?? "unreadable"}`] });
  }

  #note(change: Partial<ImportState>): void {
    this.state.set({ ...this.state.value, ...change });
  }
}

async function* linesOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line !== "");
  }
  if (rest !== "") yield rest;
}
