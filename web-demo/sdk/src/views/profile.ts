/** What belongs to the person: preferences with where each came from, devices, folders. */
import { type DeviceId, type FolderId, uuid7 } from "../model/ids.ts";
import type { Json } from "../model/json.ts";
import { same } from "../model/json.ts";
import type { Pen } from "../model/pen.ts";
import {
  type Folder,
  grouped,
  isBlocked,
  type Preference,
  type ProfileDevice,
  readDevice,
  readFolders,
  readPreference,
} from "../model/profile.ts";
import type { Hint, Registers, Source } from "../model/register.ts";
import { order } from "../model/register.ts";
import type { Device } from "../sync/status.ts";
import { Computed, keepSame, type Live } from "./live.ts";

type WhenOpen = <T>(work: () => T | Promise<T>) => Promise<T>;

/** Where a value comes from; set by the person's own hand if not given. */
export interface Provenance {
  readonly source?: Source;
  /** How sure it is, 0 to 1. */
  readonly confidence?: number;
  /** What it was concluded from. */
  readonly evidence?: Json;
  /** For how many seconds it holds. */
  readonly ttl?: number;
}

/** A root map of registers that is opened after the view is made. */
abstract class RegisterView<T> implements Live<readonly T[]> {
  protected readonly pen: Pen;
  readonly #whenOpen: WhenOpen;
  readonly #view = new Computed<readonly T[]>((before) => this.#keep(before ?? []));
  #registers: Registers | undefined;

  constructor(pen: Pen, whenOpen: WhenOpen) {
    this.pen = pen;
    this.#whenOpen = whenOpen;
  }

  get value(): readonly T[] {
    return this.#view.value;
  }

  readonly subscribe = (listener: () => void): (() => void) => this.#view.subscribe(listener);

  open(registers: Registers): void {
    this.#registers?.destroy();
    this.#registers = registers;
    registers.watch(() => this.#view.invalidate());
    this.#view.invalidate();
  }

  close(): void {
    this.#registers?.destroy();
    this.#registers = undefined;
  }

  protected abstract read(registers: Registers): readonly T[];
  protected abstract keyOf(item: T): string;

  protected get registers(): Registers | undefined {
    return this.#registers;
  }

  protected write(write: (registers: Registers) => void): Promise<void> {
    return this.#whenOpen(() => {
      const registers = this.#registers;
      if (registers === undefined) throw new Error("the profile is not open");
      registers.map.doc?.transact(() => write(registers), this.pen);
    });
  }

  /** Keeps the objects of what did not change. */
  #keep(before: readonly T[]): readonly T[] {
    if (this.#registers === undefined) return before;
    const known = new Map(before.map((item) => [this.keyOf(item), item]));
    const now = this.read(this.#registers).map((item) => {
      const old = known.get(this.keyOf(item));
      return old !== undefined && same(old, item) ? old : item;
    });
    return keepSame(before, now);
  }
}

export class Preferences extends RegisterView<Preference> {
  get(name: string): Preference | undefined {
    return this.value.find((preference) => preference.name === name);
  }

  /** Sets a value. What the person sets beats whatever was or will be inferred. */
  set(name: string, value: Json, provenance: Provenance = {}): Promise<void> {
    const { source = "explicit", confidence, evidence, ttl } = provenance;
    if (confidence !== undefined && !(confidence >= 0 && confidence <= 1)) {
      throw new RangeError("a confidence is between 0 and 1");
    }
    return this.write((registers) => {
      if (source === "inferred" && isBlocked(registers.field(name))) {
        throw new Error("the person does not want this to be inferred");
      }
      const meta = { source, confidence, evidence, ttl };
      this.pen.write(registers, name, value, meta, this.pen.writerOf(source));
    });
  }

  /** Takes back what was there; inference goes on. */
  clear(name: string): Promise<void> {
    return this.#takeBack(name, "clear");
  }

  /** Takes back what was there, and stops inference until it is cleared or set again. */
  block(name: string): Promise<void> {
    return this.#takeBack(name, "block");
  }

  /** Takes a value that lost, by the person's own hand. */
  adopt(name: string, { value }: Pick<Hint, "value">): Promise<void> {
    return this.set(name, value);
  }

  protected read(registers: Registers): readonly Preference[] {
    const { now } = this.pen.clock;
    const known = [...registers.fields].flatMap(([name, field]) => readPreference(name, field, now) ?? []);
    return known.sort((a, b) => order(a.name, b.name));
  }

  protected keyOf({ name }: Preference): string {
    return name;
  }

  #takeBack(name: string, op: "clear" | "block"): Promise<void> {
    return this.write((registers) => this.pen.write(registers, name, null, { source: "explicit", op }));
  }
}

export class Devices extends RegisterView<ProfileDevice> {
  get(id: DeviceId): ProfileDevice | undefined {
    return this.value.find((device) => device.id === id);
  }

  rename(id: DeviceId, name: string): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|name`, name));
  }

  /** Says that a device is no longer the person's. */
  revoke(id: DeviceId, revoked = true): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|revoked`, revoked));
  }

  /** Enters this device where it is not; a name that somebody gave it stays. */
  enter({ id, name, kind }: Device): Promise<void> {
    return this.write((registers) => {
      if (registers.field(`${id}|name`) === undefined) this.pen.write(registers, `${id}|name`, name);
      if (registers.field(`${id}|kind`) === undefined) this.pen.write(registers, `${id}|kind`, kind);
    });
  }

  protected read(registers: Registers): readonly ProfileDevice[] {
    const groups = [...grouped(registers.fields)];
    const devices = groups.map(([id, fields]) => readDevice(id as DeviceId, fields));
    return devices.sort((a, b) => order(a.id, b.id));
  }

  protected keyOf({ id }: ProfileDevice): string {
    return id;
  }
}

export class Folders extends RegisterView<Folder> {
  get(id: FolderId): Folder | undefined {
    return this.value.find((folder) => folder.id === id);
  }

  create(name: string, parent: FolderId | null = null): FolderId {
    const id = uuid7(this.pen.clock.now) as FolderId;
    void this.write((registers) => {
      this.pen.write(registers, `${id}|name`, name);
      if (parent !== null) this.pen.write(registers, `${id}|parent`, parent);
    });
    return id;
  }

  rename(id: FolderId, name: string): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|name`, name));
  }

  move(id: FolderId, parent: FolderId | null): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|parent`, parent));
  }

  /** Sorts by hand: folders of one parent stand by these texts (fractional indices). */
  reorder(id: FolderId, place: string): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|order`, place));
  }

  delete(id: FolderId): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|deleted`, true));
  }

  restore(id: FolderId): Promise<void> {
    return this.write((registers) => this.pen.write(registers, `${id}|deleted`, false));
  }

  protected read(registers: Registers): readonly Folder[] {
    return readFolders(grouped(registers.fields));
  }

  protected keyOf({ id }: Folder): string {
    return id;
  }
}
