/** One device: its head with status and network, and below it the list, a conversation or the preferences. */
import type { ConversationId } from "@syncline/client";
import { useEffect, useState } from "react";
import type { Chaos } from "../lib/chaos.ts";
import type { DemoDevice } from "../lib/device.ts";
import { MODES, type Mode } from "../lib/network.ts";
import { Chat } from "./chat.tsx";
import { useStore, useStored } from "./hooks.ts";
import { Icon } from "./icon.tsx";
import { Preferences } from "./preferences.tsx";
import { Sidebar } from "./sidebar.tsx";
import { StatusPill, StatusWords, useShownStatus } from "./status.tsx";

export type View =
  | { readonly kind: "list" }
  | { readonly kind: "preferences" }
  | { readonly kind: "chat"; readonly id: ConversationId };

const NETWORKS: Readonly<Record<Mode, string>> = {
  online: "Online",
  slow: "Slow",
  flaky: "Flaky",
  offline: "Offline",
};

export function DevicePanel({ device, chaos }: { readonly device: DemoDevice; readonly chaos: Chaos }) {
  const { role, client, network } = device;
  const [view, show] = useView(role.name);
  const mode = useStore(network.mode);
  const isGap = useStore(network.gap);
  const status = useShownStatus(client.status);
  const isStored = useStored(useStore(client.status));
  const run = useStore(chaos.state).conversation;
  useEffect(() => {
    if (run !== undefined) show({ kind: "chat", id: run });
  }, [run, show]);
  return (
    <section
      className={`device ${role.name}`}
      aria-label={role.title}
      data-testid={`device-${role.name}`}
      data-network={mode}
      data-view={view.kind}
      data-stored={isStored}
    >
      <header className="device-head">
        <h2>
          <Icon name={role.name} />
          {role.title}
        </h2>
        <StatusPill status={status} testid={`status-${role.name}`} />
        <fieldset className="networks">
          <legend className="visually-hidden">Network of the {role.title.toLowerCase()}</legend>
          {MODES.map((each) => (
            <label key={each} title={NETWORKS[each]} data-checked={mode === each}>
              <input
                type="radio"
                name={`network-${role.name}`}
                value={each}
                checked={mode === each}
                data-testid={`${each}-${role.name}`}
                onChange={() => network.set(each)}
              />
              <Icon name={each} />
              <span>{NETWORKS[each]}</span>
            </label>
          ))}
        </fieldset>
        <p className="standing">
          <StatusWords status={status} />
          {isGap && <em> The network is gone for a moment.</em>}
        </p>
      </header>
      <div className="device-body">
        <Sidebar device={device} view={view} onShow={show} />
        <div className="pane">
          {view.kind === "chat" && (
            <Chat key={view.id} id={view.id} device={device} onBack={() => show({ kind: "list" })} />
          )}
          {view.kind === "preferences" && <Preferences onBack={() => show({ kind: "list" })} />}
          {view.kind === "list" && (
            <p className="empty">Choose a conversation, or begin one. It takes no network.</p>
          )}
        </div>
      </div>
    </section>
  );
}

/** What a device shows; it outlives a reload. */
function useView(name: string): [View, (view: View) => void] {
  const key = `syncline.view.${location.hash.slice(1).split("&")[0]}.${name}`;
  const [view, setView] = useState<View>(() => {
    const stored = sessionStorage.getItem(key);
    return stored === null ? { kind: "list" } : (JSON.parse(stored) as View);
  });
  useEffect(() => sessionStorage.setItem(key, JSON.stringify(view)), [key, view]);
  return [view, setView];
}
