/** The head of the page. */
import { type ReactNode, useRef } from "react";
import { freshPerson, showPerson } from "../lib/place.ts";

export function Masthead(props: {
  readonly person: string;
  readonly onImport: (file: File) => void;
  readonly children: ReactNode;
}) {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <header className="masthead">
      <h1>
        <img src="/favicon.svg" alt="" width="26" height="26" />
        Syncline
      </h1>
      <p className="tagline">
        Three devices of <span data-testid="person">{props.person}</span>. <strong>Saved</strong> means the
        server has it on disk.
      </p>
      {props.children}
      <nav aria-label="Page">
        <input
          ref={picker}
          type="file"
          accept=".json,.zip,.jsonl"
          hidden
          data-testid="import-file"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file !== undefined) props.onImport(file);
            event.currentTarget.value = "";
          }}
        />
        <button
          type="button"
          className="quiet"
          title="A ChatGPT data export, or an archive of Syncline's. Dropping it on the page does the same."
          onClick={() => picker.current?.click()}
        >
          Import…
        </button>
        <button
          type="button"
          className="quiet"
          data-testid="new-person"
          title="Begins anew as somebody without conversations"
          onClick={() => showPerson(freshPerson())}
        >
          New person
        </button>
        <a className="quiet" href="/README.txt">
          README
        </a>
      </nav>
    </header>
  );
}
