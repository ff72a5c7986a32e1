import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";

import module from "../dist/guest.wasm";
import delistedFilter from "../dist/delisted.filter";
import delistedImage from "../dist/delisted.image";
import listedFilter from "../dist/listed.filter";
import listedImage from "../dist/listed.image";
import { Refused, Trapped, type Reason } from "../src/errors.ts";
import { FieldSets, headersOf } from "../src/fields.ts";
import { Guest } from "../src/guest.ts";
import { Host } from "../src/host.ts";
import { Keys } from "../src/keys.ts";
import { BucketSource, CachedSource, KVSource, URLSource, type Source } from "../src/source.ts";
import { Spare } from "../src/spare.ts";
import { decompress, Sync, type Outcome } from "../src/sync.ts";
import { gzip, list, publish, Signer, Store, zstdAndGzip, zstdOf, type Draft } from "./origin.ts";

const listed = { base: listedImage, filter: listedFilter };
const delisted = { base: delistedImage, filter: delistedFilter };
const refreshSeconds = 30;
const serial = 1_800_000_000;

let signer: Signer;
let store: Store;
let pending: Promise<unknown>[];
const lifetime = { waitUntil: (p: Promise<unknown>) => void pending.push(p) };

beforeAll(async () => {
  signer = await Signer.generate(list);
});

