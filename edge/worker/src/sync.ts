// Keeps the current snapshot: manifest, verification, objects, a new guest,
// then one reference is swapped. The rules are those of the Go host's sync.

import * as zlib from "node:zlib";

import { Refused, type Reason } from "./errors.ts";
import { abiVersion } from "./frame.ts";
import type { Guest } from "./guest.ts";
import {
  acceptManifest,
  openManifest,
  sameObjects,
  type Coding,
  type Manifest,
  type ManifestObject,
  type Opened,
  type Verifier,
} from "./manifest.ts";
import { release, type Source } from "./source.ts";
import type { Spare } from "./spare.ts";

/** One verified snapshot and the guest that answers from it. Immutable but for a renewed manifest. */
export interface Generation extends Opened {
  guest: Guest;
}

/** The part of a request's context that sync needs. */
export interface Lifetime {
  waitUntil(promise: Promise<unknown>): void;
}

export interface SyncSettings {
  list: string;
  verifiers: readonly Verifier[];
  refreshSeconds: number;
  hostName: string; // of this edge, for discovery (RFC 9462); "" if it has none
}

/** Where snapshots come from. */
export interface Sources {
  main: Source;
  fallback: Source | undefined; // what a cold worker starts from when main has nothing good
}

/** What sync counts: how attempts ended, and why they failed. */
export type Outcome = "loaded" | "renewed" | "unchanged" | "fallback" | Reason;

const zlibChunk = 64 << 10; // workerd counts a whole chunk when it is only part full
const noFilter = new Uint8Array();
const coldWaitMs = 5_000; // how long a request waits for the first snapshot
const coldPollMs = 10;
const retryMs = 1_000; // between two attempts while there is no snapshot
const attemptLimitMs = 20_000; // after this long an attempt counts as lost with its request

// One attempt to get a newer snapshot. Its promise belongs to the request that
// made it, so that only its result is shared.
interface Attempt {
  since: number; // milliseconds
}

export class Sync {
  readonly #sources: Sources;
  readonly #settings: SyncSettings;
  readonly #spare: Pick<Spare, "take" | "give">;
  #current: Generation | undefined;
  #last: Opened | undefined; // the highest serial accepted, also after its guest was dropped
  #nextCheck = 0; // milliseconds, like the next
  #droppedAt = 0;
  #attempt: Attempt | undefined;

  /** How many attempts ended how, since the isolate began. */
  readonly counts: Partial<Record<Outcome, number>> = {};
  /** The last failure, or undefined after a success. */
  lastError: Refused | undefined;

  constructor(sources: Sources, settings: SyncSettings, spare: Pick<Spare, "take" | "give">) {
    this.#sources = sources;
    this.#settings = settings;
    this.#spare = spare;
  }

  get current(): Generation | undefined {
    return this.#current;
  }

  /** Whether there is a snapshot and nothing to do about a newer one, so that nothing has to be awaited. */
  settled(nowMs: number): boolean {
    return this.#current !== undefined && !this.#due(nowMs);
  }

