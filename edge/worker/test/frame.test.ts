// The same vectors hold the Go implementation (wasm/abi).
import { describe, expect, it } from "vitest";

import vectors from "../../../wasm/abi/testdata/frames.json";
import { FieldSets, headersOf } from "../src/fields.ts";
import { manifestFrame, Memory, readResponse, requestFrameMax, writeRequest, type Gate } from "../src/frame.ts";
import type { Manifest } from "../src/manifest.ts";

const address = 12_345; // in the middle of a memory, and odd

function memoryWith(frame: Uint8Array = new Uint8Array()): Memory {
  const memory = new Memory(new WebAssembly.Memory({ initial: 1, maximum: 2 }));
  memory.bytes.fill(0xaa);
  memory.bytes.set(frame, address);
  return memory;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

function unhex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (b) => parseInt(b, 16));
}

describe("frame vectors", () => {
  it("are there", () => {
    expect(vectors.requests.length).toBeGreaterThan(5);
    expect(vectors.responses.length).toBeGreaterThan(4);
    expect(vectors.manifests.length).toBeGreaterThan(3);
  });

  it.each(vectors.requests.map((v) => [v.name, v] as const))("request: %s", (_name, v) => {
    const memory = memoryWith();
    const request = { ...v, gate: v.gate as Gate, body: unhex(v.body) };
    const length = writeRequest(memory, address, request);
    expect(hex(memory.bytes.subarray(address, address + length))).toBe(v.frame);
    expect(length).toBeLessThanOrEqual(requestFrameMax(request));
    const around = [memory.bytes[address - 1], memory.bytes[address + length]];
    expect(around).toEqual([0xaa, 0xaa]);
  });

  it.each(vectors.responses.map((v) => [v.name, v] as const))("response: %s", (_name, v) => {
    const response = readResponse(memoryWith(unhex(v.frame)), address, new FieldSets((fields) => fields));
    expect(response.status).toBe(v.status);
    expect(response.ref).toBe(v.ref);
    expect(response.headers).toEqual(v.fields);
    expect(hex(response.body)).toBe(v.body);
  });

  it.each(vectors.manifests.map((v) => [v.name, v] as const))("manifest: %s", (_name, v) => {
    const manifest: Pick<Manifest, "serial" | "built" | "next" | "expires" | "list"> = v;
    expect(hex(manifestFrame(manifest as Manifest, v.host))).toBe(v.frame);
  });
});

describe("a memory that has grown", () => {
  it("is seen through fresh views", () => {
    const wasm = new WebAssembly.Memory({ initial: 1, maximum: 2 });
    const memory = new Memory(wasm);
    memory.bytes[7] = 1;
    wasm.grow(1);
    memory.refresh();
    expect(memory.bytes.length).toBe(2 * 65_536);
    expect(memory.view.getUint8(7)).toBe(1);
  });
});

describe("sets of fields", () => {
  function frameOf(value: string): Uint8Array {
    const text = new TextEncoder().encode("n" + value);
    const block = Uint8Array.of(1, 0, value.length, 0, ...text);
    return Uint8Array.of(200, 0, 0, 1, block.length, 0, 0, 0, 0, 0, 0, 0, ...block);
  }

  it("are made once for the same bytes", () => {
    const sets = new FieldSets(headersOf);
    const first = readResponse(memoryWith(frameOf("a")), address, sets).headers;
    expect(readResponse(memoryWith(frameOf("a")), address, sets).headers).toBe(first);
    expect(readResponse(memoryWith(frameOf("b")), address, sets).headers).not.toBe(first);
  });

  it("stay right when there are more than are kept", () => {
    const sets = new FieldSets(headersOf);
    const memory = memoryWith();
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 3000; i++) {
        const value = "x".repeat(i % 7) + String(i);
        memory.bytes.set(frameOf(value), address);
        const { headers } = readResponse(memory, address, sets);
        if ((headers as Headers).get("n") !== value) throw new Error(`got ${String((headers as Headers).get("n"))}, want ${value}`);
      }
    }
  });
});
