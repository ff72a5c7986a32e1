// The two frames of an HTTP exchange between host and guest, and the manifest
// frame, as wasm/abi lays them out. All integers are little-endian.

import type { FieldSets } from "./fields.ts";
import type { Manifest } from "./manifest.ts";

/** Version of the guest interface (abi.Version). */
export const abiVersion = 1;

/** Size of the request buffer that a guest has from the start (abi.RequestBytes). */
export const requestBytes = 80 << 10;

const requestHeader = 36;
const responseHeader = 12;
const manifestHeader = 32;

/** What the host decided about a client before it asked the guest (core.Gate). */
export const Gate = { open: 0, noKey: 1, badKey: 2, overRate: 3, keyed: 4 } as const;
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
  headers: HeadersInit; // shared with other responses: to be read only
  body: Uint8Array<ArrayBuffer>; // a view of the guest's memory until it is called again
}

const encoder = new TextEncoder();

/** A guest's memory, with the views that frames are written and read through. */
export class Memory {
  readonly #memory: WebAssembly.Memory;
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView<ArrayBuffer>;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
  }

  /**
   * Makes the views fit the memory again: it moves when the guest makes it
   * larger, and views of where it was then have no bytes.
   */
  refresh(): void {
    if (this.bytes.length > 0) return;
    this.bytes = new Uint8Array(this.#memory.buffer);
    this.view = new DataView(this.#memory.buffer);
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

/** Reads the response frame at address. */
export function readResponse({ bytes, view }: Memory, address: number, fields: FieldSets): ExchangeResponse {
  const length = view.getUint32(address + 4, true);
  const fieldsAt = address + responseHeader;
  const bodyAt = fieldsAt + length;
  return {
    status: view.getUint16(address, true),
    ref: view.getUint8(address + 2),
    headers: fields.at(view, fieldsAt, length, view.getUint8(address + 3)),
    body: bytes.subarray(bodyAt, bodyAt + view.getUint32(address + 8, true)),
  };
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
