/** The chaos button, with the count that shows whether a turn is lost. */
import type { Chaos } from "../lib/chaos.ts";
import { ROLES } from "../lib/place.ts";
import { useStore } from "./hooks.ts";
import { Icon } from "./icon.tsx";

export function ChaosBar({ chaos }: { readonly chaos: Chaos }) {
  const { phase, sent, on, server, turns } = useStore(chaos.state);
  const isRunning = phase === "running";
  return (
    <section className="chaos" data-phase={phase} data-testid="chaos" aria-label="Chaos run">
      <button
        type="button"
        className="chaos-button"
        data-testid="chaos-button"
        title="Cuts and mends the three networks at random while all three devices write"
        disabled={phase === "mending"}
        onClick={() => void (isRunning ? chaos.stop() : chaos.start())}
      >
        <Icon name="flaky" />
        {isRunning ? "Mend all networks" : phase === "mending" ? "Mending…" : "Chaos"}
      </button>
      {phase !== "idle" && (
        <dl className="counts" data-sent={sent} data-server={server}>
          <Count name="Written" count={sent} of={sent} />
          {ROLES.map(({ name, title }) => (
            <Count key={name} name={title} count={on[name]} of={sent} />
          ))}
          <Count name="Server" count={server} of={sent} />
        </dl>
      )}
      {isRunning && <span className="chaos-words">{turns} times cut or mended</span>}
      {phase === "mending" && <span className="chaos-words">Waiting until all of them are everywhere</span>}
      {phase === "proved" && (
        <strong className="chaos-words" role="status" data-testid="chaos-proof">
          {sent} turns, none lost
        </strong>
      )}
    </section>
  );
}

function Count({ name, count, of }: { readonly name: string; readonly count: number; readonly of: number }) {
  return (
    <div data-complete={count === of}>
      <dt>{name}</dt>
      <dd>{count}</dd>
    </div>
  );
}
