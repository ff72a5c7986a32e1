// Sets of header fields. Most answers have one of a few, so each is made once
// and found again by its bytes in the response frame.

/** A set as the runtime's Response takes it with the least work: which form that is has to be measured. */
export type FieldsOf = (fields: [name: string, value: string][]) => HeadersInit;

/** The form that workerd is quickest with: it copies Headers natively. */
export const headersOf: FieldsOf = (fields) => new Headers(fields);

interface FieldSet {
  block: DataView; // the bytes that it was made of
  headers: HeadersInit;
}

const maxSets = 1024;
const latin1 = new TextDecoder("latin1");

export class FieldSets {
  readonly #make: FieldsOf;
  readonly #sets = new Map<number, FieldSet>(); // by hash: the last that had it

  constructor(make: FieldsOf) {
    this.#make = make;
  }

  /** The set whose block of count fields (abi.ResponseHeader) is in the view at that offset. Shared: to be read only. */
  at(view: DataView<ArrayBuffer>, offset: number, length: number, count: number): HeadersInit {
    const hash = hashOf(view, offset, length);
    const known = this.#sets.get(hash);
    if (known && same(known.block, view, offset, length)) return known.headers;
    const block = new DataView(view.buffer.slice(offset, offset + length));
    const headers = this.#make(fieldsIn(block, count));
    if (this.#sets.size >= maxSets) this.#sets.clear();
    this.#sets.set(hash, { block, headers });
    return headers;
  }
}

// Four bytes at a time; what is left over, one at a time.
function hashOf(view: DataView, offset: number, length: number): number {
  const end = offset + length;
  let hash = length;
  let at = offset;
  for (; at + 4 <= end; at += 4) hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e3779b1) ^ (hash >>> 15);
  for (; at < end; at++) hash = Math.imul(hash ^ view.getUint8(at), 0x9e3779b1);
  return hash;
}

function same(block: DataView, view: DataView, offset: number, length: number): boolean {
  if (block.byteLength !== length) return false;
  let at = 0;
  for (; at + 4 <= length; at += 4) if (block.getInt32(at) !== view.getInt32(offset + at)) return false;
  for (; at < length; at++) if (block.getUint8(at) !== view.getUint8(offset + at)) return false;
  return true;
}

function fieldsIn(block: DataView<ArrayBuffer>, count: number): [string, string][] {
  const fields: [string, string][] = [];
  const text = (at: number, length: number) => latin1.decode(new Uint8Array(block.buffer, at, length));
  for (let i = 0, at = 0; i < count; i++) {
    const name = block.getUint16(at, true);
    const value = block.getUint16(at + 2, true);
    fields.push([text(at + 4, name), text(at + 4 + name, value)]);
    at += 4 + name + value;
  }
  return fields;
}
