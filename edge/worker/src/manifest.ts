// The signed text that names the current snapshot, as snapshot/manifest
// defines it: a signed note (C2SP signed-note) with Ed25519 keys around a
// strict text form. The same vectors hold both implementations
// (snapshot/testdata/manifest).

import { Refused } from "./errors.ts";

export type Coding = "zstd" | "gzip" | "plain";

export interface ManifestObject {
  role: "base" | "filter";
  hash: string; // SHA-256 of the plain bytes, hex
  size: number;
  coding: Coding;
  wireHash: string; // SHA-256 of the coded bytes, also its name
  wireSize: number;
}

export interface Manifest {
  list: string;
  serial: number;
  built: number; // seconds since the Unix epoch, like next and expires
  next: number;
  expires: number;
  abiMin: number;
  abiMax: number;
  profile: string;
  previous: string; // hex
  objects: ManifestObject[];
}

/** A trusted key: its name, the hash that signatures carry, and the key itself. */
export interface Verifier {
  name: string;
  hash: number;
  key: CryptoKey;
}

const header = "ucedge manifest v1";
const maxSigned = 16 << 10; // bytes of a signed manifest
const maxSignatures = 100;
const maxObject = 256 << 20; // bytes of an object, plain or on the wire
const futureTolerance = 300; // seconds that an origin's clock may be ahead of ours
const algorithmEd25519 = 1;

// The object lines in the only order that a manifest may have them in.
const order = ["base zstd", "base gzip", "base plain", "filter zstd", "filter gzip", "filter plain"];

/** Reads verifier keys in the text form of signed notes: name+hash+base64. */
export async function parseVerifier(text: string): Promise<Verifier> {
  const [name, hash, encoded, ...rest] = splitKey(text.trim());
  const bytes = encoded === undefined ? undefined : fromBase64(encoded);
  if (!name || hash === undefined || !/^[0-9a-f]{8}$/.test(hash) || rest.length > 0 || bytes?.length !== 33) {
    throw new Refused("malformed", `${JSON.stringify(text)} is no verifier key`);
  }
  if (bytes[0] !== algorithmEd25519) throw new Refused("malformed", `key ${name} is not an Ed25519 key`);
  if ((await keyHash(name, bytes)) !== parseInt(hash, 16)) {
    throw new Refused("malformed", `key ${name} does not match its hash`);
  }
  const key = await crypto.subtle.importKey("raw", bytes.slice(1), { name: "Ed25519" }, false, ["verify"]);
  return { name, hash: parseInt(hash, 16), key };
}

// Base64 may hold a plus sign, so only the first two separate.
function splitKey(text: string): (string | undefined)[] {
  const first = text.indexOf("+");
  const second = text.indexOf("+", first + 1);
  if (first < 0 || second < 0) return [text];
  return [text.slice(0, first), text.slice(first + 1, second), text.slice(second + 1)];
}

async function keyHash(name: string, key: Uint8Array): Promise<number> {
  const prefix = new TextEncoder().encode(name + "\n");
  const input = new Uint8Array(prefix.length + key.length);
  input.set(prefix);
  input.set(key, prefix.length);
  const digest = await crypto.subtle.digest("SHA-256", input);
  return new DataView(digest).getUint32(0);
}

/** A manifest that a trusted key of its list has signed, with the text that was signed. */
export interface Opened {
  manifest: Manifest;
  text: string;
}

/** Opens a signed manifest: a key of its own list signed exactly this text, and no trusted key wrongly. */
export async function openManifest(signed: Uint8Array, verifiers: readonly Verifier[]): Promise<Opened> {
  const { text, signers } = await openNote(signed, verifiers);
  const manifest = parseManifest(text);
  if (!signers.includes(manifest.list)) {
    throw new Refused("untrusted", `signed by ${signers.join(", ")}, which is not a key of list ${manifest.list}`);
  }
  return { manifest, text };
}

