// Where manifests and objects come from. Nothing that a source gives is
// trusted: sync verifies every byte.

import { Refused } from "./errors.ts";
import type { Coding } from "./manifest.ts";

/** A place that holds one list's manifest and objects. */
export interface Source {
  /** The coding that costs least here: plain where bytes cost nothing and the time to decompress them does, else zstd. */
  readonly coding: Coding;
  /** The signed manifest as it stands, or a copy that may be late. Throws Refused "unavailable" if there is none. */
  manifest(): Promise<Uint8Array>;
  /** The manifest as it stands, past every copy. Absent where manifest gives no copies. */
  original?(): Promise<Uint8Array>;
  /** The object of that name, of at most size bytes: one byte more is "size". The caller's to keep. */
  object(wireHash: string, size: number): Promise<Uint8Array>;
  /**
   * Called once an object has turned out to be the one that was asked for
   * (good), or not to be. When it returns, the bytes are the caller's again.
   */
  verified?(wireHash: string, bytes: Uint8Array, good: boolean): Promise<void>;
}

const maxManifest = 64 << 10;
const fetchLimitMs = 10_000;
const year = 365 * 24 * 3600;

/**
 * Reads at most max bytes of a body, whatever its sender claims about its
 * length. One read has all of it: in chunks of 4 KiB, as a reader else gets
 * them, an object of 1.25 MB takes 8 ms of CPU more.
 */
export async function readBounded(body: ReadableStream | null, max: number): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const reader = body.getReader({ mode: "byob" });
  const { value } = await reader.read(new Uint8Array(max), { min: max });
  if (value?.length === max && !(await reader.read(new Uint8Array(1))).done) {
    await reader.cancel();
    throw new Refused("size", `more than ${String(max)} bytes`);
  }
  return value ?? new Uint8Array();
}

/** The chunks in one piece, which is the first itself if there is no other, cut to length bytes. */
export function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [first] = chunks;
  if (first && chunks.length === 1 && first.length === length) return first;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    const part = chunk.subarray(0, length - at);
    bytes.set(part, at);
    at += part.length;
    release(chunk);
  }
  return bytes;
}

/**
 * Gives the memory back that nobody needs any more. The collector would find it
 * when many times as much has gathered: it runs for what is on its own heap.
 */
export function release({ buffer, byteLength }: Uint8Array): void {
  const whole = buffer instanceof ArrayBuffer && buffer.byteLength === byteLength; // else others may have the rest
  if (whole && byteLength > 0) buffer.transfer(0);
}

/** What gives a Response for a URL: the network, or a binding. */
export type Fetch = (url: string, init: { redirect: "manual"; signal: AbortSignal }) => Promise<Response>;

/** A folder of a web server, such as the origin's publish folder. */
export class URLSource implements Source {
  readonly coding = "zstd";
  readonly #base: string;
  readonly #fetch: Fetch;

  constructor(base: string, fetcher: Fetch = (url, init) => fetch(url, init)) {
    this.#base = base.endsWith("/") ? base : base + "/";
    this.#fetch = fetcher;
  }

  manifest(): Promise<Uint8Array> {
    return this.#get("manifest", maxManifest);
  }

  object(wireHash: string, size: number): Promise<Uint8Array> {
    return this.#get("objects/" + wireHash, size);
  }

  async #get(name: string, max: number): Promise<Uint8Array> {
    let response: Response;
    try {
      response = await this.#fetch(this.#base + name, { redirect: "manual", signal: AbortSignal.timeout(fetchLimitMs) });
    } catch (cause) {
      throw new Refused("unavailable", `${name}: ${String(cause)}`);
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw new Refused("unavailable", `${name}: status ${String(response.status)}`);
    }
    return readBounded(response.body, max);
  }
}

/** An R2 bucket: what it gives a worker is neither metered by the byte nor far away. */
export class BucketSource implements Source {
  readonly coding = "plain";
  readonly #bucket: R2Bucket;

  constructor(bucket: R2Bucket) {
    this.#bucket = bucket;
  }

  manifest(): Promise<Uint8Array> {
    return this.#get("manifest", maxManifest);
  }

  object(wireHash: string, size: number): Promise<Uint8Array> {
    return this.#get("objects/" + wireHash, size);
  }

  async #get(key: string, max: number): Promise<Uint8Array> {
    let object: R2ObjectBody | null;
    try {
      object = await this.#bucket.get(key);
    } catch (cause) {
      throw new Refused("unavailable", `${key}: ${String(cause)}`);
    }
    if (object === null) throw new Refused("unavailable", `${key} is not in the bucket`);
    return readBounded(object.body, max);
  }
}

/** Takes the manifest from KV, which answers faster and later than the rest, and all else from another source. */
export class KVSource implements Source {
  readonly #kv: KVNamespace;
  readonly #source: Source;

  constructor(kv: KVNamespace, source: Source) {
    this.#kv = kv;
    this.#source = source;
  }

  get coding(): Coding {
    return this.#source.coding;
  }

  async manifest(): Promise<Uint8Array> {
    const copy = await this.#kv.get("manifest", { type: "arrayBuffer", cacheTtl: 30 }).catch(() => null);
    return copy === null ? this.original() : new Uint8Array(copy);
  }

  original(): Promise<Uint8Array> {
    return this.#source.manifest();
  }

  object(wireHash: string, size: number): Promise<Uint8Array> {
    return this.#source.object(wireHash, size);
  }

  async verified(wireHash: string, bytes: Uint8Array, good: boolean): Promise<void> {
    await this.#source.verified?.(wireHash, bytes, good);
  }
}

/** Puts a data centre's cache before another source. Objects never change, so they are kept for a year. */
export class CachedSource implements Source {
  readonly #cache: Cache;
  readonly #source: Source;
  readonly #hits = new Set<string>(); // objects from the cache that nobody has verified yet

  constructor(cache: Cache, source: Source) {
    this.#cache = cache;
    this.#source = source;
  }

  get coding(): Coding {
    return this.#source.coding;
  }

  manifest(): Promise<Uint8Array> {
    return this.#source.manifest();
  }

  async object(wireHash: string, size: number): Promise<Uint8Array> {
    const hit = await this.#match(wireHash, size);
    if (!hit) return this.#source.object(wireHash, size);
    this.#hits.add(wireHash);
    return hit;
  }

  /** Keeps a good object and forgets a bad one, so that neither a source nor a cache can poison the other. */
  async verified(wireHash: string, bytes: Uint8Array, good: boolean): Promise<void> {
    if (this.#hits.delete(wireHash) && good) return;
    const url = this.#url(wireHash);
    const headers = { "cache-control": `public, max-age=${String(year)}, immutable` };
    try {
      if (good) await this.#cache.put(url, new Response(bytes, { headers })); // copies them (Fetch standard, 5.2)
      else await this.#cache.delete(url);
    } catch {
      // A cache that fails costs time, not answers.
    }
  }

  async #match(wireHash: string, size: number): Promise<Uint8Array | undefined> {
    try {
      const hit = await this.#cache.match(this.#url(wireHash));
      return hit && (await readBounded(hit.body, size));
    } catch {
      return undefined;
    }
  }

  // A name for the cache alone: .invalid resolves nowhere (RFC 6761, section 6.4).
  #url(wireHash: string): string {
    return `https://objects.invalid/${wireHash}`;
  }
}
