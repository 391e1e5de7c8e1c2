/** What the two measured pages do alike: they draw a screenful, and say when it was painted. */

/** Rows and messages that are drawn: a screenful. */
const SCREEN = 30;

/** What the page is to open, from its address. */
export const asked = JSON.parse(decodeURIComponent(location.hash.slice(1)));

/** Milliseconds from the page's start to the painted whole of something. */
const marks = {};
Object.assign(window, { marks });

/**
 * Draws the newest lines of something at most once a picture, and notes when as many as wanted were there.
 * `read` gives all there are now, and the lines to show.
 */
export function drawn(name, wanted, read) {
  const list = document.createElement("ul");
  document.body.append(list);
  const items = Array.from({ length: SCREEN }, () => list.appendChild(document.createElement("li")));
  let isDue = false;
  const draw = () => {
    isDue = false;
    const { count, lines } = read(SCREEN);
    for (const [at, item] of items.entries()) {
      const line = lines[at] ?? "";
      if (item.textContent !== line) item.textContent = line;
    }
    if (count >= wanted && marks[name] === undefined) painted(() => (marks[name] = performance.now()));
  };
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(draw);
  };
}

/** Runs once the next picture is on the screen, and the page is free to answer. */
function painted(then) {
  requestAnimationFrame(() => setTimeout(then));
}
