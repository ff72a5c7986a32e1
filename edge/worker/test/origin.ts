// A small origin for the tests: signs manifests and compresses objects, and
// keeps both in a store that can fail.

import { Refused } from "../src/errors.ts";
import { parseVerifier, type Coding, type Verifier } from "../src/manifest.ts";
import type { Source } from "../src/source.ts";

export const list = "bl.example";

export interface Objects {
  base: ArrayBuffer;
  filter?: ArrayBuffer;
}

/** A key pair that can sign notes (C2SP signed-note). */
export class Signer {
  readonly public: string; // as VERIFIERS has it
  readonly verifier: Verifier;
  readonly #secret: CryptoKey;

  private constructor(text: string, verifier: Verifier, secret: CryptoKey) {
    this.public = text;
    this.verifier = verifier;
    this.#secret = secret;
  }

  static async generate(name: string): Promise<Signer> {
    const pair = (await crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"])) as CryptoKeyPair;
    const raw = new Uint8Array((await crypto.subtle.exportKey("raw", pair.publicKey)) as ArrayBuffer);
    const key = concat(Uint8Array.of(1), raw);
    const hash = (await sha256(concat(encode(name + "\n"), key))).slice(0, 8);
    const text = `${name}+${hash}+${base64(key)}`;
    return new Signer(text, await parseVerifier(text), pair.privateKey);
  }

  async sign(text: string): Promise<Uint8Array> {
    const signature = new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, this.#secret, encode(text)));
    const id = new Uint8Array(4);
    new DataView(id.buffer).setUint32(0, this.verifier.hash);
    return encode(`${text}\n— ${this.verifier.name} ${base64(concat(id, signature))}\n`);
  }
}

/** What a test may change of a manifest before it is signed. Times are seconds since the Unix epoch. */
export interface Draft {
  serial: number;
  built?: number;
  next?: number;
  expires?: number;
  list?: string;
  previous?: string;
  codings?: readonly Coding[]; // what there is of each object, else all
  size?: number; // claimed plain size of the base
}

/** A store in memory that notes what is asked of it, and fails when it is told to. */
export class Store implements Source {
  signed: Uint8Array | undefined;
  readonly objects = new Map<string, Uint8Array>();
  coding: Coding = "zstd";
  readonly asked: string[] = [];
  readonly verdicts: boolean[] = [];
  down = false;
  delayMs = 0;

  async manifest(): Promise<Uint8Array> {
    return this.#give("manifest", this.signed);
  }

  async object(wireHash: string): Promise<Uint8Array> {
    return this.#give("object", this.objects.get(wireHash));
  }

  verified(_wireHash: string, _bytes: Uint8Array, good: boolean): Promise<void> {
    this.verdicts.push(good);
    return Promise.resolve();
  }

  /** How many objects were asked for. */
  get fetched(): number {
    return this.asked.filter((what) => what === "object").length;
  }

  async #give(what: string, bytes: Uint8Array | undefined): Promise<Uint8Array> {
    this.asked.push(what);
    await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    if (this.down) throw new Refused("unavailable", "the store is down");
    if (!bytes) throw new Refused("unavailable", `no ${what}`);
    return bytes.slice(); // the caller's to keep
  }
}

/** Puts the objects and a manifest that names them into the store. */
export async function publish(store: Store, signer: Signer, objects: Objects, draft: Draft, compress = zstdAndGzip): Promise<void> {
  const lines: string[] = [];
  for (const role of ["base", "filter"] as const) {
    const plain = objects[role] && new Uint8Array(objects[role]);
    if (!plain) continue;
    const codings = await compress(plain);
    for (const coding of draft.codings ?? (["zstd", "gzip", "plain"] as const)) {
      const wire = coding === "plain" ? plain : codings[coding];
      const name = await sha256(wire);
      store.objects.set(name, wire);
      const size = role === "base" && draft.size !== undefined ? draft.size : plain.length;
      const wireSize = coding === "plain" ? size : wire.length;
      lines.push(`object ${role} ${await sha256(plain)} ${String(size)} ${coding} ${name} ${String(wireSize)}`);
    }
  }
  store.signed = await signer.sign(manifestText(draft, lines));
}

function manifestText(d: Draft, objects: readonly string[]): string {
  const now = Math.floor(Date.now() / 1000);
  const built = d.built ?? now;
  const head = [
    "ucedge manifest v1",
    `list ${d.list ?? list}`,
    `serial ${String(d.serial)}`,
    `built ${stamp(built)}`,
    `next ${stamp(d.next ?? built + 300)}`,
    `expires ${stamp(d.expires ?? built + 7 * 86400)}`,
    "abi 1 1",
    "profile imported",
    `previous ${d.previous ?? "0".repeat(64)}`,
  ];
  return [...head, ...objects].join("\n") + "\n";
}

export interface Codings {
  zstd: Uint8Array;
  gzip: Uint8Array;
}

export async function zstdAndGzip(plain: Uint8Array): Promise<Codings> {
  return { zstd: zstdOf(plain), gzip: await gzip(plain) };
}

export async function gzip(plain: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([plain]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// One zstd frame (RFC 8878) of blocks that are raw, or repeat one byte where
// they can: enough to try a decoder with, bombs included.
export function zstdOf(plain: Uint8Array): Uint8Array {
  const blockMax = 128 << 10;
  const parts = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0), littleEndian(plain.length, 4)];
  for (let at = 0; at < plain.length || at === 0; at += blockMax) {
    const block = plain.subarray(at, at + blockMax);
    const last = at + blockMax >= plain.length ? 1 : 0;
    const repeats = block.length > 1 && block.every((b) => b === block[0]);
    parts.push(littleEndian((block.length << 3) | (repeats ? 2 : 0) | last, 3), repeats ? block.subarray(0, 1) : block);
  }
  return concat(...parts);
}

export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

function littleEndian(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);
}

function stamp(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

function concat(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}
