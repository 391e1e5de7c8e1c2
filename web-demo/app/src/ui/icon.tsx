/** The icons, drawn on 24 by 24. They say nothing to a screen reader: the words beside them do. */

const PATHS = {
  phone:
    "M7.5 2.5h9A1.5 1.5 0 0 1 18 4v16a1.5 1.500 0 0 1-1.500 1.500h-9A1.500 1.500 0 0 1 6 20V4a1.500 1.500 0 0 1 1.500-1.500ZM10.500 18.500h3",
  laptop: "M5.500 4.500h13A1.500 1.500 0 0 1 20 6v9.500H4V6a1.500 1.500 0 0 1 1.500-1.500ZM2 19h20",
  tab: "M4.500 4h15A1.500 1.500 0 0 1 21 5.500v13a1.500 1.500 0 0 1-1.500 1.500h-15A1.500 1.500 0 0 1 3 18.500v-13A1.500 1.500 0 0 1 4.500 4ZM3 9h18M11 4v5",
  online: "M5 12.500a10 10 0 0 1 14 0M8.500 16a5 5 0 0 1 7 0M1.500 9a15 15 0 0 1 21 0M12 19.500h.01",
  slow: "M12 7v5l3.500 2M12 2.500a9.500 9.500 0 1 0 0 19 9.500 9.500 0 0 0 0-19Z",
  flaky: "M13 2.500 5 13.500h6l-1 8 8-11h-6Z",
  offline:
    "M3 3l18 18M8.500 16a5 5 0 0 1 7 0M5 12.500a10 10 0 0 1 5-2.700M19 12.500a10 10 0 0 0-3-2M2 8.800A15 15 0 0 1 6 6.200M22 8.800A15 15 0 0 0 10.500 5.100M12 19.500h.01",
  connecting: "M5 12h.01M12 12h.01M19 12h.01",
  saving: "M12 19V5M6 11l6-6 6 6",
  saved: "M5 12.500l4.500 4.500L19 7.500",
  merging: "M12 5v14M6 13l6 6 6-6",
  refused: "M12 7v6M12 17h.01M12 2.500a9.500 9.500 0 1 0 0 19 9.500 9.500 0 0 0 0-19Z",
  everywhere: "M2.500 12.500 7 17 16 7.500M11.500 16l1 1L22 7.500",
  back: "M15 5l-7 7 7 7",
  forward: "M9 5l7 7-7 7",
  add: "M12 5v14M5 12h14",
  search: "M10.500 4a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13ZM15.500 15.500 21 21",
  pin: "M9 3h6l-1 6 4 4H6l4-4ZM12 13v8",
  archive: "M3.500 4.500h17v4h-17ZM5 8.500V19.500h14V8.500M10 12.500h4",
  remove: "M4 6.500h16M9 6.500V4h6v2.500M6.500 6.500l1 14h9l1-14",
  restore: "M4 4v6h6M4.500 10a8 8 0 1 1-.500 4",
  edit: "M4 20h4L19.500 8.500l-4-4L4 16ZM13 7l4 4",
  again: "M20 4v6h-6M19.500 10a8 8 0 1 0 .500 4",
  good: "M7 11v9H4v-9ZM7 11l4-8a2.500 2.500 0 0 1 2.500 2.500V9h5a2 2 0 0 1 2 2.300l-1.200 7a2 2 0 0 1-2 1.700H7",
  bad: "M17 13V4h3v9ZM17 13l-4 8a2.500 2.500 0 0 1-2.500-2.500V15h-5a2 2 0 0 1-2-2.300l1.200-7A2 2 0 0 1 6.700 4H17",
  sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.500v5M9 14.500v5",
  chats: "M4 4.500h16v11H10l-4.500 4v-4H4Z",
  send: "M4 12 20.500 4 16 20.500l-4.500-6.500ZM11.500 14 20.500 4",
  close: "M5 5l14 14M19 5 5 19",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg viewBox="0 0 24 24" className="icon" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A button that is only an icon: its name is read out, and shown on hover. */
export function IconButton(props: {
  readonly icon: IconName;
  readonly label: string;
  readonly onClick: () => void;
  readonly pressed?: boolean;
  readonly disabled?: boolean;
  readonly testid?: string;
}) {
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={props.label}
      title={props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      data-testid={props.testid}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}
