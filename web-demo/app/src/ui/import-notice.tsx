/** How an import goes. */
import type { Importing } from "../lib/importing.ts";
import { useStore } from "./hooks.ts";
import { IconButton } from "./icon.tsx";
import { plural } from "./status.tsx";

export function ImportNotice({ importing }: { readonly importing: Importing }) {
  const { phase, file, imported, skipped, failed, problem } = useStore(importing.state);
  if (phase === "idle") return null;
  const count = `${plural(imported, "conversation")} imported${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  return (
    <section className="notice" data-phase={phase} data-testid="import" aria-label="Import">
      {phase === "reading" && <progress aria-label={`Importing ${file}`} />}
      <p role="status">
        {phase === "reading" && `Importing ${file}: ${count}`}
        {phase === "done" &&
          `${file}: ${count}${failed.length > 0 ? `, ${failed.length} could not be read` : ""}.`}
        {phase === "failed" && `${file} could not be imported: ${problem}. ${count} before that.`}
      </p>
      {failed.length > 0 && (
        <details>
          <summary>What could not be read</summary>
          <ul>
            {failed.slice(0, 20).map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </details>
      )}
      {phase !== "reading" && (
        <IconButton icon="close" label="Close this notice" onClick={() => importing.dismiss()} />
      )}
    </section>
  );
}