  /**
   * Returns the generation to answer from. A warm worker answers at once and
   * refreshes behind the answer. A cold one waits for the first snapshot:
   * the request that comes first loads it, under waitUntil so that it goes on
   * when its client leaves, and the others watch for the result, because a
   * promise that does I/O belongs to the request that made it.
   */
  async ready(lifetime: Lifetime, nowMs: number): Promise<Generation | undefined> {
    const mine = this.#due(nowMs) ? this.refresh(lifetime, nowMs) : undefined;
    if (mine) lifetime.waitUntil(mine);
    if (!this.#current && mine) await Promise.race([mine, sleep(coldWaitMs)]);
    for (let waited = 0; !this.#current && this.#attempt && waited < coldWaitMs; waited += coldPollMs) {
      await sleep(coldPollMs);
    }
    return this.#current;
  }

  /** Drops a guest that trapped, so that a request to come loads anew: the next, if none has done so within a second. */
  drop(generation: Generation, nowMs: number): void {
    if (this.#current !== generation) return;
    this.#current = undefined;
    this.#nextCheck = Math.max(nowMs, this.#droppedAt + retryMs);
    this.#droppedAt = nowMs;
  }

  #due(nowMs: number): boolean {
    if (this.#attempt && nowMs - this.#attempt.since < attemptLimitMs) return false;
    return nowMs >= this.#nextCheck;
  }

  /** Looks for a newer snapshot once. Never throws: a failure is counted and the last good snapshot stays. */
  async refresh(lifetime: Lifetime, nowMs: number): Promise<void> {
    const attempt: Attempt = { since: nowMs };
    this.#attempt = attempt;
    try {
      this.#count(await this.#advance(this.#sources.main, lifetime, nowMs));
      this.lastError = undefined;
      this.#nextCheck = nowMs + this.#interval();
    } catch (error) {
      this.#failed(error);
      if (!this.#current) await this.#fallBack(lifetime, nowMs);
      this.#nextCheck = nowMs + (this.#current ? this.#interval() : retryMs);
    } finally {
      if (this.#attempt === attempt) this.#attempt = undefined;
    }
  }

  // Starts from the fallback, under the same rules as from anywhere else.
  async #fallBack(lifetime: Lifetime, nowMs: number): Promise<void> {
    if (!this.#sources.fallback) return;
    try {
      await this.#advance(this.#sources.fallback, lifetime, nowMs);
      this.#count("fallback");
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const refused = error instanceof Refused ? error : new Refused("unavailable", String(error));
    this.#count(refused.reason);
    this.lastError = refused;
    console.error(JSON.stringify({ msg: "snapshot refused", reason: refused.reason, error: refused.message }));
  }

  // Spread over a tenth, so that isolates do not ask all at once.
  #interval(): number {
    return this.#settings.refreshSeconds * 1000 * (0.9 + 0.1 * Math.random());
  }

  #count(what: Outcome): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  async #advance(source: Source, lifetime: Lifetime, nowMs: number): Promise<"loaded" | "renewed" | "unchanged"> {
    const now = Math.floor(nowMs / 1000);
    const opened = await this.#manifest(source, now);
    const { manifest } = opened;
    const current = this.#current;
    if (current?.text === opened.text) return "unchanged";
    if (current && sameObjects(current.manifest, manifest)) {
      current.guest.renew(manifest, this.#settings.hostName);
      this.#use({ ...current, ...opened });
      return "renewed";
    }
    const [base, filter] = await Promise.all([
      fetchObject(source, lifetime, manifest, "base"),
      fetchObject(source, lifetime, manifest, "filter"),
    ]);
    this.#accept(opened, now); // another attempt may have been faster and gone further
    const before = this.#current?.guest;
    this.#use({ ...opened, guest: this.#loaded(base, filter, manifest) });
    release(base);
    release(filter);
    if (before) this.#spare.give(before);
    return "loaded";
  }

  #loaded(base: Uint8Array, filter: Uint8Array, manifest: Manifest): Guest {
    const guest = this.#spare.take();
    try {
      guest.load(base, filter, manifest, this.#settings.hostName);
    } catch (error) {
      if (error instanceof Refused) this.#spare.give(guest); // else it trapped
      throw error;
    }
    return guest;
  }

  #use(generation: Generation): void {
    this.#current = generation;
    this.#last = generation;
  }

  // A copy that is overdue, or may not be used at all, may just be late: then
  // the original decides. If that cannot be had, a good copy will do.
  async #manifest(source: Source, now: number): Promise<Opened> {
    if (!source.original) return this.#open(await source.manifest(), now);
    let copy: Opened | undefined;
    try {
      copy = await this.#open(await source.manifest(), now);
      if (now <= copy.manifest.next) return copy;
    } catch {
      // The original says what is wrong.
    }
    try {
      return await this.#open(await source.original(), now);
    } catch (error) {
      if (copy && error instanceof Refused && error.reason === "unavailable") return copy;
      throw error;
    }
  }

  async #open(signed: Uint8Array, now: number): Promise<Opened> {
    const opened = await openManifest(signed, this.#settings.verifiers);
    this.#accept(opened, now);
    return opened;
  }

  #accept(opened: Opened, now: number): void {
    acceptManifest(opened, this.#last, this.#settings.list, abiVersion, now);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Returns the plain bytes of an object, or none if the manifest has no object in that role.
async function fetchObject(source: Source, lifetime: Lifetime, manifest: Manifest, role: ManifestObject["role"]): Promise<Uint8Array> {
  const objects = manifest.objects.filter((o) => o.role === role);
  if (objects.length === 0) return noFilter;
  const object = pickCoding(objects, source.coding);
  const wire = await source.object(object.wireHash, object.wireSize);
  const good = wire.length === object.wireSize && (await sha256(wire)) === object.wireHash;
  const told = source.verified?.(object.wireHash, wire, good);
  if (told) lifetime.waitUntil(told); // also when it is not used further
  if (wire.length !== object.wireSize) {
    throw new Refused("size", `${role} has ${String(wire.length)} bytes, the manifest says ${String(object.wireSize)}`);
  }
  if (!good) throw new Refused("hash", `${role} is not the object ${object.wireHash}`);
  if (object.coding === "plain") return wire; // the manifest gives both one hash and size
  const plain = decompress(wire, object);
  release(wire);
  if (plain.length !== object.size) {
    throw new Refused("size", `${role} decompresses to ${String(plain.length)} bytes, the manifest says ${String(object.size)}`);
  }
  if ((await sha256(plain)) !== object.hash) throw new Refused("hash", `${role} decompresses to something else`);
  return plain;
}

// What the source would have, else what takes the fewest bytes. Not every runtime has zstd.
function pickCoding(objects: readonly ManifestObject[], first: Coding): ManifestObject {
  for (const coding of [first, "zstd", "gzip", "plain"] as const) {
    const object = objects.find((o) => o.coding === coding);
    if (object && (coding !== "zstd" || zlib.zstdDecompressSync)) return object;
  }
  throw new Refused("coding", "no coding of the object can be decompressed here");
}

/** Decompresses to little more than the manifest says, so that a bomb ends early. */
export function decompress(wire: Uint8Array, object: Pick<ManifestObject, "role" | "coding" | "size">): Uint8Array {
  const decoder = object.coding === "zstd" && zlib.zstdDecompressSync ? zlib.zstdDecompressSync : zlib.gunzipSync;
  try {
    return decoder(wire, { maxOutputLength: object.size + zlibChunk });
  } catch (cause) {
    throw new Refused("coding", `${object.role} does not decompress to ${String(object.size)} bytes: ${String(cause)}`);
  }
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}
