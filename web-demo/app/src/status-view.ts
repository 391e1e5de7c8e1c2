/** Says a device's status and its peers' in words, for the eye and for a screen reader. */
import type { Device, PeerDevice, Status } from "@syncline/client";
import { element, icon, plural } from "./dom.ts";

/** "Saved" is shown this late at the earliest, so that typing does not make the pill flicker. */
const SETTLE_MS = 200;
const ANNOUNCE_MS = 900;

interface Words {
  readonly short: string;
  readonly long: string;
  readonly count: number;
}

export class StatusView {
  readonly pill = element("span", { class: "pill" });
  readonly detail = element("p", { class: "detail" });
  readonly peers = element("p", { class: "peers" });
  readonly live = element("p", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  readonly #name: string;
  readonly #here: ReadonlySet<string>;
  #shown: Status["kind"] | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #announcing: ReturnType<typeof setTimeout> | undefined;

  constructor({ kind, name }: Device, here: readonly Device[]) {
    this.#name = name;
    this.#here = new Set(here.map((device) => device.id));
    this.pill.dataset["testid"] = `status-${kind}`;
    this.detail.dataset["testid"] = `detail-${kind}`;
    this.peers.dataset["testid"] = `peers-${kind}`;
  }

  show(status: Status, peers: readonly PeerDevice[]): void {
    clearTimeout(this.#settling);
    const settles = status.kind === "saved" || status.kind === "merging";
    if (settles && this.#shown !== status.kind) {
      this.#settling = setTimeout(() => this.#render(status, peers), SETTLE_MS);
    } else this.#render(status, peers);
  }

  #render(status: Status, peers: readonly PeerDevice[]): void {
    const words = describe(status, peers);
    this.#shown = status.kind;
    this.pill.dataset["status"] = status.kind;
    this.pill.dataset["count"] = String(words.count);
    this.pill.replaceChildren(icon(status.kind), words.short);
    this.detail.replaceChildren(words.long);
    this.peers.replaceChildren(...describePeers(status, peers, this.#here));
    clearTimeout(this.#announcing);
    this.#announcing = setTimeout(() => {
      const text = `${this.#name}: ${words.short}`;
      if (this.live.textContent !== text) this.live.textContent = text;
    }, ANNOUNCE_MS);
  }
}

function describe(status: Status, peers: readonly PeerDevice[]): Words {
  switch (status.kind) {
    case "offline": {
      const { unsaved } = status;
      const kept =
        unsaved === 0
          ? "Everything you wrote here is saved. You can go on writing."
          : `${plural(unsaved, "change")} kept on this device, not on the server yet.`;
      return {
        short: unsaved === 0 ? "Offline" : `Offline · ${unsaved} not saved`,
        long: status.cause === "unreachable" ? `The server does not answer; trying again. ${kept}` : kept,
        count: unsaved,
      };
    }
    case "connecting":
      return {
        short: status.unsaved === 0 ? "Connecting" : `Connecting · ${status.unsaved} not saved`,
        long: "Asking the server what is new.",
        count: status.unsaved,
      };
    case "saving":
      return {
        short: `Saving ${status.unsaved}`,
        long: `${plural(status.unsaved, "change")} on the way to the server's disk.`,
        count: status.unsaved,
      };
    case "saved":
      return { short: "Saved", long: whereSaved(peers), count: 0 };
    case "merging":
      return {
        short: `${status.changes} behind`,
        long: `${plural(status.changes, "change")} from elsewhere still to be stored on this device.`,
        count: status.changes,
      };
    case "refused":
      return {
        short: status.unsaved === 0 ? "Refused" : `Refused · ${status.unsaved} not saved`,
        long: `The server says: ${status.reason}.`,
        count: status.unsaved,
      };
  }
}

function whereSaved(peers: readonly PeerDevice[]): string {
  const everywhere = peers.length > 0 && peers.every((peer) => peer.behind === 0);
  return everywhere ? "On the server's disk and on all your devices." : "On the server's disk.";
}

function describePeers(status: Status, peers: readonly PeerDevice[], here: ReadonlySet<string>): Node[] {
  if (status.kind === "offline" || status.kind === "refused")
    return [note("Other devices: not known from here")];
  if (peers.length === 0)
    return [note(status.kind === "connecting" ? "Other devices: not known yet" : "No other device")];
  const elsewhere = peers.filter((peer) => !here.has(peer.id));
  const shown = peers
    .filter((peer) => here.has(peer.id))
    .map((peer) => describePeer(peer.name, [peer], "peer"));
  if (elsewhere.length === 0) return shown;
  return [
    ...shown,
    describePeer(plural(elsewhere.length, "device"), elsewhere, "peers-elsewhere", " elsewhere"),
  ];
}

/** One device, or several in one breath: whether any is online, and how far the furthest is behind. */
function describePeer(name: string, peers: readonly PeerDevice[], testId: string, where = ""): Node {
  const online = peers.filter((peer) => peer.online).length;
  const behind = Math.max(...peers.map((peer) => peer.behind ?? 0));
  const presence =
    where === ""
      ? ` is ${online > 0 ? "online" : "offline"}`
      : `${where}, ${online > 0 ? online : "none"} online`;
  const lag = behind === 0 ? "" : `, ${peers.length > 1 ? "up to " : ""}${plural(behind, "change")} behind`;
  return element(
    "span",
    {
      class: "peer",
      "data-online": String(online > 0),
      "data-behind": String(behind),
      "data-testid": testId,
    },
    element("span", { class: "dot", "aria-hidden": "true" }),
    `${name}${presence}${lag}`,
  );
}

function note(text: string): HTMLElement {
  return element("span", { class: "peer unknown" }, text);
}
