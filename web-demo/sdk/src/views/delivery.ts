/**
 * Which messages are on all devices: from the server's status reports, which say how many saved changes each device lacks.
 *
 * A report counts changes of a document, an acceptance counts messages. A message that is accepted here is among what
 * the next report counts, so once every device has that much, it has the message.
 */
import { isRecord, whole } from "../model/json.ts";
import type { PeerDevice, StatusReport } from "../sync/status.ts";

/** Messages up to `seq` are within the first `saved` changes of the document. */
interface Point {
  readonly seq: number;
  readonly saved: number;
}

/** Points waiting for devices to come after; more of them are merged into the newest. */
const POINTS = 256;

export class Deliveries {
  #reached: Point;
  #points: Point[] = [];
  #report: StatusReport | undefined;

  constructor(kept?: unknown) {
    const seq = isRecord(kept) ? whole(kept["seq"]) : undefined;
    const saved = isRecord(kept) ? whole(kept["saved"]) : undefined;
    this.#reached = { seq: seq ?? 0, saved: saved ?? 0 };
  }

  /** All devices have the messages up to this number of acceptance. */
  get everywhere(): number {
    return this.#reached.seq;
  }

  /** What to keep, so that a reload knows as much. */
  get kept(): Point {
    return this.#reached;
  }

  /**
   * Takes a report of the server, the devices that count, and the largest number of acceptance that is known
   * here. Answers whether more is known.
   */
  report(report: StatusReport | undefined, devices: readonly PeerDevice[], seq: number): boolean {
    if (report === undefined || report === this.#report || devices.length === 0) return false;
    this.#report = report;
    const before = this.#reached;
    const last = this.#points.at(-1) ?? this.#reached;
    if (seq > last.seq) {
      if (this.#points.length >= POINTS) this.#points.pop();
      this.#points.push({ seq, saved: report.saved });
    }
    const confirmed = Math.min(
      ...report.devices.map(({ behind }) => report.saved - (behind ?? report.saved)),
    );
    // A device that came later lacks what all the others had.
    if (confirmed < this.#reached.saved) {
      this.#points.unshift(this.#reached);
      this.#reached = { seq: 0, saved: 0 };
    }
    while (this.#points[0] !== undefined && this.#points[0].saved <= confirmed) {
      this.#reached = this.#points.shift() ?? this.#reached;
    }
    return before.seq !== this.#reached.seq;
  }
}
