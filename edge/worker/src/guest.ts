// The guest: one instance of the WebAssembly module that holds the core. Its
// memory never shrinks; a snapshot that follows another takes its place there.

import { Misconfigured, Refused, Trapped } from "./errors.ts";
import type { FieldSets } from "./fields.ts";
import {
  abiVersion,
  manifestFrame,
  Memory,
  readResponse,
  requestBytes,
  requestFrameMax,
  writeRequest,
  type ExchangeRequest,
  type ExchangeResponse,
} from "./frame.ts";
import type { Manifest } from "./manifest.ts";

interface Exports {
  memory: WebAssembly.Memory;
  _initialize(): void;
  abi_version(): number;
  image_buffer(n: number): number;
  load(image: number, imageLength: number, filter: number, filterLength: number): number;
  drop(): void;
  set_manifest(n: number): number;
  request_buffer(n: number): number;
  serve(n: number): bigint;
  last_error(): bigint;
}

const errnoBadFile = 8; // WASI errno: no such descriptor

// The part of WASI preview 1 that Go's runtime imports. The guest gets no
// clock, no files, no environment and no randomness. Go's runtime refuses a
// clock that stands at zero, so each look at it is a microsecond later than the
// one before. It asks for random bytes when it starts, which a worker may not
// have in global scope, and uses them only to seed hash tables, whose keys here
// are all from a verified snapshot.
function wasi(memory: () => ArrayBuffer): WebAssembly.ModuleImports {
  const view = () => new DataView(memory());
  const zero = (...addresses: number[]) => {
    for (const a of addresses) view().setUint32(a, 0, true);
    return 0;
  };
  const done = () => 0;
  const badFile = () => errnoBadFile;
  let clock = 0n; // nanoseconds
  return {
    args_sizes_get: zero,
    environ_sizes_get: zero,
    args_get: done,
    environ_get: done,
    clock_time_get: (_id: number, _precision: bigint, result: number) => {
      clock += 1000n;
      view().setBigUint64(result, clock, true);
      return 0;
    },
    random_get: (address: number, length: number) => {
      new Uint8Array(memory(), address, length).fill(0x5a);
      return 0;
    },
    fd_write: (_fd: number, vectors: number, count: number, written: number) => {
      const v = view();
      const lines: string[] = [];
      let total = 0;
      for (let i = 0; i < count; i++) {
        const length = v.getUint32(vectors + 8 * i + 4, true);
        lines.push(new TextDecoder().decode(new Uint8Array(memory(), v.getUint32(vectors + 8 * i, true), length)));
        total += length;
      }
      console.error(lines.join("")); // Go writes only when it is about to trap
      v.setUint32(written, total, true);
      return 0;
    },
    proc_exit: (code: number) => {
      throw new Error(`guest exited with ${String(code)}`);
    },
    sched_yield: done,
    poll_oneoff: done,
    fd_close: badFile,
    fd_fdstat_get: badFile,
    fd_fdstat_set_flags: badFile,
    fd_prestat_get: badFile,
    fd_prestat_dir_name: badFile,
  };
}

export class Guest {
  readonly #exports: Exports;
  readonly #memory: Memory;
  readonly #fields: FieldSets;
  readonly #requestAt: number; // where every request goes that is no larger than requestBytes
  #used = false; // has buffers, and perhaps a snapshot
  #filterAt = 0;
  #filterLength = 0;

  /** Instantiates and starts the module; the guest has no snapshot yet and answers SERVFAIL. */
  constructor(module: WebAssembly.Module, fields: FieldSets) {
    const memory = (): ArrayBuffer => this.#exports.memory.buffer;
    const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: wasi(memory) });
    this.#exports = instance.exports as unknown as Exports;
    this.#exports._initialize();
    const version = this.#exports.abi_version();
    if (version !== abiVersion) {
      throw new Misconfigured(`the guest has interface version ${String(version)}, this host ${String(abiVersion)}`);
    }
    this.#requestAt = this.#exports.request_buffer(requestBytes);
    this.#memory = new Memory(this.#exports.memory);
    this.#fields = fields;
  }

  /** Makes room for an image of so many bytes, which is there once the guest has dropped it, and touches all of it. */
  reserve(size: number): void {
    this.#used = true;
    const at = this.#room(size);
    this.#memory.bytes.fill(1, at, at + size);
  }

  /** Loads image and filter (which may be empty) under a verified manifest, into a guest that has none. */
  load(image: Uint8Array, filter: Uint8Array, manifest: Manifest, hostName: string): void {
    this.#used = true;
    const imageAt = this.#place(image);
    this.#filterAt = filter.length > 0 ? this.#place(filter) : 0;
    this.#filterLength = filter.length;
    if (this.#exports.load(imageAt, image.length, this.#filterAt, filter.length) !== 0) {
      throw new Refused("image", this.#lastError());
    }
    this.renew(manifest, hostName);
  }

  /** Forgets what was loaded, so that the guest can load again. */
  drop(): void {
    if (!this.#used) return;
    this.#exports.drop();
    this.#used = false;
    this.#filterLength = 0;
  }

  /** The filter that was loaded: a view of the guest's memory until it is called again. */
  get filter(): Uint8Array<ArrayBuffer> {
    this.#memory.refresh();
    return this.#memory.bytes.subarray(this.#filterAt, this.#filterAt + this.#filterLength);
  }

  /** Takes a later manifest that names the same objects. */
  renew(manifest: Manifest, hostName: string): void {
    const frame = manifestFrame(manifest, hostName);
    this.#memory.refresh();
    this.#memory.bytes.set(frame, this.#requestAt);
    if (this.#exports.set_manifest(frame.length) !== 0) {
      throw new Refused("malformed", this.#lastError());
    }
  }

  /** Serves one HTTP exchange in one call. The body of the answer is there until the next. */
  serve(request: ExchangeRequest): ExchangeResponse {
    try {
      return requestFrameMax(request) <= requestBytes ? this.#serveAt(this.#requestAt, request) : this.#serveLarge(request);
    } catch (cause) {
      throw new Trapped(cause);
    }
  }

  #serveAt(at: number, request: ExchangeRequest): ExchangeResponse {
    this.#memory.refresh();
    const result = this.#exports.serve(writeRequest(this.#memory, at, request));
    if (result === 0n) throw new Error(this.#lastError());
    this.#memory.refresh();
    return readResponse(this.#memory, Number(BigInt.asUintN(32, result >> 32n)), this.#fields);
  }

  // A request that does not fit the buffer goes into one of its own.
  #serveLarge(request: ExchangeRequest): ExchangeResponse {
    try {
      return this.#serveAt(this.#exports.request_buffer(requestFrameMax(request)), request);
    } finally {
      this.#exports.request_buffer(requestBytes);
    }
  }

  #place(bytes: Uint8Array): number {
    const at = this.#room(bytes.length);
    this.#memory.bytes.set(bytes, at);
    return at;
  }

  #room(size: number): number {
    const at = this.#exports.image_buffer(size);
    if (at === 0) throw new Refused("image", `no room for ${String(size)} bytes in the guest`);
    this.#memory.refresh();
    return at;
  }

  #lastError(): string {
    const result = BigInt.asUintN(64, this.#exports.last_error());
    this.#memory.refresh();
    const at = Number(result >> 32n);
    return new TextDecoder().decode(this.#memory.bytes.subarray(at, at + Number(result & 0xffffffffn)));
  }
}
