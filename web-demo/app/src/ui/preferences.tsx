/** The person's preferences, with where each came from: what was set by hand is never beaten by a guess. */
import type { Json, Preference } from "@syncline/client";
import { useLive, usePreference, useSyncline } from "@syncline/client/react";
import { useWriterName } from "./hooks.ts";
import { IconButton } from "./icon.tsx";

interface Known {
  readonly name: string;
  readonly title: string;
  readonly values: readonly string[];
}

/** Those that the demo's own assistant would care about. */
const KNOWN: readonly Known[] = [
  { name: "tone", title: "Tone", values: ["warm", "dry", "brief", "formal"] },
  { name: "language", title: "Language", values: ["English", "Deutsch", "Français", "日本語"] },
  { name: "units", title: "Units", values: ["metric", "imperial"] },
];
const MONTH_S = 30 * 24 * 60 * 60;

export function Preferences({ onBack }: { readonly onBack: () => void }) {
  const { preferences } = useSyncline();
  const all = useLive(preferences);
  const known = new Set(KNOWN.map(({ name }) => name));
  const others = all.filter(({ name }) => !known.has(name));
  return (
    <article className="preferences">
      <header className="chat-head">
        <IconButton icon="back" label="All conversations" onClick={onBack} />
        <h3>Preferences</h3>
      </header>
      <p className="soft">
        Set by hand beats imported, imported beats inferred, and only then the later one counts. Blocking
        keeps guesses out.
      </p>
      <ul>
        {KNOWN.map((each) => (
          <KnownPreference key={each.name} {...each} />
        ))}
        {others.map((preference) => (
          <li key={preference.name} data-testid={`preference-${preference.name}`}>
            <strong>{preference.name}</strong>
            <span>{shown(preference.value)}</span>
            <Origin preference={preference} />
          </li>
        ))}
      </ul>
    </article>
  );
}

function KnownPreference({ name, title, values }: Known) {
  const { preferences } = useSyncline();
  const preference = usePreference(name);
  const nameOf = useWriterName();
  const value = typeof preference?.value === "string" ? preference.value : "";
  const isBlocked = preference?.blocked === true;
  const guess = () => {
    const other = values.filter((each) => each !== value);
    const guessed = other[Math.floor(Math.random() * other.length)] ?? value;
    void preferences.set(name, guessed, { source: "inferred", confidence: 0.7, ttl: MONTH_S });
  };
  return (
    <li data-testid={`preference-${name}`}>
      <label>
        <strong>{title}</strong>
        <select value={value} onChange={(event) => void preferences.set(name, event.currentTarget.value)}>
          <option value="" disabled>
            Not set
          </option>
          {[...new Set([...values, ...(value === "" ? [] : [value])])].map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </label>
      <Origin preference={preference} />
      {preference?.conflicts.slice(0, 1).map((hint) => (
        <p key={hint.writer} className="hint">
          Also “{shown(hint.value)}” from {nameOf(hint.writer)}.
          <button type="button" onClick={() => void preferences.adopt(name, hint)}>
            Use that
          </button>
        </p>
      ))}
      <div className="preference-tools">
        <button type="button" disabled={isBlocked} onClick={guess}>
          Let the assistant guess
        </button>
        <button
          type="button"
          disabled={preference === undefined}
          onClick={() => void preferences.clear(name)}
        >
          {isBlocked ? "Allow again" : "Clear"}
        </button>
        <button type="button" disabled={isBlocked} onClick={() => void preferences.block(name)}>
          Block
        </button>
      </div>
    </li>
  );
}

function Origin({ preference }: { readonly preference: Preference | undefined }) {
  const nameOf = useWriterName();
  if (preference === undefined) return <p className="origin">Nobody has set it.</p>;
  if (preference.blocked) return <p className="origin">Blocked: nobody may guess it.</p>;
  const { source, confidence, writer, fresh } = preference;
  const words = {
    explicit: `Set by hand on ${nameOf(writer)}`,
    imported: "Imported",
    inferred: `Inferred${confidence === undefined ? "" : `, ${Math.round(confidence * 100)} % sure`}`,
    default: "The default",
  }[source];
  return (
    <p className="origin">
      <span className="source" data-source={source}>
        {source}
      </span>
      {words}
      {!fresh && ", out of date by now"}
    </p>
  );
}

function shown(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
