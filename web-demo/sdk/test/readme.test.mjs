// @ts-check
/** The examples of this package's page compile, each as a reader would paste it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const PACKAGE = fileURLToPath(new URL("../", import.meta.url));
const TSC = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");

/** What an application has around the examples. */
const SURROUNDINGS = `
declare const client: import("@syncline/client").Syncline;
declare const id: import("@syncline/client").ConversationId;
declare const remoteId: import("@syncline/client").ConversationId;
declare const folderId: import("@syncline/client").FolderId;
declare const deviceId: import("@syncline/client").DeviceId;
declare const messageId: import("@syncline/client").MessageId;
declare const runId: string;
declare const row: import("@syncline/client").ConversationRow;
declare const chat: import("@syncline/client").Conversation;
declare const messages: import("ai").UIMessage[];
declare function fetchToken(): Promise<string>;
declare function draw(value: unknown): void;
`;

test("every example of the page compiles", (context) => {
  const page = readFileSync(join(PACKAGE, "README.md"), "utf8");
  const examples = [...page.matchAll(/^```(tsx?)\n(.*?)^```$/gms)].map(([, kind = "", text = ""]) => ({
    kind,
    text,
  }));
  assert.ok(examples.length >= 10, `only ${examples.length} examples found`);
  // Inside the package, whose name its files may use for itself.
  const folder = join(PACKAGE, `.readme-${process.pid}`);
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(folder);
  writeFileSync(join(folder, "surroundings.d.ts"), SURROUNDINGS);
  for (const [at, { kind, text }] of examples.entries()) {
    const imports = text.match(/^import .*$/gm) ?? [];
    const rest = text.replace(/^import .*$/gm, "");
    const file = [...imports, `export async function example() {`, rest, "}", ""].join("\n");
    writeFileSync(join(folder, `example-${at + 1}.${kind}`), file);
  }
  const loose = {
    noUnusedLocals: false,
    noUnusedParameters: false,
    noPropertyAccessFromIndexSignature: false,
  };
  const config = {
    extends: "../../tsconfig.base.json",
    compilerOptions: { ...loose, jsx: "react-jsx", types: ["react"] },
    include: ["*"],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const checked = spawnSync(process.execPath, [TSC, "-p", folder], { encoding: "utf8" });
  assert.equal(checked.status, 0, `${checked.stdout}${checked.stderr}`);
});
