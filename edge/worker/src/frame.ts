// The two frames of an HTTP exchange between host and guest, and the manifest
// frame, as wasm/abi lays them out. All integers are little-endian.

import type { Manifest } from "./manifest.ts";

/** Version of the guest interface (abi.Version). */
export const abiVersion = 1;

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
  fields: [string, string][];
  body: Uint8Array; // a copy, the caller's to keep
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

/** Upper bound of the bytes that a request takes as a frame. */
export function requestFrameMax(r: ExchangeRequest): number {
  const chars = r.method.length + r.target.length + r.accept.length + r.contentType.length + r.ifNoneMatch.length;
  return requestHeader + 3 * chars + r.body.length;
}

/** Writes the request into memory at address and returns the frame's length. */
export function writeRequest(memory: ArrayBuffer, address: number, r: ExchangeRequest): number {
  const view = new DataView(memory, address);
  view.setBigInt64(0, BigInt(r.now), true);
  view.setUint32(8, r.gate, true);
  let end = requestHeader;
  const parts = [r.method, r.target, r.accept, r.contentType, r.ifNoneMatch];
  parts.forEach((text, i) => {
    const { written } = encoder.encodeInto(text, new Uint8Array(memory, address + end));
    view.setUint32(12 + 4 * i, written, true);
    end += written;
  });
  view.setUint32(32, r.body.length, true);
  new Uint8Array(memory, address + end, r.body.length).set(r.body);
  return end + r.body.length;
}

/** Reads the response frame of the given length at address. */
export function readResponse(memory: ArrayBuffer, address: number, length: number): ExchangeResponse {
  const view = new DataView(memory, address, length);
  const count = view.getUint8(3);
  const fieldsLength = view.getUint32(4, true);
  const bodyLength = view.getUint32(8, true);
  const text = (at: number, n: number) => decoder.decode(new Uint8Array(memory, address + at, n));
  const fields: [string, string][] = [];
  let at = responseHeader;
  for (let i = 0; i < count; i++) {
    const name = view.getUint16(at, true);
    const value = view.getUint16(at + 2, true);
    fields.push([text(at + 4, name), text(at + 4 + name, value)]);
    at += 4 + name + value;
  }
  const start = address + responseHeader + fieldsLength;
  return {
    status: view.getUint16(0, true),
    ref: view.getUint8(2),
    fields,
    body: new Uint8Array(memory.slice(start, start + bodyLength)),
  };
}

/** Returns the manifest frame: what a guest needs to know of a manifest. */
export function manifestFrame(m: Manifest): Uint8Array {
  const list = encoder.encode(m.list);
  const frame = new Uint8Array(manifestHeader + list.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, m.serial, true);
  view.setBigInt64(8, BigInt(m.built), true);
  view.setBigInt64(16, BigInt(m.next), true);
  view.setBigInt64(24, BigInt(m.expires), true);
  frame.set(list, manifestHeader);
  return frame;
}
