// Where manifests and objects come from. Nothing that a source gives is
// trusted: sync verifies every byte.

import { Refused } from "./errors.ts";

/** A place that holds one list's manifest and objects. */
export interface Source {
  /** The signed manifest as it stands. Throws Refused "unavailable" if there is none. */
  manifest(): Promise<Uint8Array>;
  /** The object of that name, of at most size bytes: one byte more is "size". */
  object(wireHash: string, size: number): Promise<Uint8Array>;
  /** Called once an object has turned out to be the one that was asked for (good), or not to be. */
  verified?(wireHash: string, bytes: Uint8Array, good: boolean): Promise<void>;
}

const maxManifest = 64 << 10;
const year = 365 * 24 * 3600;

/** Reads at most max bytes of a body, whatever its sender claims about its length. */
export async function readBounded(body: ReadableStream<Uint8Array> | null, max: number): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let total = 0;
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    total += value.length;
    if (total > max) {
      await reader.cancel();
      throw new Refused("size", `more than ${String(max)} bytes`);
    }
    chunks.push(value);
  }
  const first = chunks[0];
  if (chunks.length === 1 && first) return first;
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** A folder of a web server, such as the origin's publish folder. */
export class URLSource implements Source {
  readonly #base: string;

  constructor(base: string) {
    this.#base = base.endsWith("/") ? base : base + "/";
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
      response = await fetch(this.#base + name, { redirect: "manual", signal: AbortSignal.timeout(10_000) });
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

/** An R2 bucket. */
export class BucketSource implements Source {
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

/** Takes the manifest from KV, which answers faster and later than the rest, and the objects from another source. */
export class KVSource implements Source {
  readonly #kv: KVNamespace;
  readonly #objects: Source;

  constructor(kv: KVNamespace, objects: Source) {
    this.#kv = kv;
    this.#objects = objects;
  }

  async manifest(): Promise<Uint8Array> {
    let value: ArrayBuffer | null;
    try {
      value = await this.#kv.get("manifest", { type: "arrayBuffer", cacheTtl: 30 });
    } catch (cause) {
      throw new Refused("unavailable", `manifest: ${String(cause)}`);
    }
    if (value === null) return this.#objects.manifest();
    return new Uint8Array(value);
  }

  object(wireHash: string, size: number): Promise<Uint8Array> {
    return this.#objects.object(wireHash, size);
  }
}

/** Puts a data centre's cache before another source. Objects never change, so they are kept for a year. */
export class CachedSource implements Source {
  readonly #cache: Cache;
  readonly #source: Source;

  constructor(cache: Cache, source: Source) {
    this.#cache = cache;
    this.#source = source;
  }

  manifest(): Promise<Uint8Array> {
    return this.#source.manifest();
  }

  async object(wireHash: string, size: number): Promise<Uint8Array> {
    const url = this.#url(wireHash);
    const hit = await this.#cache.match(url).catch(() => undefined);
    return hit ? readBounded(hit.body, size) : this.#source.object(wireHash, size);
  }

  /** Keeps a good object and forgets a bad one, so that neither a source nor a cache can poison the other. */
  async verified(wireHash: string, bytes: Uint8Array, good: boolean): Promise<void> {
    const url = this.#url(wireHash);
    const headers = { "cache-control": `public, max-age=${String(year)}, immutable` };
    try {
      if (good) await this.#cache.put(url, new Response(bytes, { headers }));
      else await this.#cache.delete(url);
    } catch {
      // A cache that fails costs time, not answers.
    }
  }

  // A name for the cache alone: .invalid resolves nowhere (RFC 6761, section 6.4).
  #url(wireHash: string): string {
    return `https://objects.invalid/${wireHash}`;
  }
}