/** Refuses a manifest that must not be used now, or not after the one accepted last. */
export function acceptManifest(opened: Opened, last: Opened | undefined, list: string, abi: number, now: number): void {
  const m = opened.manifest;
  if (m.list !== list) throw new Refused("list", `list ${m.list} is not ${list}`);
  if (abi < m.abiMin || abi > m.abiMax) {
    throw new Refused("abi", `abi ${String(abi)} is outside ${String(m.abiMin)} to ${String(m.abiMax)}`);
  }
  if (m.built > now + futureTolerance) throw new Refused("future", `built ${String(m.built)}, now ${String(now)}`);
  if (now >= m.expires) throw new Refused("expired", `expired ${String(m.expires)}, now ${String(now)}`);
  if (!last) return;
  if (m.serial < last.manifest.serial) {
    throw new Refused("rollback", `serial ${String(m.serial)} is below ${String(last.manifest.serial)}`);
  }
  if (m.serial === last.manifest.serial && opened.text !== last.text) {
    throw new Refused("fork", `serial ${String(m.serial)} had another text before`);
  }
}

/** Says whether both name the same plain objects; codings may differ. */
export function sameObjects(a: Manifest, b: Manifest): boolean {
  const plain = (m: Manifest) => m.objects.filter((o) => o.coding === "zstd").map((o) => o.role + o.hash).join();
  return plain(a) === plain(b);
}

async function openNote(signed: Uint8Array, verifiers: readonly Verifier[]): Promise<{ text: string; signers: string[] }> {
  if (signed.length > maxSigned) throw new Refused("malformed", "signed manifest is too long");
  const note = decodeNote(signed);
  const split = note.lastIndexOf("\n\n");
  const block = note.slice(split + 2);
  if (split < 0 || !block.endsWith("\n")) throw new Refused("malformed", "not a signed note");
  const text = note.slice(0, split + 1);
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > maxSignatures) throw new Refused("malformed", "too many signatures");

  const message = new TextEncoder().encode(text);
  const seen = new Set<string>();
  const signers: string[] = [];
  for (const { name, hash, signature, canonical } of lines.map(parseSignature)) {
    const id = `${name}+${String(hash)}`;
    if (seen.has(id)) throw new Refused("malformed", "a signature is repeated");
    seen.add(id);
    const known = verifiers.find((v) => v.name === name && v.hash === hash);
    if (!known) continue;
    if (!(await verify(known, signature, message))) throw new Refused("signature", `signature of key ${name} is wrong`);
    if (!canonical) throw new Refused("malformed", `signature of key ${name} has a second spelling`);
    signers.push(name);
  }
  if (signers.length === 0) throw new Refused("untrusted", "no trusted key signed the manifest");
  return { text, signers };
}

async function verify(v: Verifier, signature: Uint8Array, message: Uint8Array): Promise<boolean> {
  return signature.length === 64 && crypto.subtle.verify({ name: "Ed25519" }, v.key, signature, message);
}

function decodeNote(signed: Uint8Array): string {
  let note: string;
  try {
    note = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(signed);
  } catch {
    throw new Refused("malformed", "signed manifest is not UTF-8");
  }
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) {
    throw new Refused("malformed", "signed manifest has control characters");
  }
  return note;
}

interface Signature {
  name: string;
  hash: number;
  signature: Uint8Array<ArrayBuffer>;
  canonical: boolean; // written in the one base64 that its bytes have
}

function parseSignature(line: string): Signature {
  const match = /^— ([^\s+]+) (\S+)$/u.exec(line);
  const [, name, encoded] = match ?? [];
  const bytes = encoded === undefined ? undefined : fromBase64(encoded);
  if (name === undefined || bytes === undefined || bytes.length < 5) {
    throw new Refused("malformed", `${JSON.stringify(line)} is no signature line`);
  }
  const canonical = btoa(String.fromCharCode(...bytes)) === encoded;
  return { name, hash: new DataView(bytes.buffer).getUint32(0), signature: bytes.slice(4), canonical };
}

