// The two frames of an HTTP exchange between host and guest, and the manifest
// frame, as wasm/abi lays them out. All integers are little-endian.

import type { Manifest } from "./manifest.ts";

/** Version of the guest interface (abi.Version). */
export const abiVersion = 1;

/** Size of the request buffer that a guest has from the start (abi.RequestBytes). */
export const requestBytes = 80 << 10;

const requestHeader = 36;
const responseHeader = 12;
const manifestHeader = 32;

/** What the host decided about a client before it asked the guest (core.Gate). */
export const Gate = { open: 0, noKey: 1, badKey: 2, overRate: 3 } as const;
export type Gate = (typeof Gate)[keyof typeof Gate];

/** Which bytes the host puts in place of the body (core.Ref). */
export const Ref = { body: 0, filter: 1, page: 2 } as const;

export interface ExchangeRequest {
  now: number; // seconds since the Unix epoch
  gate: Gate;
  method: string;
  target: string; // path and query
  accept: string;
  contentType: string;
  ifNoneMatch: string;
  body: Uint8Array;
}

export interface ExchangeResponse {
  status: number;
  ref: number;
  headers: Headers; // shared with other responses: to be read only
  body: Uint8Array; // a copy, the caller's to keep
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

/** A guest's memory, with the views that frames are written and read through. */
export class Memory {
  readonly #memory: WebAssembly.Memory;
  #buffer: ArrayBuffer;
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
    this.#buffer = memory.buffer;
    this.bytes = new Uint8Array(this.#buffer);
    this.view = new DataView(this.#buffer);
  }

  /** Makes the views fit the memory again: it moves when the guest makes it larger. */
  refresh(): void {
    if (this.#memory.buffer === this.#buffer) return;
    this.#buffer = this.#memory.buffer;
    this.bytes = new Uint8Array(this.#buffer);
    this.view = new DataView(this.#buffer);
  }

  /** A copy of the bytes there, in memory of its own. */
  slice(address: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer.slice(address, address + length));
  }
}

/** Upper bound of the bytes that a request takes as a frame. */
export function requestFrameMax(r: ExchangeRequest): number {
  const chars = r.method.length + r.target.length + r.accept.length + r.contentType.length + r.ifNoneMatch.length;
  return requestHeader + 3 * chars + r.body.length;
}

/** Writes the request into memory at address and returns the frame's length. */
export function writeRequest({ bytes, view }: Memory, address: number, r: ExchangeRequest): number {
  view.setUint32(address, r.now >>> 0, true);
  view.setUint32(address + 4, Math.floor(r.now / 0x1_0000_0000), true);
  view.setUint32(address + 8, r.gate, true);
  let at = address + requestHeader;
  at = writeText(bytes, view, at, address + 12, r.method);
  at = writeText(bytes, view, at, address + 16, r.target);
  at = writeText(bytes, view, at, address + 20, r.accept);
  at = writeText(bytes, view, at, address + 24, r.contentType);
  at = writeText(bytes, view, at, address + 28, r.ifNoneMatch);
  view.setUint32(address + 32, r.body.length, true);
  if (r.body.length > 0) bytes.set(r.body, at);
  return at + r.body.length - address;
}

// Writes text at one place and its length at another, and returns where it
// ends. A loop over ASCII costs less than a call of the encoder.
function writeText(bytes: Uint8Array, view: DataView, at: number, lengthAt: number, text: string): number {
  const n = text.length;
  for (let i = 0; i < n; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) {
      const { written } = encoder.encodeInto(text, bytes.subarray(at));
      view.setUint32(lengthAt, written, true);
      return at + written;
    }
    bytes[at + i] = code;
  }
  view.setUint32(lengthAt, n, true);
  return at + n;
}

/** Reads the response frame of the given length at address. */
export function readResponse(memory: Memory, address: number): ExchangeResponse {
  const { view } = memory;
  const count = view.getUint8(address + 3);
  const fieldsLength = view.getUint32(address + 4, true);
  const bodyLength = view.getUint32(address + 8, true);
  const fieldsAt = address + responseHeader;
  return {
    status: view.getUint16(address, true),
    ref: view.getUint8(address + 2),
    headers: headersAt(memory, fieldsAt, fieldsLength, count),
    body: memory.slice(fieldsAt + fieldsLength, bodyLength),
  };
}

// Most answers have one of few sets of header fields. Each is made into a
// Headers once and found again by its bytes.
const headersOf = new Map<string, Headers>();
const maxHeaders = 1024;

function headersAt({ bytes, view }: Memory, address: number, length: number, count: number): Headers {
  const block = decoder.decode(bytes.subarray(address, address + length));
  const known = headersOf.get(block);
  if (known) return known;
  const headers = new Headers();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const name = view.getUint16(address + at, true);
    const value = view.getUint16(address + at + 2, true);
    headers.append(block.slice(at + 4, at + 4 + name), block.slice(at + 4 + name, at + 4 + name + value));
    at += 4 + name + value;
  }
  if (headersOf.size >= maxHeaders) headersOf.clear();
  headersOf.set(block, headers);
  return headers;
}

/** Returns the manifest frame: what a guest needs to know of a manifest, and the name of this edge, if it has one. */
export function manifestFrame(m: Manifest, hostName: string): Uint8Array {
  const list = encoder.encode(m.list);
  const host = encoder.encode(hostName);
  const frame = new Uint8Array(manifestHeader + list.length + host.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, m.serial, true);
  view.setUint32(4, host.length, true);
  view.setBigInt64(8, BigInt(m.built), true);
  view.setBigInt64(16, BigInt(m.next), true);
  view.setBigInt64(24, BigInt(m.expires), true);
  frame.set(list, manifestHeader);
  frame.set(host, manifestHeader + list.length);
  return frame;
}
