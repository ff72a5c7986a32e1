import { expect, it } from "vitest";

import module from "../dist/guest.wasm";
import { Gate } from "../src/frame.ts";
import { headersOf } from "../src/fields.ts";
import { rehearse } from "../src/rehearse.ts";
import { Spare } from "../src/spare.ts";

// What the rehearsal's snapshot lists.
const request = {
  now: 4102444800,
  gate: Gate.open,
  method: "GET",
  target: "/dns-query?dns=AAABAAABAAAAAAAAATcDMTAwAjUxAzE5OAdkbnNibC0xAmJsB2V4YW1wbGUAAAEAAQ",
  accept: "",
  contentType: "",
  ifNoneMatch: "",
  body: new Uint8Array(),
};

it("goes through a cold start, and leaves no snapshot behind", async () => {
  const spare = new Spare(module, headersOf);
  const guest = spare.lend();
  await rehearse(spare, "<!doctype html>");
  expect(spare.lend()).toBe(guest);
  const { body } = guest.serve(request);
  expect(body[3] ?? 0).toBe(2); // SERVFAIL
});
