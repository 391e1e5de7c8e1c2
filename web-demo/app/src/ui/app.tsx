/** The whole page: the head with what concerns all devices, the devices, and the strip that shows what goes over the wires. */
import { SynclineProvider } from "@syncline/client/react";
import { type DragEvent, useState } from "react";
import type { Chaos } from "../lib/chaos.ts";
import type { DemoDevice } from "../lib/device.ts";
import type { Importing } from "../lib/importing.ts";
import type { DeviceName } from "../lib/place.ts";
import { ActivityStrip } from "./activity-strip.tsx";
import { ChaosBar } from "./chaos-bar.tsx";
import { DevicePanel } from "./device-panel.tsx";
import { Icon } from "./icon.tsx";
import { ImportNotice } from "./import-notice.tsx";
import { Masthead } from "./masthead.tsx";
import { StatusDot } from "./status.tsx";

export interface AppProps {
  readonly person: string;
  readonly devices: readonly DemoDevice[];
  readonly chaos: Chaos;
  readonly importing: Importing;
}

export function App({ person, devices, chaos, importing }: AppProps) {
  // On a narrow screen one device is shown at a time.
  const [shown, show] = useState<DeviceName>("phone");
  const { isOver, drop } = useDrop((file) => void importing.take(file));
  return (
    <div className="page" data-dragging={isOver} {...drop}>
      <Masthead person={person} onImport={(file) => void importing.take(file)}>
        <ChaosBar chaos={chaos} />
      </Masthead>
      <ImportNotice importing={importing} />
      <DeviceTabs devices={devices} shown={shown} onShow={show} />
      <main className="devices" data-shown={shown}>
        {devices.map((device) => (
          <SynclineProvider key={device.role.name} client={device.client}>
            <DevicePanel device={device} chaos={chaos} />
          </SynclineProvider>
        ))}
      </main>
      <ActivityStrip devices={devices} />
      {isOver && (
        <p className="drop-here" aria-hidden="true">
          Drop a ChatGPT export here: conversations.json or its zip
        </p>
      )}
    </div>
  );
}

function DeviceTabs(props: {
  readonly devices: readonly DemoDevice[];
  readonly shown: DeviceName;
  readonly onShow: (name: DeviceName) => void;
}) {
  return (
    <nav className="device-tabs" aria-label="Devices">
      {props.devices.map(({ role, client }) => (
        <button
          key={role.name}
          type="button"
          aria-pressed={props.shown === role.name}
          onClick={() => props.onShow(role.name)}
        >
          <Icon name={role.name} />
          {role.title}
          <StatusDot live={client.status} />
        </button>
      ))}
    </nav>
  );
}

/** Files that are dragged over the page. */
function useDrop(take: (file: File) => void) {
  const [depth, setDepth] = useState(0);
  const carriesFiles = (event: DragEvent) => event.dataTransfer.types.includes("Files");
  const drop = {
    onDragEnter: (event: DragEvent) => carriesFiles(event) && setDepth((depth) => depth + 1),
    onDragLeave: (event: DragEvent) => carriesFiles(event) && setDepth((depth) => depth - 1),
    onDragOver: (event: DragEvent) => carriesFiles(event) && event.preventDefault(),
    onDrop: (event: DragEvent) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      setDepth(0);
      const file = event.dataTransfer.files[0];
      if (file !== undefined) take(file);
    },
  };
  return { isOver: depth > 0, drop };
}
