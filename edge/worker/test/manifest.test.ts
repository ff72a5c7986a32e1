// The same vectors hold the Go implementation (snapshot/manifest).
import { describe, expect, it } from "vitest";

import vectors from "../../../snapshot/testdata/manifest/vectors.json";
import { Refused } from "../src/errors.ts";
import { acceptManifest, openManifest, parseVerifier, type Manifest, type Opened } from "../src/manifest.ts";

type Vector = (typeof vectors)[number];

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

// The vectors name the manifest before by serial and hash of its text; here the text itself is kept.
async function lastOf(v: Vector, opened: Opened): Promise<Opened | undefined> {
  if (v.serial === 0) return undefined;
  const same = (await sha256(opened.text)) === v.text;
  return { manifest: { ...opened.manifest, serial: v.serial }, text: same ? opened.text : "another text" };
}

async function open(v: Vector): Promise<{ want: string; manifest?: Manifest; text?: string }> {
  try {
    const verifiers = await Promise.all((v.keys ?? []).map(parseVerifier));
    const opened = await openManifest(new TextEncoder().encode(v.signed), verifiers);
    acceptManifest(opened, await lastOf(v, opened), v.list, v.abi, v.now);
    return { want: "ok", ...opened };
  } catch (error) {
    if (error instanceof Refused) return { want: error.reason };
    throw error;
  }
}

describe("manifest vectors", () => {
  it("are there", () => {
    expect(vectors.length).toBeGreaterThan(40);
  });

  it.each(vectors.map((v) => [v.name, v] as const))("%s", async (_name, v) => {
    const got = await open(v);
    expect(got.want).toBe(v.want);
    if (v.result && got.text !== undefined) {
      const { textHash, ...manifest } = v.result;
      expect({ ...got.manifest, list: undefined }).toEqual({ ...manifest, list: undefined });
      expect(await sha256(got.text)).toBe(textHash);
    }
  });

  it("refuses every one-byte change and every cut of a good one", async () => {
    const good = vectors[0];
    if (!good) throw new Error("no vector");
    const verifiers = await Promise.all((good.keys ?? []).map(parseVerifier));
    const bytes = new TextEncoder().encode(good.signed);
    const refused = async (b: Uint8Array) => {
      await expect(openManifest(b, verifiers)).rejects.toBeInstanceOf(Refused);
    };
    for (let i = 0; i < bytes.length; i++) {
      await refused(bytes.slice(0, i));
      const changed = bytes.slice();
      changed[i] = (changed[i] ?? 0) ^ 1;
      await refused(changed);
    }
  });
});
