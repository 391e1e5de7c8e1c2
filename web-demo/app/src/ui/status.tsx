/** A device's status in words: for the eye, and for a screen reader. */
import type { Live, Status } from "@syncline/client";
import { useSettled, useStore } from "./hooks.ts";
import { Icon } from "./icon.tsx";

/** "Saved" is shown this late, so that typing does not make the pill flicker; bad news is shown at once. */
const SETTLE_MS = 250;
const ANNOUNCE_MS = 1_200;

/** What is shown of a status. */
export function useShownStatus(live: Live<Status>): Status {
  const now = useStore(live);
  return useSettled(now, now.kind !== "saved" && now.kind !== "merging", SETTLE_MS);
}

export function StatusPill({ status, testid }: { readonly status: Status; readonly testid: string }) {
  const unsaved = "unsaved" in status ? status.unsaved : 0;
  return (
    <span className="pill" data-status={status.kind} data-unsaved={unsaved} data-testid={testid}>
      <Icon name={status.kind} />
      {short(status)}
    </span>
  );
}

/** The same in a whole sentence, said politely where it has stood still for a while. */
export function StatusWords({ status }: { readonly status: Status }) {
  const said = useSettled(long(status), false, ANNOUNCE_MS);
  return (
    <>
      <span aria-hidden="true">{long(status)}</span>
      <span className="visually-hidden" role="status">
        {said}
      </span>
    </>
  );
}

export function StatusDot({ live }: { readonly live: Live<Status> }) {
  const { kind } = useStore(live);
  return <span className="status-dot" data-status={kind} />;
}

export function plural(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

function short(status: Status): string {
  switch (status.kind) {
    case "offline":
      return status.unsaved > 0 ? `Offline · ${status.unsaved}` : "Offline";
    case "connecting":
      return status.unsaved > 0 ? `Connecting · ${status.unsaved}` : "Connecting";
    case "saving":
      return `Saving · ${status.unsaved}`;
    case "merging":
      return `Merging · ${status.changes}`;
    case "saved":
      return "Saved";
    case "refused":
      return "Refused";
  }
}

function long(status: Status): string {
  switch (status.kind) {
    case "offline":
      if (status.unsaved === 0) return "Offline. Everything of this device is saved.";
      return `Offline. ${plural(status.unsaved, "edit")} kept on this device only.`;
    case "connecting":
      return status.unsaved > 0
        ? `Asking the server what is new; ${plural(status.unsaved, "edit")} not saved yet.`
        : "Asking the server what is new.";
    case "saving":
      return `${plural(status.unsaved, "edit")} on the way to the server's disk.`;
    case "merging":
      return `All saved here; taking in ${plural(status.changes, "change")} from elsewhere.`;
    case "saved":
      return "Everything of this device is on the server's disk.";
    case "refused":
      return `Not taken by the server: ${status.reason}`;
  }
}
