import { beforeEach, describe, expect, it, vi } from "vitest";

import module from "../dist/guest.wasm";
import { Misconfigured } from "../src/errors.ts";
import { readSettings } from "../src/env.ts";
import { failure } from "../src/failure.ts";
import { headersOf } from "../src/fields.ts";
import { Host } from "../src/host.ts";
import { Keys } from "../src/keys.ts";
import { Spare } from "../src/spare.ts";
import { Sync } from "../src/sync.ts";
import { list, Signer, Store } from "./origin.ts";

beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

const lifetime = { waitUntil: () => undefined };

async function serve(request: Request, within = true): Promise<{ response: Response; counted: string[] }> {
  const { verifier } = await Signer.generate(list);
  const counted: string[] = [];
  const limiter = {
    limit: ({ key }: { key: string }) => {
      counted.push(key);
      return Promise.resolve({ success: within });
    },
  };
  const spare = new Spare(module, headersOf);
  const settings = { list, verifiers: [verifier], refreshSeconds: 30, hostName: "" };
  const sync = new Sync({ main: new Store(), fallback: undefined }, settings, spare);
  const host = new Host(sync, new Keys(undefined), limiter, spare, "<!doctype html>the page");
  const { response } = await host.serve({ request, clientAddress: "192.0.2.7", lifetime });
  return { response, counted };
}

describe("a host without a snapshot", () => {
  it("gives the page", async () => {
    const { response } = await serve(new Request("https://edge.example/"));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(await response.text()).toBe("<!doctype html>the page");
  });

  it("leaves the body out of a HEAD", async () => {
    const { response } = await serve(new Request("https://edge.example/", { method: "HEAD" }));
    expect(response.status).toBe(200);
    expect(response.body).toBeNull();
  });

  it("says what a browser asks before it asks", async () => {
    const { response } = await serve(new Request("https://edge.example/resolve", { method: "OPTIONS" }));
    expect(response.status).toBe(204);
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
  });

  it("counts a client by its address, and says 429 past the limit", async () => {
    const { response, counted } = await serve(new Request("https://edge.example/resolve?name=a"), false);
    expect(response.status).toBe(429);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(counted).toEqual(["192.0.2.7"]);
  });

  it.each([
    ["the largest size, though no message", 65_535, 400],
    ["one byte more", 65_536, 413],
    ["far more", 200_000, 413],
  ])("reads a body of %s", async (_name, bytes, status) => {
    const message = new Uint8Array(bytes).fill(0xff);
    const headers = { "content-type": "application/dns-message" };
    const { response } = await serve(new Request("https://edge.example/dns-query", { method: "POST", headers, body: message }));
    expect(response.status).toBe(status);
    await response.arrayBuffer();
  });
});

describe("settings", () => {
  it.each([
    [{}, "SNAPSHOTS"],
    [{ SNAPSHOT_URL: "https://origin.example/" }, "LIST"],
    [{ SNAPSHOT_URL: "https://origin.example/", LIST: list }, "VERIFIERS"],
    [{ SNAPSHOT_URL: "https://origin.example/", LIST: list, VERIFIERS: "rubbish" }, "VERIFIERS"],
    [{ SNAPSHOT_URL: "https://origin.example/", LIST: list, VERIFIERS: "rubbish", REFRESH_SECONDS: "0" }, "REFRESH_SECONDS"],
  ])("%j are refused with the name of what is wrong", async (env, named) => {
    const error: unknown = await readSettings(env, undefined).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(Misconfigured);
    expect(String(error)).toContain(named);
    const response = failure(error);
    expect(response.status).toBe(503);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toHaveProperty("error");
  });
});
