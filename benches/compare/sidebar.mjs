// Applies the documents that the bench `model` wrote with Yjs, as a device's page does: node sidebar.mjs FOLDER
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as Y from "yjs";

const folder = process.argv[2];
const read = (name) => readFileSync(join(folder, name));
const quarters = readdirSync(folder).filter((name) => name.startsWith("index-")).sort().map(read);

function time(name, updates, rounds = 20) {
  const millis = [];
  for (let round = 0; round < rounds; round += 1) {
    const started = performance.now();
    for (const update of updates) {
      const doc = new Y.Doc();
      Y.applyUpdate(doc, update);
      // A page reads it, too.
      if (doc.getMap("conversations").size === 0) throw new Error("nothing was applied");
    }
    millis.push(performance.now() - started);
  }
  millis.sort((a, b) => a - b);
  const bytes = updates.reduce((sum, update) => sum + update.length, 0);
  const shown = [millis[rounds >> 1], millis[0], millis.at(-1)].map((ms) => ms.toFixed(2));
  console.log(`${name}: ${bytes} bytes, median ${shown[0]} ms, fastest ${shown[1]} ms, slowest (first) ${shown[2]} ms`);
}

time("the newest quarter (goal 50 ms)", quarters.slice(0, 1));
time("all quarters", quarters);
time("all, made in one quarter", [read("one-quarter.bin")]);