beforeEach(() => {
  store = new Store();
  pending = [];
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

interface Edge {
  sync: Sync;
  host: Host;
  guests: number; // that were taken to load a snapshot
}

function edge(main: Source = store, options: { fallback?: Source; guest?: () => Guest } = {}): Edge {
  const spare = new Spare(module, headersOf);
  const made: Edge = { guests: 0 } as Edge;
  const take = () => {
    made.guests++;
    return options.guest?.() ?? spare.take();
  };
  const give = (guest: Guest) => {
    spare.give(guest);
  };
  const settings = { list, verifiers: [signer.verifier], refreshSeconds, hostName: "" };
  made.sync = new Sync({ main, fallback: options.fallback }, settings, { take, give });
  made.host = new Host(made.sync, new Keys(undefined), undefined, spare, "<!doctype html>");
  return made;
}

/** What a client is told about 192.0.2.n: "listed", "unlisted", or a status that is not 200. */
async function ask({ host }: Edge, n: number): Promise<string> {
  const request = new Request(`http://edge.example/resolve?type=A&name=${String(n)}.2.0.192.dnsbl-1.bl.example`);
  const { response } = await host.serve({ request, clientAddress: "", lifetime });
  if (response.status !== 200) return String(response.status);
  const { Status } = await response.json<{ Status: number }>();
  return { 0: "listed", 2: "SERVFAIL", 3: "unlisted" }[Status] ?? String(Status);
}

/** Looks for a newer snapshot as if it were the given number of seconds later. */
async function refresh({ sync }: Edge, later = 0): Promise<void> {
  await sync.refresh(lifetime, Date.now() + later * 1000);
  await Promise.all(pending);
}

function counted(e: Edge, outcomes: Partial<Record<Outcome, number>>): void {
  expect(e.sync.counts).toEqual(outcomes);
}

const put = (objects: typeof listed, draft: Partial<Draft> = {}) => publish(store, signer, objects, { serial, ...draft });
const now = () => Math.floor(Date.now() / 1000);

describe("a good manifest", () => {
  it("is loaded, and answers", async () => {
    await put(listed);
    const e = edge();
    expect(await ask(e, 2)).toBe("listed");
    expect(await ask(e, 3)).toBe("unlisted");
    counted(e, { loaded: 1 });
    expect(store.verdicts).toEqual([true, true]);
  });

  it("is loaded from zstd alone, and without a filter", async () => {
    await publish(store, signer, { base: listedImage }, { serial, codings: ["zstd"] });
    expect(await ask(edge(), 2)).toBe("listed");
  });

  it.each(["zstd", "plain"] as const)("is loaded from %s objects alone where the source has them so", async (coding) => {
    store.coding = coding;
    const wanted = new Store();
    await publish(wanted, signer, listed, { serial, codings: ["zstd"] });
    await put(listed);
    for (const name of store.objects.keys()) {
      if (wanted.objects.has(name) !== (coding === "zstd")) store.objects.delete(name);
    }
    expect(await ask(edge(), 2)).toBe("listed");
    expect(store.fetched).toBe(2);
  });

  it("is loaded from zstd where there is nothing plain", async () => {
    store.coding = "plain";
    await put(listed, { codings: ["zstd", "gzip"] });
    expect(await ask(edge(), 2)).toBe("listed");
  });

  it("that names the same objects only renews the times", async () => {
    await put(listed);
    const e = edge();
    await refresh(e);
    await put(listed, { serial: serial + 1 });
    await refresh(e);
    counted(e, { loaded: 1, renewed: 1 });
    expect(store.fetched).toBe(2);
    expect(e.sync.current?.manifest.serial).toBe(serial + 1);
    expect(await ask(e, 2)).toBe("listed");
  });

  it("that is the same is left alone", async () => {
    await put(listed);
    const e = edge();
    await refresh(e);
    await refresh(e);
    counted(e, { loaded: 1, unchanged: 1 });
    expect(e.guests).toBe(1);
  });
});

/** Damages the store after a good publication. */
const damages: [name: string, reason: Reason, damage: () => unknown][] = [
  ["an object is absent", "unavailable", () => { store.objects.clear(); }],
  ["there is no manifest", "unavailable", () => (store.signed = undefined)],
  ["the store is down", "unavailable", () => (store.down = true)],
  ["the signature is wrong", "signature", () => flip(store.signed, 40)],
  ["the key is unknown", "untrusted", async () => publish(store, await Signer.generate(list), delisted, { serial: serial + 1 })],
  ["the list is another", "untrusted", () => put(delisted, { serial: serial + 1, list: "other.example" })],
  ["it has expired", "expired", () => put(delisted, { serial: serial + 1, built: now() - 1000, expires: now() - 1 })],
  ["it is from the future", "future", () => put(delisted, { serial: serial + 1, built: now() + 1000 })],
  ["an object is cut", "size", () => { each((bytes) => bytes.slice(0, -1)); }],
  ["an object has one byte more", "size", () => { each((bytes) => Uint8Array.of(...bytes, 0)); }],
  ["an object is another", "hash", () => { each((bytes) => flip(bytes.slice(), 20)); }],
  ["the plain size is smaller than claimed", "size", () => put(delisted, { serial: serial + 1, size: delistedImage.byteLength + 1 })],
  ["the base is no image", "image", () => put({ base: listedFilter, filter: listedFilter }, { serial: serial + 1 })],
  ["the filter is another image's", "image", () => put({ base: delistedImage, filter: listedFilter }, { serial: serial + 1 })],
];
const zstdDamages: typeof damages = [
  ["a zstd object is a bomb", "coding", () => bomb((plain) => Promise.resolve({ zstd: zstdOf(plain), gzip: plain }))],
  ["an object is not compressed", "coding", () => bomb((plain) => Promise.resolve({ zstd: plain, gzip: plain }))],
  ["the plain bytes are another's", "hash", () => swapped()],
];
const plainDamages: typeof damages = [
  ["a plain object has other bytes than its zstd twin", "malformed", async () => {
    await put(delisted, { serial: serial + 1 });
    await resign((text) => text.replace(/ plain [0-9a-f]{64}/, ` plain ${"0".repeat(64)}`));
  }],
  ["a plain object has another size than its zstd twin", "malformed", async () => {
    await put(delisted, { serial: serial + 1 });
    await resign((text) => text.replace(/( plain [0-9a-f]{64}) \d+/, "$1 1"));
  }],
];

function flip(bytes: Uint8Array | undefined, at: number): Uint8Array {
  if (!bytes) throw new Error("nothing to damage");
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

function each(change: (bytes: Uint8Array) => Uint8Array): void {
  for (const [name, bytes] of store.objects) store.objects.set(name, change(bytes));
}

// Signs the manifest again after a change that no origin makes.
async function resign(change: (text: string) => string): Promise<void> {
  const note = new TextDecoder().decode(store.signed);
  const text = note.slice(0, note.indexOf("\n\n") + 1);
  const changed = change(text);
  if (changed === text) throw new Error("nothing changed");
  store.signed = await signer.sign(changed);
}

const bombBytes = 64 << 20;

// Objects that say the size of the delisted image and are 64 MiB.
async function bomb(compress: (plain: Uint8Array) => Promise<{ zstd: Uint8Array; gzip: Uint8Array }>): Promise<void> {
  const zeros = new Uint8Array(bombBytes).buffer;
  await publish(store, signer, { base: zeros }, { serial: serial + 1, size: delistedImage.byteLength }, compress);
}

// A good manifest whose wire objects hold other bytes than it says, of the same size.
async function swapped(): Promise<void> {
  const other = flip(new Uint8Array(delistedImage.slice(0)), 0);
  await publish(store, signer, delisted, { serial: serial + 1 }, () => zstdAndGzip(other));
}

const everyDamage = [
  ...[...damages, ...zstdDamages].map((d) => ["zstd", ...d] as const),
  ...[...damages, ...plainDamages].map((d) => ["plain", ...d] as const),
];

describe.each(everyDamage)("from %s, when %s", (coding, _name, reason, damage) => {
  beforeEach(() => {
    store.coding = coding;
  });

  it(`a cold worker answers SERVFAIL and counts ${reason}`, async () => {
    await put(delisted);
    await damage();
    const e = edge();
    expect(await ask(e, 2)).toBe("SERVFAIL");
    counted(e, { [reason]: 1 });
  });

  it("a warm worker keeps what it has", async () => {
    await put(listed);
    const e = edge();
    await refresh(e);
    await put(delisted, { serial: serial + 1 });
    await damage();
    await refresh(e);
    counted(e, { loaded: 1, [reason]: 1 });
    expect(await ask(e, 2)).toBe("listed");
    expect(e.sync.current?.manifest.serial).toBe(serial);
  });

  it("recovers when it is mended", async () => {
    await put(delisted);
    await damage();
    const e = edge();
    await ask(e, 2);
    store.down = false;
    await put(listed, { serial: serial + 2 });
    expect(await ask(e, 2)).toBe("SERVFAIL"); // within the second
    await refresh(e, 1);
    expect(await ask(e, 2)).toBe("listed");
    expect(e.sync.lastError).toBeUndefined();
  });
});

// Where the runtime has zstd, sync never asks for a gzip object.
describe("a gzip object", () => {
  const object = (size: number) => ({ role: "base", coding: "gzip", size }) as const;

  it("is decompressed", async () => {
    const plain = new Uint8Array(listedImage);
    expect(new Uint8Array(decompress(await gzip(plain), object(plain.length)))).toEqual(plain);
  });

  it("that is a bomb is refused", async () => {
    const wire = await gzip(new Uint8Array(bombBytes));
    expect(() => decompress(wire, object(1000))).toThrow(expect.objectContaining({ reason: "coding" }));
  });

  it("that is cut is refused", async () => {
    const plain = new Uint8Array(listedImage);
    const wire = await gzip(plain);
    expect(() => decompress(wire.slice(0, -9), object(plain.length))).toThrow(expect.objectContaining({ reason: "coding" }));
  });
});

describe("serials", () => {
  it("never go back", async () => {
    await put(delisted, { serial: serial + 5 });
    const e = edge();
    await refresh(e);
    await put(listed, { serial: serial + 4 });
    await refresh(e);
    counted(e, { loaded: 1, rollback: 1 });
    expect(await ask(e, 2)).toBe("unlisted");
  });

  it("have one text each", async () => {
    await put(delisted);
    const e = edge();
    await refresh(e);
    await put(listed);
    await refresh(e);
    counted(e, { loaded: 1, fork: 1 });
    expect(await ask(e, 2)).toBe("unlisted");
  });

  it("never go back when two attempts overlap", async () => {
    await put(listed, { serial: serial + 1 });
    store.delayMs = 50;
    const e = edge();
    const slow = e.sync.refresh(lifetime, Date.now());
    await new Promise((resolve) => setTimeout(resolve, 60)); // it has its manifest
    store.delayMs = 0;
    await put(delisted, { serial: serial + 2 });
    await e.sync.refresh(lifetime, Date.now());
    await slow;
    expect(e.sync.current?.manifest.serial).toBe(serial + 2);
    expect(await ask(e, 2)).toBe("unlisted");
    counted(e, { loaded: 1, rollback: 1 });
  });

  it("that delist are told within the refresh interval", async () => {
    await put(listed);
    const e = edge();
    expect(await ask(e, 2)).toBe("listed");
    await put(delisted, { serial: serial + 1 });
    vi.useFakeTimers({ now: Date.now() + refreshSeconds * 1000, toFake: ["Date"] });
    try {
      expect(await ask(e, 2)).toBe("listed"); // at once, and the look goes on behind it
      await Promise.all(pending);
      expect(await ask(e, 2)).toBe("unlisted");
      expect(await ask(e, 1)).toBe("listed");
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("a cold worker", () => {
  it("loads once for 50 requests", async () => {
    await put(listed);
    store.delayMs = 30;
    const e = edge();
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(e, 2)));
    expect(new Set(answers)).toEqual(new Set(["listed"]));
    expect(store.asked).toEqual(["manifest", "object", "object"]);
    expect(e.guests).toBe(1);
    counted(e, { loaded: 1 });
  });

  it("tries again after a second when an attempt fails, and not before", async () => {
    store.down = true;
    await put(listed);
    const e = edge();
    expect(await ask(e, 2)).toBe("SERVFAIL");
    expect(await ask(e, 2)).toBe("SERVFAIL");
    expect(store.asked).toEqual(["manifest"]);
    store.down = false;
    vi.useFakeTimers({ now: Date.now() + 1000, toFake: ["Date"] });
    try {
      expect(await ask(e, 2)).toBe("listed");
    } finally {
      vi.useRealTimers();
    }
  });

  it("begins again when an attempt is lost with its request", async () => {
    await put(listed);
    const e = edge();
    const object = vi.spyOn(store, "object").mockImplementation(() => new Promise(() => undefined));
    void e.sync.refresh(lifetime, Date.now() - 20_000); // never ends
    await vi.waitFor(() => {
      expect(object).toHaveBeenCalled();
    });
    object.mockRestore();
    expect(await ask(e, 2)).toBe("listed");
  });

  it("starts from a fallback that has not expired, and goes on to what is newer", async () => {
    const bundled = new Store();
    await publish(bundled, signer, listed, { serial });
    store.down = true;
    const e = edge(store, { fallback: bundled });
    expect(await ask(e, 2)).toBe("listed");
    counted(e, { unavailable: 1, fallback: 1 });
    store.down = false;
    await put(delisted, { serial: serial + 1 });
    await refresh(e, refreshSeconds);
    expect(await ask(e, 2)).toBe("unlisted");
  });

  it("does not start from a fallback that has expired", async () => {
    const bundled = new Store();
    await publish(bundled, signer, listed, { serial, built: now() - 1000, expires: now() - 1 });
    store.down = true;
    const e = edge(store, { fallback: bundled });
    expect(await ask(e, 2)).toBe("SERVFAIL");
    counted(e, { unavailable: 1, expired: 1 });
  });
});

describe("a guest that traps", () => {
  class Trapping extends Guest {
    override serve(): never {
      throw new Trapped(new WebAssembly.RuntimeError("unreachable"));
    }
  }

  it("is dropped, and another loaded for the next request", async () => {
    await put(listed);
    let first = true;
    const e = edge(store, {
      guest: () => {
        const guest = first ? new Trapping(module, new FieldSets(headersOf)) : new Guest(module, new FieldSets(headersOf));
        first = false;
        return guest;
      },
    });
    expect(await ask(e, 2)).toBe("SERVFAIL");
    expect(e.sync.current).toBeUndefined();
    expect(await ask(e, 2)).toBe("listed");
    expect(e.guests).toBe(2);
  });

  it("is loaded anew once a second at most", async () => {
    await put(listed);
    const e = edge(store, { guest: () => new Trapping(module, new FieldSets(headersOf)) });
    for (let i = 0; i < 10; i++) expect(await ask(e, 2)).toBe("SERVFAIL");
    expect(e.guests).toBeLessThanOrEqual(2);
  });

  it("does not let the serial go back", async () => {
    await put(delisted, { serial: serial + 1 });
    const e = edge();
    await refresh(e);
    const generation = e.sync.current;
    if (!generation) throw new Error("not loaded");
    await put(listed);
    e.sync.drop(generation, Date.now());
    expect(await ask(e, 2)).toBe("SERVFAIL");
    counted(e, { loaded: 1, rollback: 1 });
  });
});

describe("KV", () => {
  const kv = () => edge(new KVSource(env.MANIFEST, store));
  const copy = async () => {
    if (!store.signed) throw new Error("nothing published");
    await env.MANIFEST.put("manifest", store.signed);
  };

  beforeEach(() => env.MANIFEST.delete("manifest"));

  it("gives the manifest, so that the bucket is asked for objects alone", async () => {
    await put(listed);
    await copy();
    const e = kv();
    expect(await ask(e, 2)).toBe("listed");
    expect(store.asked).toEqual(["object", "object"]);
  });

  it("may be empty", async () => {
    await put(listed);
    expect(await ask(kv(), 2)).toBe("listed");
  });

  it("is passed by when its manifest is overdue", async () => {
    await put(listed, { built: now() - 1000, next: now() - 500 });
    await copy();
    await put(delisted, { serial: serial + 1 });
    expect(await ask(kv(), 2)).toBe("unlisted");
  });

  it("is passed by when its manifest is older than the one in use", async () => {
    await put(listed);
    await copy();
    const e = kv();
    await refresh(e);
    await env.MANIFEST.delete("manifest");
    await put(delisted, { serial: serial + 1 });
    await refresh(e);
    await put(listed);
    await copy();
    await put(delisted, { serial: serial + 2 });
    await refresh(e);
    expect(e.sync.current?.manifest.serial).toBe(serial + 2);
  });

  it("is enough when its manifest is overdue and the bucket is down", async () => {
    await put(listed, { built: now() - 1000, next: now() - 500 });
    await copy();
    const broken: Source = {
      coding: "zstd",
      manifest: () => Promise.reject(new Refused("unavailable", "down")),
      object: (name) => store.object(name),
    };
    expect(await ask(edge(new KVSource(env.MANIFEST, broken)), 2)).toBe("listed");
  });
});

describe("guests", () => {
  const get = async (e: Edge, path: string) => {
    const request = new Request("http://edge.example" + path);
    return (await e.host.serve({ request, clientAddress: "", lifetime })).response;
  };

  it("take turns", async () => {
    const e = edge();
    const guests = new Set<Guest | undefined>();
    for (let i = 0; i < 6; i++) {
      const objects = i % 2 === 0 ? listed : delisted;
      await put(objects, { serial: serial + i });
      await refresh(e);
      guests.add(e.sync.current?.guest);
      expect(await ask(e, 2)).toBe(i % 2 === 0 ? "listed" : "unlisted");
      expect(await (await get(e, "/v1/status")).json()).toMatchObject({ serial: serial + i });
      expect(new Uint8Array(await (await get(e, "/v1/filter")).arrayBuffer())).toEqual(new Uint8Array(objects.filter));
    }
    expect(guests.size).toBe(2);
  });

  it("take the next snapshot after one that they refused", async () => {
    const e = edge();
    for (let i = 0; i < 3; i++) {
      await put({ base: listedFilter, filter: listedFilter }, { serial: serial + 2 * i });
      await refresh(e);
      expect(e.sync.lastError?.reason).toBe("image");
      await put(i % 2 === 0 ? listed : delisted, { serial: serial + 2 * i + 1 });
      await refresh(e);
      expect(await ask(e, 2)).toBe(i % 2 === 0 ? "listed" : "unlisted");
    }
  });

  it("give no filter of before when the next snapshot has none", async () => {
    const e = edge();
    await put(listed);
    await refresh(e);
    for (let i = 1; i < 4; i++) {
      await publish(store, signer, { base: listedImage }, { serial: serial + i });
      await refresh(e);
      expect((await get(e, "/v1/filter")).status).toBe(404);
    }
  });

  // A body is a view of the guest's memory until Response has copied it (Fetch standard, 5.2).
  it("spoil no answer that has not been read yet", async () => {
    await put(listed);
    const e = edge();
    const names = Array.from({ length: 40 }, (_, i) => `${"x".repeat(i)}y.example.`);
    const responses = await Promise.all(names.map((name) => get(e, `/resolve?type=A&name=${name}`)));
    for (const [i, response] of responses.entries()) {
      expect(await response.json()).toMatchObject({ Question: [{ name: names[i] }] });
    }
  });
});

describe("R2", () => {
  async function fill(): Promise<void> {
    if (store.signed) await env.SNAPSHOTS.put("manifest", store.signed);
    for (const [name, bytes] of store.objects) await env.SNAPSHOTS.put("objects/" + name, bytes);
  }

  beforeEach(async () => {
    const { objects } = await env.SNAPSHOTS.list();
    await env.SNAPSHOTS.delete(objects.map((o) => o.key));
  });

  it("is followed", async () => {
    await put(listed);
    await fill();
    const e = edge(new BucketSource(env.SNAPSHOTS));
    expect(await ask(e, 2)).toBe("listed");
    await put(delisted, { serial: serial + 1 });
    await fill();
    await refresh(e);
    expect(await ask(e, 2)).toBe("unlisted");
  });

  it("that has nothing is unavailable", async () => {
    const e = edge(new BucketSource(env.SNAPSHOTS));
    expect(await ask(e, 2)).toBe("SERVFAIL");
    counted(e, { unavailable: 1 });
  });

  it("that throws is unavailable", async () => {
    const bucket = { get: () => Promise.reject(new Error("R2 is down")) } as unknown as R2Bucket;
    const e = edge(new BucketSource(bucket));
    expect(await ask(e, 2)).toBe("SERVFAIL");
    counted(e, { unavailable: 1 });
  });
});

describe("the cache", () => {
  it.each(["zstd", "plain"] as const)("keeps good %s objects for the next isolate", async (coding) => {
    store.coding = coding;
    await put(listed);
    await refresh(edge(new CachedSource(caches.default, store)));
    expect(store.fetched).toBe(2);
    const e = edge(new CachedSource(caches.default, store));
    await refresh(e);
    expect(store.fetched).toBe(2);
    counted(e, { loaded: 1 });
  });

  it("never holds bad ones for long", async () => {
    await put(delisted);
    const name = [...store.objects.keys()][0] ?? "";
    const cache = await caches.open("poisoned");
    await cache.put(`https://objects.invalid/${name}`, new Response(new Uint8Array(10), { headers: { "cache-control": "max-age=60" } }));
    const e = edge(new CachedSource(cache, store));
    await refresh(e);
    counted(e, { size: 1 });
    await refresh(e, 1);
    counted(e, { size: 1, loaded: 1 });
  });
});

describe("a folder of a web server", () => {
  const give = (responses: Record<string, Response>) =>
    new URLSource("https://origin.example/list", (url) => Promise.resolve(responses[url] ?? new Response("no", { status: 404 })));

  it("is asked below its path", async () => {
    const source = give({ "https://origin.example/list/manifest": new Response("text") });
    expect(new TextDecoder().decode(await source.manifest())).toBe("text");
  });

  it("is unavailable when it says no or redirects", async () => {
    await expect(give({}).manifest()).rejects.toMatchObject({ reason: "unavailable" });
    const moved = give({ "https://origin.example/list/manifest": new Response(null, { status: 302 }) });
    await expect(moved.manifest()).rejects.toMatchObject({ reason: "unavailable" });
  });

  it.each([
    ["more than was asked for is refused", 11, 10, "size"],
    ["as much as was asked for is read whole", 10, 10, 10],
    ["less is read to its end", 9, 10, 9],
  ])("that sends in pieces: %s", async (_name, sent, asked, want) => {
    const { readable, writable } = new IdentityTransformStream();
    const source = give({ "https://origin.example/list/objects/name": new Response(readable) });
    const writer = writable.getWriter();
    const written = (async () => {
      for (let i = 0; i < sent; i++) await writer.write(Uint8Array.of(i));
      await writer.close();
    })().catch(() => undefined); // cancelled
    const got = await source.object("name", asked).catch((error: unknown) => error as Refused);
    await written;
    expect(got instanceof Uint8Array ? got.length : got.reason).toBe(want);
    if (got instanceof Uint8Array) expect([...got]).toEqual(Array.from({ length: sent }, (_, i) => i));
  });
});
