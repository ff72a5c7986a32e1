// V8 compiles each function when it is first called. A worker's first request
// would wait for nearly all of them, so a worker goes through a cold start once
// in global scope, where no client waits: from a bucket in memory, with a
// snapshot of a few documentation addresses, which it then forgets. The network
// and bodies are left out, which global scope does not allow; a timer it refuses
// when all of its code has been compiled.

import { readSettings } from "./env.ts";
import { Host } from "./host.ts";
import { rehearsal } from "./rehearsal.ts";
import { release } from "./source.ts";
import type { Spare } from "./spare.ts";
import { Sync, type Lifetime } from "./sync.ts";

const question = "AAABAAABAAAAAAAAATcDMTAwAjUxAzE5OAdkbnNibC0xAmJsB2V4YW1wbGUAAAEAAQ"; // 198.51.100.7, A

// Memory costs time when it is first touched, about 1 ms for each copy of an
// image. Room for one of so many bytes is ready: in the guest, in what an object
// is read into, and in what a cache takes of it. The three public zones of July
// 2026 take 1.25 MB.
const roomBytes = 2 << 20;

/** Loads and answers once with the spare guest, and leaves it without a snapshot. Throws if any of it fails. */
export async function rehearse(spare: Spare, page: string): Promise<void> {
  const env = { LIST: rehearsal.list, VERIFIERS: rehearsal.verifier, SNAPSHOTS: bucket as unknown as R2Bucket };
  const settings = await readSettings(env, cache as unknown as Cache);
  const sync = new Sync(settings.sources, settings.sync, spare);
  spare.lend().reserve(roomBytes);
  release(new Uint8Array(2 * roomBytes).fill(1));
  const going: Promise<unknown>[] = [];
  const lifetime: Lifetime = { waitUntil: (promise) => going.push(promise) };
  await Promise.allSettled([sync.ready(lifetime, rehearsal.built * 1000)]); // starts a load, and fails at the timer beside it
  await Promise.all(going);
  if (!sync.current) throw sync.lastError ?? new Error("no snapshot");
  const host = new Host(sync, settings.keys, limiter, spare, page); // with a limiter it awaits something, as for a cold request
  const request = new Request(`https://edge.invalid/dns-query?dns=${question}`, { method: "HEAD", headers: { accept: "*/*" } });
  const { response } = await host.serve({ request, clientAddress: "", lifetime });
  if (response.status !== 200) throw new Error(`status ${String(response.status)}`);
  spare.give(sync.current.guest);
  spare.lend();
}

const bucket = {
  get(key: string): Promise<{ body: unknown }> {
    const bytes = Uint8Array.from(atob(rehearsal.files[key] ?? ""), (c) => c.charCodeAt(0));
    const chunks = [{ done: false, value: bytes }, { done: true }];
    return Promise.resolve({ body: { getReader: () => ({ read: () => Promise.resolve(chunks.shift()) }) } });
  },
};

const cache = {
  match: () => Promise.resolve(undefined),
  put: () => Promise.resolve(),
};

const limiter = { limit: () => Promise.resolve({ success: true }) };
