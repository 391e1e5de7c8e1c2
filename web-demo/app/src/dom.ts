/** Builds elements; keeps the rest of the page free of `document.createElement` noise. */

type Attributes = Readonly<Record<string, string | boolean | undefined>>;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (typeof value === "string") node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const ICONS = {
  phone:
    "M7 2.5h10a1.5 1.5 0 0 1 1.5 1.5v16a1.5 1.5 0 0 1-1.5 1.5H7A1.5 1.5 0 0 1 5.500 20V4A1.5 1.500 0 0 1 7 2.500ZM10.500 18.500h3",
  tablet:
    "M7 2.5h10a1.5 1.5 0 0 1 1.5 1.5v16a1.5 1.5 0 0 1-1.5 1.5H7A1.5 1.5 0 0 1 5.500 20V4A1.5 1.500 0 0 1 7 2.500ZM10.500 18.500h3",
  laptop: "M5.500 4.500h13A1.500 1.500 0 0 1 20 6v9.500H4V6a1.500 1.500 0 0 1 1.500-1.500ZM2 19h20",
  desktop: "M5.500 4.500h13A1.500 1.500 0 0 1 20 6v9.500H4V6a1.500 1.500 0 0 1 1.500-1.500ZM2 19h20",
  other: "M4 5h16v11H4ZM9 20h6M12 16v4",
  offline:
    "M3 3l18 18M8.500 16a5 5 0 0 1 7 0M5 12.500a10 10 0 0 1 5-2.700M19 12.500a10 10 0 0 0-3-2M2 8.800A15 15 0 0 1 6 6.200M22 8.800A15 15 0 0 0 10.500 5.100M12 19.500h.01",
  connecting: "M5 12h.01M12 12h.01M19 12h.01",
  saving: "M12 19V5M6 11l6-6 6 6",
  saved: "M5 12.500l4.500 4.500L19 7.500",
  merging: "M12 5v14M6 13l6 6 6-6",
  refused: "M12 7v6M12 17h.01M12 2.500a9.500 9.500 0 1 0 0 19 9.500 9.500 0 0 0 0-19Z",
} as const;

export type IconName = keyof typeof ICONS;

const SVG = "http://www.w3.org/2000/svg";

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
