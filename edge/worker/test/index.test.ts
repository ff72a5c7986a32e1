// The worker as it is deployed, with the bindings of wrangler.toml as the
// runtime simulates them: what they count, store and serve is real.

import { createExecutionContext, createScheduledController, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";

import fallbackKey from "../dist/fallback.pub";
import delistedFilter from "../dist/delisted.filter";
import delistedImage from "../dist/delisted.image";
import listedFilter from "../dist/listed.filter";
import listedImage from "../dist/listed.image";
import type { Env } from "../src/env.ts";
import { list, publish, sha256, Signer, Store } from "./origin.ts";

const listed = { base: listedImage, filter: listedFilter };
const delisted = { base: delistedImage, filter: delistedFilter };
const serial = 1_900_000_000; // later than any clock gives the fallback

const hashed = (key: string) => sha256(new TextEncoder().encode(key));

let signer: Signer;

beforeEach(async () => {
  vi.resetModules(); // a new isolate has no snapshot yet
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  const { objects } = await env.SNAPSHOTS.list();
  await env.SNAPSHOTS.delete(objects.map((o) => o.key));
  signer = await Signer.generate(list);
});

async function put(objects: typeof listed, next = serial): Promise<void> {
  const store = new Store();
  await publish(store, signer, objects, { serial: next });
  for (const [name, bytes] of store.objects) await env.SNAPSHOTS.put("objects/" + name, bytes);
  if (store.signed) await env.SNAPSHOTS.put("manifest", store.signed);
}

interface Worker {
  ask: (path: string, init?: RequestInit<IncomingRequestCfProperties>) => Promise<Response>;
  scheduled: () => Promise<void>;
}

async function start(bindings: Env): Promise<Worker> {
  const { default: worker } = await import("../src/index.ts");
  const all = { LIST: list, VERIFIERS: `${signer.public}\n${fallbackKey}`, SNAPSHOTS: env.SNAPSHOTS, ...bindings };
  return {
    async ask(path, init) {
      const context = createExecutionContext();
      const request = new Request<unknown, IncomingRequestCfProperties>("https://edge.example" + path, init);
      const response = await worker.fetch(request, all, context);
      await waitOnExecutionContext(context);
      return response;
    },
    async scheduled() {
      const context = createExecutionContext();
      await worker.scheduled(createScheduledController(), all, context);
      await waitOnExecutionContext(context);
    },
  };
}

const from = (address: string) => ({ headers: { "cf-connecting-ip": address } });
const listedTarget = "/resolve?type=A&name=1.2.0.192.dnsbl-1.bl.example";
const checked = "/v1/check?ip=192.0.2.2";

// A for 1.2.0.192.dnsbl-1.bl.example, which is listed.
const query = Uint8Array.from([
  ...[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
  ...["1", "2", "0", "192", "dnsbl-1", "bl", "example", ""].flatMap((label) => [label.length, ...new TextEncoder().encode(label)]),
  ...[0, 1, 0, 1],
]);
const target = "/dns-query?dns=" + btoa(String.fromCharCode(...query)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

describe("LIMIT", () => {
  // Each test has clients of its own: the binding counts from one minute of the
  // clock to the next, and none must begin meanwhile.
  beforeEach(async () => {
    const left = 60_000 - (Date.now() % 60_000);
    if (left < 5_000) await new Promise((resolve) => setTimeout(resolve, left));
  }, 10_000);

  it.each([
    ["an IPv4 address", ["192.0.2.10", "192.0.2.10", "192.0.2.10"], "192.0.2.10", "192.0.2.11"],
    ["an IPv6 /64", ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"], "2001:db8::3", "2001:db8:0:1::1"],
  ])("counts %s, and says 429 past it", async (_name, within, past, other) => {
    await put(listed);
    const { ask } = await start({ LIMIT: env.LIMIT });
    for (const address of within) {
      const answer = await ask(target, from(address));
      expect(answer.status).toBe(200);
      expect(answer.headers.get("content-type")).toBe("application/dns-message");
      expect(new Uint8Array(await answer.arrayBuffer())[7]).toBe(1); // one answer
    }
    for (const path of [target, listedTarget, checked]) {
      const refused = await ask(path, from(past));
      expect(refused.status).toBe(429);
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(refused.headers.get("cache-control")).toBe("no-store");
      expect(Object.keys(await refused.json<object>())).toEqual(["error"]); // nothing that could be taken for a listing
    }
    expect((await ask(target, from(other))).status).toBe(200);
  });

  it("counts a key, wherever it is used", async () => {
    await put(listed);
    const { ask } = await start({ LIMIT: env.LIMIT, KEYS: `filter-7 ${await hashed("secret")}` });
    const statuses: number[] = [];
    for (let i = 0; i < 4; i++) statuses.push((await ask("/k/secret" + listedTarget, from(`192.0.2.${String(20 + i)}`))).status);
    expect(statuses).toEqual([200, 200, 200, 429]);
    expect((await ask(listedTarget, from("192.0.2.30"))).status).toBe(401);
  });
});

describe("EVENTS", () => {
  const address = "192.0.2.77";

  async function eventsOf(path: string, init: RequestInit<IncomingRequestCfProperties>, bindings: Env = {}): Promise<AnalyticsEngineDataPoint[]> {
    await put(listed);
    const points: AnalyticsEngineDataPoint[] = [];
    const dataset: AnalyticsEngineDataset = {
      writeDataPoint(point) {
        points.push(point ?? {});
        env.EVENTS.writeDataPoint(point); // the binding takes it, too
      },
    };
    const { ask } = await start({ EVENTS: dataset, ...bindings });
    await (await ask(path, init)).arrayBuffer();
    return points;
  }

  it.each([
    ["GET", target, "/dns-query", "200"],
    ["GET", listedTarget, "/resolve", "200"],
    ["GET", "/v1/check?ip=192.0.2.77", "/v1/check", "200"],
    ["HEAD", "/", "/", "200"],
    ["DELETE", "/192.0.2.77", "other", "404"],
  ])("are told of %s %s", async (method, path, kind, status) => {
    const points = await eventsOf(path, { method, ...from(address), cf: { colo: "XYZ" } as IncomingRequestCfProperties });
    const told = method === "DELETE" ? "other" : method;
    expect(points).toEqual([{ indexes: ["open"], blobs: [kind, told, status, "XYZ"], doubles: [serial] }]);
  });

  it.each(["/192.0.2.77/192.0.2.2?x=192.0.2.77", "/k/192.0.2.77/v1/check?ip=192.0.2.77", target, listedTarget])(
    "hold neither who asked nor what about: %s",
    async (path) => {
      const headers = { "cf-connecting-ip": address, "x-forwarded-for": address, "user-agent": address, authorization: "Bearer secret" };
      const said = JSON.stringify(await eventsOf(path, { headers }));
      expect(said).toContain('"open"');
      for (const secret of [address, "192.0.2", "2.0.192", "secret", "bl.example"]) expect(said).not.toContain(secret);
    },
  );

  it("are told of a failure of the worker itself", async () => {
    const points = await eventsOf("/", {}, { REFRESH_SECONDS: "never" });
    expect(points).toEqual([{ indexes: ["open"], blobs: ["failure", "", "503", ""], doubles: [0] }]);
  });
});

describe("FALLBACK", () => {
  // The signed text of the assets names the serial.
  async function fallbackSerial(): Promise<number> {
    const manifest = await (await env.FALLBACK.fetch("https://assets.example/manifest")).text();
    return Number(/^serial (\d+)$/m.exec(manifest)?.[1]);
  }

  const status = async ({ ask }: Worker) => (await ask("/v1/status")).json<{ serial?: number }>();

  it("is what an isolate starts from while the bucket has nothing", async () => {
    const worker = await start({ FALLBACK: env.FALLBACK });
    expect((await status(worker)).serial).toBe(await fallbackSerial());
    const answer = await worker.ask("/resolve?type=A&name=2.0.0.127.dnsbl-1.bl.example");
    expect(await answer.json()).toMatchObject({ Status: 0, Answer: [{ data: "127.0.0.2" }] });
  });

  it("is passed by when the bucket has a snapshot", async () => {
    await put(listed);
    expect((await status(await start({ FALLBACK: env.FALLBACK }))).serial).toBe(serial);
  });

  it("gives way to the bucket once that has a snapshot", async () => {
    const worker = await start({ FALLBACK: env.FALLBACK });
    expect((await status(worker)).serial).toBe(await fallbackSerial());
    await put(listed);
    await worker.scheduled();
    expect((await status(worker)).serial).toBe(serial);
  });

  it("is missed without the binding", async () => {
    const { ask } = await start({});
    expect((await ask("/readyz")).status).toBe(503);
  });
});

describe("HOST_NAME", () => {
  const discovery = "/resolve?type=SVCB&name=_dns.resolver.arpa";

  it("is told by discovery (RFC 9462)", async () => {
    await put(listed);
    const { ask } = await start({ HOST_NAME: "doh.bl.example" });
    const answer = await (await ask(discovery)).json<{ Status: number; Answer?: { type: number; data: string }[] }>();
    expect(answer.Status).toBe(0);
    expect(answer.Answer).toHaveLength(1);
    expect(answer.Answer?.[0]?.type).toBe(64);
    const data = /^\\# \d+ ([0-9a-f]+)$/.exec(answer.Answer?.[0]?.data ?? "")?.[1] ?? ""; // RFC 3597
    const text = (data.match(/../g) ?? []).map((b) => String.fromCharCode(parseInt(b, 16))).join("");
    expect(text).toContain("\x03doh\x02bl\x07example\0");
    expect(text).toContain("/dns-query{?dns}");
  });

  it("is not told with keys on, for who finds it has none", async () => {
    await put(listed);
    const { ask } = await start({ HOST_NAME: "doh.bl.example", KEYS: `filter-7 ${await hashed("secret-7")}` });
    const answer = await (await ask(`/k/secret-7${discovery}`)).json<{ Status: number }>();
    expect(answer.Status).toBe(0);
    expect(answer).not.toHaveProperty("Answer");
  });

  it("is not told if there is none", async () => {
    await put(listed);
    const { ask } = await start({});
    expect(await (await ask(discovery)).json()).not.toHaveProperty("Answer");
  });
});

describe("scheduled", () => {
  it("looks for a newer snapshot when nobody asks", async () => {
    await put(listed);
    const { ask, scheduled } = await start({});
    expect(await (await ask(checked)).json()).toMatchObject({ results: [{ listed: true }] });
    await put(delisted, serial + 1);
    await scheduled();
    expect(await (await ask(checked)).json()).toMatchObject({ results: [{ listed: false }] });
  });
});
