/** Writes registers: only ever the writer's own key. */
import type { Clock } from "./hlc.ts";
import { parseWriter, type Writer } from "./ids.ts";
import { same, store } from "./json.ts";
import { compare, type Entry, type Ranking, type Registers, type Source, storedEntry } from "./register.ts";

/** The longest value of a register, in bytes of JSON: longer ones could make the server refuse all that follows. */
const VALUE_BYTES = 64 * 1024;
/** So many registers of sessions that ended are folded in one go when a document is opened. */
const FOLD_AT_ONCE = 200;

export class Pen {
  readonly clock: Clock;
  #writer: Writer;
  /** Sessions of this device that ended without a word: nobody else writes their keys any more. */
  #dead: ReadonlySet<Writer> = new Set();

  constructor(writer: Writer, clock: Clock) {
    this.#writer = writer;
    this.clock = clock;
  }

  get writer(): Writer {
    return this.#writer;
  }

  /** Takes the session that the device's store gave this page, before anything is written. */
  begin(writer: Writer, dead: ReadonlySet<Writer>): void {
    this.#writer = writer;
    this.#dead = dead;
  }

  isOwn(writer: Writer): boolean {
    return writer === this.writer || this.#dead.has(writer);
  }

  /**
   * The writer of values of a source. A writer has one value of a field, so each source has a writer of its own:
   * what is inferred would else replace what the same device had set by hand.
   */
  writerOf(source: Source): Writer {
    return source === "explicit" ? this.writer : (parseWriter(`${this.writer}-${source}`) ?? this.writer);
  }

  /** Sets a field. What stands there by this writer's own hand already is not written again. */
  write(registers: Registers, field: string, value: unknown, meta?: unknown, writer = this.writer): void {
    const stored = store(value);
    const about = meta === undefined ? undefined : store(meta);
    const size = new TextEncoder().encode(JSON.stringify([stored, about])).length;
    if (size > VALUE_BYTES)
      throw new RangeError(`this is too long to keep: ${size} of at most ${VALUE_BYTES} bytes`);
    const winner = registers.field(field)?.[0];
    if (winner?.writer === writer && same(winner.value, stored) && same(winner.meta, about)) return;
    const transact = () => {
      this.#foldField(registers, field, "time");
      const entry = { hlc: this.clock.tick(), value: stored, meta: about };
      registers.map.set(`${field}@${writer}`, storedEntry(entry));
    };
    registers.map.doc?.transact(transact, this);
  }

  /**
   * Folds what sessions of this device that ended have left into this session's keys, with their original times. Many
   * of them stay until their field is written: rewriting all would cost every device more than it saves.
   */
  fold(registers: Registers, ranking: Ranking): void {
    if (this.#dead.size === 0) return;
    const fields = [...registers.fields].filter(([, field]) =>
      field.some(({ writer }) => this.#dead.has(writer)),
    );
    if (fields.length === 0 || fields.length > FOLD_AT_ONCE) return;
    registers.map.doc?.transact(() => {
      for (const [name] of fields) this.#foldField(registers, name, ranking);
    }, this);
  }

  #foldField(registers: Registers, name: string, ranking: Ranking): void {
    if (this.#dead.size === 0) return;
    const field = registers.field(name) ?? [];
    const dead = field.filter(({ writer }) => this.#dead.has(writer));
    const strongest = dead[0];
    if (strongest === undefined) return;
    const own = field.find(({ writer }) => writer === this.writer);
    const folded: Entry = { ...strongest, writer: this.writer };
    if (own === undefined || compare(folded, own, ranking) > 0) {
      registers.map.set(`${name}@${this.writer}`, storedEntry(folded));
    }
    for (const { writer } of dead) registers.map.delete(`${name}@${writer}`);
  }
}
