/** The strip at the foot: every frame of every device as it goes over the wire, the newest at the right. */
import { useEffect, useRef, useState } from "react";
import type { Activity, What } from "../lib/activity.ts";
import type { DemoDevice } from "../lib/device.ts";
import { useStore } from "./hooks.ts";
import { Icon } from "./icon.tsx";
import { plural } from "./status.tsx";

/** What the strip spans. */
const SPAN_MS = 20_000;
/** Pictures a second: enough to see it move, little to draw. */
const FRAME_MS = 1_000 / 15;
const COUNT_MS = 250;

const LEGEND: readonly (readonly [What, string])[] = [
  ["edit", "edit sent"],
  ["merge", "edit merged"],
  ["saved", "on disk"],
  ["sync", "asking what is new"],
];

export function ActivityStrip({ devices }: { readonly devices: readonly DemoDevice[] }) {
  return (
    <section className="activity" aria-label="What goes over the wires">
      {devices.map((device) => (
        <Lane key={device.role.name} device={device} />
      ))}
      <ul className="legend" aria-hidden="true">
        {LEGEND.map(([what, words]) => (
          <li key={what} data-what={what}>
            {words}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Lane({ device }: { readonly device: DemoDevice }) {
  const { role, activity, network } = device;
  const canvas = useRef<HTMLCanvasElement>(null);
  const counts = useCounts(activity);
  const isGap = useStore(network.gap);
  const isOff = useStore(network.mode) === "offline";
  useEffect(() => {
    const { current } = canvas;
    return current === null ? undefined : draw(current, activity);
  }, [activity]);
  return (
    <div className="lane" data-gone={isGap || isOff} data-testid={`lane-${role.name}`}>
      <span className="lane-name">
        <Icon name={role.name} />
        {role.title}
      </span>
      <canvas ref={canvas} />
      <span className="lane-counts">
        {plural(counts.edits, "edit")}, {plural(counts.merges, "merge")}
      </span>
    </div>
  );
}

function useCounts(activity: Activity) {
  const [counts, setCounts] = useState({ edits: activity.edits, merges: activity.merges });
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = activity.subscribe(() => {
      timer ??= setTimeout(() => {
        timer = undefined;
        setCounts({ edits: activity.edits, merges: activity.merges });
      }, COUNT_MS);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [activity]);
  return counts;
}

/** Draws for as long as there is something to see, and rests else. */
function draw(canvas: HTMLCanvasElement, activity: Activity): () => void {
  const context = canvas.getContext("2d");
  if (context === null) return () => undefined;
  let request = 0;
  let drawn = 0;
  const picture = (now: number) => {
    request = 0;
    const events = activity.events.filter(({ at }) => now - at < SPAN_MS);
    if (now - drawn >= FRAME_MS) {
      drawn = now;
      paint(canvas, context, events, now);
    }
    if (events.length > 0) ask();
  };
  const ask = () => {
    if (request === 0) request = requestAnimationFrame(picture);
  };
  const stop = activity.subscribe(ask);
  ask();
  return () => {
    stop();
    cancelAnimationFrame(request);
  };
}

function paint(
  canvas: HTMLCanvasElement,
  context: CanvasRenderingContext2D,
  events: Activity["events"],
  now: number,
): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio;
  if (canvas.width !== width * scale || canvas.height !== height * scale) {
    canvas.width = width * scale;
    canvas.height = height * scale;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const middle = height / 2;
  context.fillStyle = style.getPropertyValue("--line");
  context.fillRect(0, middle - 0.5, width, 1);
  for (const { at, direction, what, bytes } of events) {
    const x = width * (1 - (now - at) / SPAN_MS);
    const size = Math.min(middle - 1, 2 + Math.log2(bytes + 1));
    context.fillStyle = style.getPropertyValue(`--wire-${what}`);
    context.fillRect(x - 1.5, direction === "out" ? middle - size : middle, 3, size);
  }
}
