// The signed text that names the current snapshot, as snapshot/manifest
// defines it: a signed note (C2SP signed-note) with Ed25519 keys around a
// strict text form. The same vectors hold both implementations
// (snapshot/testdata/manifest).

import { Refused } from "./errors.ts";

export interface ManifestObject {
  role: "base" | "filter";
  hash: string; // SHA-256 of the plain bytes, hex
  size: number;
  coding: "zstd" | "gzip";
  wireHash: string; // SHA-256 of the compressed bytes, also its name
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

const maxSigned = 64 << 10; // bytes of a signed manifest
const maxSignatures = 100;
const maxObjects = 16;
const maxObjectSize = 1 << 30;
const algorithmEd25519 = 1;

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

/** Opens a signed manifest: at least one trusted key signed exactly this text, and none wrongly. */
export async function openManifest(signed: Uint8Array, verifiers: readonly Verifier[]): Promise<Manifest> {
  const text = await openNote(signed, verifiers);
  const manifest = parseManifest(text);
  if (!verifiers.some((v) => v.name === manifest.list)) {
    throw new Refused("list", `no trusted key is named after the list ${JSON.stringify(manifest.list)}`);
  }
  return manifest;
}

async function openNote(signed: Uint8Array, verifiers: readonly Verifier[]): Promise<string> {
  if (signed.length > maxSigned) throw new Refused("malformed", "signed manifest is too long");
  const note = decodeNote(signed);
  const split = note.lastIndexOf("\n\n");
  if (split < 0) throw new Refused("malformed", "signed manifest has no signatures");
  const text = note.slice(0, split + 1);
  const block = note.slice(split + 2);
  if (!block.endsWith("\n")) throw new Refused("malformed", "signed manifest ends in the middle of a line");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > maxSignatures) throw new Refused("malformed", "signed manifest has too many signatures");

  const message = new TextEncoder().encode(text);
  const seen = new Set<string>();
  for (const line of lines) {
    const { name, hash, signature } = parseSignature(line);
    const known = verifiers.find((v) => v.name === name && v.hash === hash);
    const id = `${name}+${String(hash)}`;
    if (!known || seen.has(id)) continue;
    seen.add(id);
    if (!(await crypto.subtle.verify({ name: "Ed25519" }, known.key, signature, message))) {
      throw new Refused("signature", `signature of key ${name} is wrong`);
    }
  }
  if (seen.size === 0) throw new Refused("signature", "no trusted key signed the manifest");
  return text;
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

function parseSignature(line: string): { name: string; hash: number; signature: Uint8Array } {
  const match = /^— ([^\s+]+) (\S+)$/u.exec(line);
  const bytes = match?.[2] === undefined ? undefined : fromBase64(match[2]);
  if (match?.[1] === undefined || bytes === undefined || bytes.length < 5) {
    throw new Refused("malformed", `${JSON.stringify(line)} is no signature line`);
  }
  return { name: match[1], hash: new DataView(bytes.buffer).getUint32(0), signature: bytes.slice(4) };
}

// Standard base64 with padding; undefined unless the text is the one encoding of its bytes.
function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Parses the text form; every field has one spelling. */
export function parseManifest(text: string): Manifest {
  const lines = text.slice(0, -1).split("\n");
  const field = (i: number, name: string): string => {
    const line = lines[i];
    if (!line?.startsWith(name + " ")) throw new Refused("malformed", `manifest line ${String(i + 1)} is not ${name}`);
    return line.slice(name.length + 1);
  };
  if (lines[0] !== "ucedge manifest v1") throw new Refused("malformed", "not a manifest of version 1");
  const abi = field(6, "abi").split(" ");
  const manifest: Manifest = {
    list: word(field(1, "list")),
    serial: number(field(2, "serial"), 0xffffffff),
    built: time(field(3, "built")),
    next: time(field(4, "next")),
    expires: time(field(5, "expires")),
    abiMin: number(abi[0], 0xffffffff),
    abiMax: number(abi[1], 0xffffffff),
    profile: word(field(7, "profile")),
    previous: hash(field(8, "previous")),
    objects: lines.slice(9).map(object),
  };
  if (abi.length !== 2 || manifest.abiMin > manifest.abiMax) throw new Refused("malformed", "bad abi range");
  checkObjects(manifest.objects);
  return manifest;
}

function checkObjects(objects: readonly ManifestObject[]): void {
  if (objects.length === 0 || objects.length > maxObjects) throw new Refused("malformed", "bad number of objects");
  if (!objects.some((o) => o.role === "base")) throw new Refused("malformed", "no base object");
  for (const o of objects) {
    const twin = objects.find((t) => t.role === o.role);
    if (twin?.hash !== o.hash || twin.size !== o.size) {
      throw new Refused("malformed", `codings of ${o.role} differ in what they hold`);
    }
    if (objects.filter((t) => t.role === o.role && t.coding === o.coding).length > 1) {
      throw new Refused("malformed", `two ${o.coding} objects for ${o.role}`);
    }
  }
}

function object(line: string): ManifestObject {
  const words = line.split(" ");
  const [label, role, plain, size, coding, wire, wireSize] = words;
  if (words.length !== 7 || label !== "object") throw new Refused("malformed", `${JSON.stringify(line)} is no object`);
  if (role !== "base" && role !== "filter") throw new Refused("malformed", `unknown role ${JSON.stringify(role)}`);
  if (coding !== "zstd" && coding !== "gzip") throw new Refused("malformed", `unknown coding ${JSON.stringify(coding)}`);
  return {
    role,
    hash: hash(plain),
    size: number(size, maxObjectSize),
    coding,
    wireHash: hash(wire),
    wireSize: number(wireSize, maxObjectSize),
  };
}

function word(text: string): string {
  if (!/^[^\s+]+$/.test(text)) throw new Refused("malformed", `bad word ${JSON.stringify(text)}`);
  return text;
}

function number(text: string | undefined, max: number): number {
  const value = Number(text);
  if (text === undefined || !Number.isInteger(value) || value < 0 || value > max || String(value) !== text) {
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
