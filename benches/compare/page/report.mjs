// The table of what the pages cost.

const KIB = (bytes) => (bytes === undefined ? "" : (bytes / 1_024).toFixed(0));
const MIB = (bytes) => (bytes === undefined ? "" : (bytes / 2 ** 20).toFixed(1));
const MS = (ms) => ms.toFixed(0);
const PERCENT = (share) => `${share.toFixed(1)} %`;

/** The median, with the lowest and highest where there are several. */
function spread(values, format) {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) return "";
  const median = format(sorted[sorted.length >> 1]);
  return sorted.length === 1 ? median : `${median} [${format(sorted[0])} .. ${format(sorted.at(-1))}]`;
}

export function print({ conversations, messages, binary, took, figures, tokens, seconds }) {
  const targets = Object.keys(figures);
  const rows = [];
  const row = (name, of) => rows.push([name, ...targets.map((target) => of(figures[target]))]);
  for (const kind of ["cold", "warm"]) {
    row(`list of ${conversations}, ${kind}: interactive, ms`, ({ sidebar }) => spread(sidebar.map((run) => run[kind].sidebarMs), MS));
    row(`list, ${kind}: socket KiB`, ({ sidebar }) => spread(sidebar.map((run) => run[kind].documents), KIB));
    row(`list, ${kind}: HTTP KiB`, ({ sidebar }) => spread(sidebar.map((run) => run[kind].http), KIB));
    row(`list, ${kind}: main thread until quiet, ms`, ({ sidebar }) => spread(sidebar.map((run) => run[kind].cpuMs), MS));
    row(`chat of ${messages}, ${kind}: interactive, ms`, ({ chat }) => spread(chat.map((run) => run[kind].chatMs), MS));
    row(`chat, ${kind}: socket KiB`, ({ chat }) => spread(chat.map((run) => run[kind].chat), KIB));
  }
  row("heap with both open, MiB", ({ chat }) => spread(chat.map(({ memory }) => memory.heapBytes), MIB));
  row("all memory of the page, MiB", ({ chat }) => spread(chat.map(({ memory }) => memory.totalBytes), MIB));
  row("main thread, idle", ({ cpu }) => PERCENT(cpu.idle.task));
  row(`main thread, ${tokens} tokens/s for ${seconds} s`, ({ cpu }) => PERCENT(cpu.busy.task));
  row("of that, scripts", ({ cpu }) => PERCENT(cpu.busy.script));
  row("code with yjs, KB gzipped", ({ code }) => (code.gzipBytes / 1_000).toFixed(1));
  console.log(`server ${binary}; ${took} s\n`);
  console.log(`| measure | ${targets.join(" | ")} |\n|---|${targets.map(() => "---|").join("")}`);
  for (const cells of rows) console.log(`| ${cells.join(" | ")} |`);
}
