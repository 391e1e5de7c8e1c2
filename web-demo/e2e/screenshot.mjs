// @ts-check
/** Takes the picture in the README: `node screenshot.mjs ../../docs/demo.png`. The same story each time. */

import { Server } from "../sdk/test/support/server.mjs";
import { Demo, launch } from "./browser.mjs";

const target = process.argv[2];
if (target === undefined) throw new Error("name the file to write: node screenshot.mjs FILE.png");
const server = await Server.start();
const browser = await launch();
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 860 }, colorScheme: "light" });
  const demo = await Demo.open(context, `${server.url}/#ada`);
  for (const title of ["Bread without kneading", "Tax letter", "Names for a cat"]) {
    await demo.converse("laptop");
    await demo.rename("laptop", title);
  }
  await demo.converse("laptop");
  await demo.rename("laptop", "South in winter");
  await demo.send("laptop", "How cold is it in Antarctica?");
  await demo.turn("laptop", /.+/).nth(1).waitFor();
  await demo.saved();
  for (const kind of /** @type {const} */ (["phone", "tab"])) await demo.openNewest(kind);
  await demo.network("phone", "offline");
  await demo.rename("phone", "Penguins");
  await demo.send("phone", "From the plane: and on the coast, in January?");
  await demo.rename("laptop", "Antarctica");
  await demo.send("laptop", "What should we pack?");
  await demo.device("tab").locator("[data-turns='4']").waitFor();
  await demo.network("tab", "flaky");
  await demo.sees("laptop", "saved");
  await demo.sees("phone", "offline", true);
  await demo.page.screenshot({ path: target });
} finally {
  await browser.close();
  await server.remove();
}