// Standard base64 with padding, or undefined.
function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Parses the text form; every field has one spelling. */
export function parseManifest(text: string): Manifest {
  if (!text.endsWith("\n")) throw new Refused("malformed", "manifest ends in the middle of a line");
  const lines = text.slice(0, -1).split("\n");
  if (lines[0] !== header) throw new Refused("malformed", `not a text that begins with ${header}`);
  const words = (i: number, key: string, n: number): string[] => {
    const [label, ...rest] = (lines[i] ?? "").split(" ");
    if (label !== key || rest.length !== n) throw new Refused("malformed", `line ${String(i + 1)} is not ${key}`);
    return rest;
  };
  const field = (i: number, key: string): string => words(i, key, 1)[0] ?? "";
  const [abiMin, abiMax] = words(6, "abi", 2);
  const manifest: Manifest = {
    list: listName(field(1, "list")),
    serial: number(field(2, "serial"), 1, 0xffffffff),
    built: time(field(3, "built")),
    next: time(field(4, "next")),
    expires: time(field(5, "expires")),
    abiMin: number(abiMin, 1, 0xffffffff),
    abiMax: number(abiMax, 1, 0xffffffff),
    profile: spelled(field(7, "profile"), /^[a-z0-9-]{1,32}$/, "profile"),
    previous: hash(field(8, "previous")),
    objects: lines.slice(9).map((_, i) => object(words(9 + i, "object", 6))),
  };
  if (manifest.built >= manifest.next) throw new Refused("malformed", "next is not after built");
  if (manifest.next > manifest.expires) throw new Refused("malformed", "expires is before next");
  if (manifest.abiMin > manifest.abiMax) throw new Refused("malformed", "abi range is empty");
  checkObjects(manifest.objects);
  return manifest;
}

function checkObjects(objects: readonly ManifestObject[]): void {
  if (objects[0]?.role !== "base") throw new Refused("malformed", "the first object is not a base");
  let last = -1;
  objects.forEach((o, i) => {
    const place = order.indexOf(`${o.role} ${o.coding}`);
    if (place <= last) throw new Refused("malformed", `object ${o.role} ${o.coding} is repeated or out of order`);
    last = place;
    if (o.coding === "zstd") return;
    const twin = objects[i - 1];
    if (twin?.role !== o.role) throw new Refused("malformed", `object ${o.role} has no zstd coding`);
    if (twin.hash !== o.hash || twin.size !== o.size) {
      throw new Refused("malformed", `twins of object ${o.role} differ in hash or size`);
    }
    if (o.coding === "plain" && (o.wireHash !== o.hash || o.wireSize !== o.size)) {
      throw new Refused("malformed", `plain object ${o.role} has another hash or size on the wire`);
    }
  });
}

function object(words: string[]): ManifestObject {
  const [role, plain, size, coding, wire, wireSize] = words;
  if (role !== "base" && role !== "filter") throw new Refused("malformed", `unknown role ${JSON.stringify(role)}`);
  if (coding !== "zstd" && coding !== "gzip" && coding !== "plain") throw new Refused("malformed", `unknown coding ${JSON.stringify(coding)}`);
  return {
    role,
    hash: hash(plain),
    size: number(size, 1, maxObject),
    coding,
    wireHash: hash(wire),
    wireSize: number(wireSize, 1, maxObject),
  };
}

function listName(text: string): string {
  if (text.length > 253) throw new Refused("malformed", "list name is too long");
  return spelled(text, /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/, "list name");
}

function spelled(text: string, form: RegExp, what: string): string {
  if (!form.test(text)) throw new Refused("malformed", `${JSON.stringify(text)} is no ${what}`);
  return text;
}

function number(text: string | undefined, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max || String(value) !== text) {
    throw new Refused("malformed", `bad number ${JSON.stringify(text)}`);
  }
  return value;
}

function hash(text: string | undefined): string {
  if (text === undefined || !/^[0-9a-f]{64}$/.test(text)) {
    throw new Refused("malformed", `bad hash ${JSON.stringify(text)}`);
  }
  return text;
}

function time(text: string): number {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(ms) || new Date(ms).toISOString() !== text.replace("Z", ".000Z")) {
    throw new Refused("malformed", `bad time ${JSON.stringify(text)}`);
  }
  return ms / 1000;
}
