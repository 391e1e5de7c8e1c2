// @ts-check
/** Which messages are on all devices, by what the server reports. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Deliveries } from "../dist/views/delivery.js";

/** @param {number} saved @param {Record<string, number>} behind @returns {import("../dist/sync/status.js").StatusReport} */
function report(saved, behind) {
  const devices = Object.entries(behind).map(([id, behind]) => ({
    id,
    name: id,
    kind: /** @type {const} */ ("other"),
    online: true,
    lastSeen: undefined,
    behind,
  }));
  return { saved, devices };
}

/** @param {Deliveries} deliveries @param {import("../dist/sync/status.js").StatusReport} told @param {number} seq */
function hear(deliveries, told, seq) {
  deliveries.report(told, told.devices, seq);
  return deliveries.everywhere;
}

test("a message is everywhere once every device has what was saved when it was accepted", () => {
  const deliveries = new Deliveries();
  assert.equal(hear(deliveries, report(10, { phone: 0, laptop: 3 }), 4), 0);
  assert.equal(hear(deliveries, report(14, { phone: 0, laptop: 4 }), 6), 4, "it has the first ten changes");
  assert.equal(hear(deliveries, report(14, { phone: 0, laptop: 0 }), 6), 6);
});

test("a device that comes later lacks what all the others had", () => {
  const deliveries = new Deliveries();
  assert.equal(hear(deliveries, report(10, { phone: 0 }), 4), 4);
  assert.equal(hear(deliveries, report(10, { phone: 0, tablet: 10 }), 4), 0);
  assert.equal(hear(deliveries, report(10, { phone: 0, tablet: 0 }), 4), 4);
});

test("what was known before a reload is known after it", () => {
  const before = new Deliveries();
  hear(before, report(10, { phone: 0, laptop: 0 }), 4);
  const after = new Deliveries(structuredClone(before.kept));
  assert.equal(after.everywhere, 4);
  assert.equal(hear(after, report(12, { phone: 0, laptop: 2 }), 5), 4);
});
