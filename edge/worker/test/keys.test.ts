import { describe, expect, it } from "vitest";

import { Misconfigured } from "../src/errors.ts";
import { kindOf } from "../src/event.ts";
import { Gate } from "../src/frame.ts";
import { targetOf } from "../src/host.ts";
import { Keys, quotaOf, splitKey } from "../src/keys.ts";
import { sha256 } from "./origin.ts";

const hashed = (key: string) => sha256(new TextEncoder().encode(key));

describe("keys", () => {
  const keys = async () => new Keys(`# comment\n\nmx1 ${await hashed("secret-1")}\n  mx2 ${(await hashed("secret-2")).toUpperCase()} 50\n`);

  it.each([
    ["/dns-query?dns=AA", null, { gate: Gate.noKey, target: "/dns-query?dns=AA", name: "" }],
    ["/k/secret-1/dns-query?dns=AA", null, { gate: Gate.keyed, target: "/dns-query?dns=AA", name: "mx1" }],
    ["/k/secret-2/", null, { gate: Gate.keyed, target: "/", name: "mx2" }],
    ["/k/wrong/resolve", null, { gate: Gate.badKey, target: "/resolve", name: "" }],
    ["/k//resolve", null, { gate: Gate.noKey, target: "/resolve", name: "" }],
    ["/resolve", "Bearer secret-2", { gate: Gate.keyed, target: "/resolve", name: "mx2" }],
    ["/resolve", "bEARER   secret-2 ", { gate: Gate.keyed, target: "/resolve", name: "mx2" }],
    ["/resolve", "Bearer wrong", { gate: Gate.badKey, target: "/resolve", name: "" }],
    ["/resolve", "Basic secret-2", { gate: Gate.noKey, target: "/resolve", name: "" }],
    ["/k/wrong/resolve", "Bearer secret-2", { gate: Gate.badKey, target: "/resolve", name: "" }],
  ])("%s with %s", async (target, authorization, want) => {
    const known = await keys();
    expect(await known.admit(target, () => authorization)).toEqual(want);
    expect(await known.admit(target, () => authorization)).toEqual(want); // and when it has been seen
  });

  it("that are off let everybody in, and leave the header alone", () => {
    const off = new Keys(undefined);
    const unread = () => {
      throw new Error("the header was read");
    };
    expect(off.on).toBe(false);
    expect(off.admit("/k/any/resolve", unread)).toEqual({ gate: Gate.open, target: "/resolve", name: "" });
  });

  it.each(["", "\n# none\n"])("of which the last was taken back let nobody in: %j", async (text) => {
    const none = new Keys(text);
    expect(await none.admit("/resolve", () => null)).toEqual({ gate: Gate.noKey, target: "/resolve", name: "" });
    expect(await none.admit("/k/secret-1/resolve", () => null)).toEqual({ gate: Gate.badKey, target: "/resolve", name: "" });
  });

  it.each(["mx1", "mx1 abc", `mx1 ${"0".repeat(64)} 1 2`, `a ${"0".repeat(64)}\nb ${"0".repeat(64)}`])("refuse %j", (text) => {
    expect(() => new Keys(text)).toThrow(Misconfigured);
  });
});

// The rules of splitKey in edge/gate.go.
it.each([
  ["/dns-query", "/dns-query", ""],
  ["/k/abc/dns-query?x=/k/", "/dns-query?x=/k/", "abc"],
  ["/k/abc", "/", "abc"],
  ["/k/abc?ip=1", "/?ip=1", "abc"],
  ["/kk/abc/", "/kk/abc/", ""],
])("a key is split off %s", (target, rest, key) => {
  expect(splitKey(target)).toEqual([rest, key]);
});

it.each([
  ["", "192.0.2.1", "192.0.2.1"],
  ["", "::ffff:192.0.2.1", "192.0.2.1"],
  ["", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["", "2001:db8:1:2::6", "2001:db8:1:2::/64"],
  ["", "2001:db8::6", "2001:db8:0:0::/64"],
  ["", "2001:0db8::", "2001:db8:0:0::/64"],
  ["", "::1", "0:0:0:0::/64"],
  ["", "", ""],
  ["mx1", "192.0.2.1", "key:mx1"],
])("client %j at %j counts as %j", (name, address, want) => {
  expect(quotaOf(name, address)).toBe(want);
});

it.each([
  ["/dns-query?dns=AA", "/dns-query"],
  ["/", "/"],
  ["/?ip=192.0.2.1", "/"],
  ["/secret-1/dns-query", "other"],
  ["", "other"],
])("an event names %j as %j", (target, want) => {
  expect(kindOf(target)).toBe(want);
});

it.each([
  ["http://edge.example/a?b=c/d", "/a?b=c/d"],
  ["https://[2001:db8::1]:8443/", "/"],
  ["https://edge.example/a#b", "/a"],
])("the target of %s is %s", (url, want) => {
  expect(targetOf(url)).toBe(want);
});
