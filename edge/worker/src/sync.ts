// Keeps the current snapshot: manifest, verification, objects, a new guest,
// then one reference is swapped. The rules are those of the Go host's sync.

import * as zlib from "node:zlib";

import { Refused } from "./errors.ts";
import { abiVersion } from "./frame.ts";
import { Guest } from "./guest.ts";
import {
  acceptManifest,
  openManifest,
  sameObjects,
  type Manifest,
  type ManifestObject,
  type Opened,
  type Verifier,
} from "./manifest.ts";
import { readBounded, type Source } from "./source.ts";

/** One verified snapshot and the guest that answers from it. Immutable but for a renewed manifest. */
export interface Generation extends Opened {
  guest: Guest;
  filter: Uint8Array; // the filter object, empty if there is none
}

/** The part of a request's context that sync needs. */
export interface Lifetime {
  waitUntil(promise: Promise<unknown>): void;
}

export interface SyncSettings {
  list: string;
  verifiers: readonly Verifier[];
  refreshSeconds: number;
}

const zlibChunk = 64 << 10; // workerd counts a whole chunk when it is only part full
const noFilter = new Uint8Array();
const coldWaitMs = 5_000; // how long a request waits for the first snapshot
const coldPollMs = 20;
const loadLimitMs = 20_000; // after this long a load counts as lost with its request

export class Sync {
  readonly #source: Source;
  readonly #settings: SyncSettings;
  readonly #newGuest: () => Guest;
  #current: Generation | undefined;
  #last: Opened | undefined; // the highest serial accepted, also after its guest was dropped
  #nextCheck = 0; // milliseconds
  #loadingSince: number | undefined; // milliseconds

  /** Counters since the isolate began: loads, renewals, and refusals by reason. */
  readonly counts: Record<string, number> = {};
  /** The last failure, or undefined after a success. */
  lastError: Refused | undefined;

  constructor(source: Source, settings: SyncSettings, newGuest: () => Guest) {
    this.#source = source;
    this.#settings = settings;
    this.#newGuest = newGuest;
  }

  get current(): Generation | undefined {
    return this.#current;
  }

  /**
   * Returns the generation to answer from. A warm worker answers at once and
   * refreshes behind the answer. A cold one waits for the first snapshot:
   * the request that comes first loads it, under waitUntil so that it goes on
   * when its client leaves, and the others watch for the result, because a
   * promise that does I/O belongs to the request that made it.
   */
  async ready(lifetime: Lifetime, nowMs: number): Promise<Generation | undefined> {
    if (this.#due(nowMs)) lifetime.waitUntil(this.refresh(nowMs));
    for (let waited = 0; !this.#current && this.#loadingSince !== undefined && waited < coldWaitMs; waited += coldPollMs) {
      await new Promise((resolve) => setTimeout(resolve, coldPollMs));
    }
    return this.#current;
  }

  /** Drops a guest that trapped, so that the next request loads anew. */
  drop(generation: Generation): void {
    if (this.#current !== generation) return;
    this.#current = undefined;
    this.#nextCheck = 0;
  }

  #due(nowMs: number): boolean {
    if (this.#loadingSince !== undefined && nowMs - this.#loadingSince < loadLimitMs) return false;
    return nowMs >= this.#nextCheck;
  }

  /** Looks for a newer snapshot once. Never throws: a failure is counted and the last good snapshot stays. */
  async refresh(nowMs: number): Promise<void> {
    this.#loadingSince = nowMs;
    try {
      const done = await this.#advance(nowMs);
      this.#count(done);
      this.lastError = undefined;
      this.#nextCheck = nowMs + this.#interval();
    } catch (error) {
      const refused = error instanceof Refused ? error : new Refused("unavailable", String(error));
      this.#count(refused.reason);
      this.lastError = refused;
      console.error(JSON.stringify({ msg: "snapshot refused", reason: refused.reason, error: refused.message }));
      this.#nextCheck = nowMs + (this.#current ? this.#interval() : 1_000);
    } finally {
      this.#loadingSince = undefined;
    }
  }

  // Spread over a tenth, so that isolates do not ask all at once.
  #interval(): number {
    return this.#settings.refreshSeconds * 1000 * (0.9 + 0.1 * Math.random());
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  async #advance(nowMs: number): Promise<"loaded" | "renewed" | "unchanged"> {
    const opened = await openManifest(await this.#source.manifest(), this.#settings.verifiers);
    acceptManifest(opened, this.#last, this.#settings.list, abiVersion, Math.floor(nowMs / 1000));
    const current = this.#current;
    if (current?.text === opened.text) return "unchanged";
    if (current && sameObjects(current.manifest, opened.manifest)) {
      current.guest.renew(opened.manifest);
      this.#use({ ...current, ...opened });
      return "renewed";
    }
    const { manifest } = opened;
    const base = await this.#object(manifest, "base");
    const filter = manifest.objects.some((o) => o.role === "filter") ? await this.#object(manifest, "filter") : noFilter;
    const guest = this.#newGuest();
    guest.load(base, filter, manifest);
    this.#use({ ...opened, guest, filter });
    return "loaded";
  }

  #use(generation: Generation): void {
    this.#current = generation;
    this.#last = generation;
  }

  async #object(manifest: Manifest, role: ManifestObject["role"]): Promise<Uint8Array> {
    const object = pickCoding(manifest.objects.filter((o) => o.role === role));
    const wire = await this.#source.object(object.wireHash, object.wireSize);
    const good = wire.length === object.wireSize && (await sha256(wire)) === object.wireHash;
    await this.#source.verified?.(object.wireHash, wire, good);
    if (wire.length !== object.wireSize) {
      throw new Refused("size", `${role} has ${String(wire.length)} bytes, the manifest says ${String(object.wireSize)}`);
    }
    if (!good) throw new Refused("hash", `${role} is not the object ${object.wireHash}`);
    const plain = await decompress(wire, object);
    if (plain.length !== object.size) {
      throw new Refused("size", `${role} decompresses to ${String(plain.length)} bytes, the manifest says ${String(object.size)}`);
    }
    if ((await sha256(plain)) !== object.hash) throw new Refused("hash", `${role} decompresses to something else`);
    return plain;
  }
}

// zstd where the runtime has it, gzip else.
function pickCoding(objects: readonly ManifestObject[]): ManifestObject {
  const zstd = zlib.zstdDecompressSync ? objects.find((o) => o.coding === "zstd") : undefined;
  const object = zstd ?? objects.find((o) => o.coding === "gzip");
  if (!object) throw new Refused("coding", "no coding of the object can be decompressed here");
  return object;
}

// Decompresses to little more than the manifest says, so that a bomb ends early.
async function decompress(wire: Uint8Array, object: ManifestObject): Promise<Uint8Array> {
  try {
    if (object.coding === "zstd" && zlib.zstdDecompressSync) {
      return zlib.zstdDecompressSync(wire, { maxOutputLength: object.size + zlibChunk });
    }
    const stream = new Blob([wire]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await readBounded(stream, object.size);
  } catch (cause) {
    throw new Refused("coding", `${object.role} does not decompress to ${String(object.size)} bytes: ${String(cause)}`);
  }
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}
