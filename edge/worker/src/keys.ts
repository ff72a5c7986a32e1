// Who may ask. Keys are kept as SHA-256 hashes, and appear in no log. The rules
// and the form of a line are those of the Go host (edge/keys.go, edge/gate.go).

import { Misconfigured } from "./errors.ts";
import { Gate } from "./frame.ts";

export interface Client {
  gate: Gate;
  target: string; // path and query without a key
  name: string; // of the key, or "" when keys are off or none was good
}

/** Keys of the form "name sha256hex", one a line. Without a text keys are off; a text without a line lets nobody in. */
export class Keys {
  /** Whether a key is asked for at all. */
  readonly on: boolean;
  // By hash. The time that a look-up takes tells nothing: who could choose
  // those bytes has inverted SHA-256.
  readonly #names = new Map<string, string>();
  // Good keys that have been seen, so that each is hashed once: no more than there are.
  readonly #seen = new Map<string, string>();

  constructor(text: string | undefined) {
    this.on = text !== undefined;
    for (const line of (text ?? "").split("\n").map((l) => l.trim())) {
      if (line === "" || line.startsWith("#")) continue;
      const [name, hash] = parseKey(line);
      if (this.#names.has(hash)) throw new Misconfigured(`KEYS: another name than ${JSON.stringify(name)} has the same hash`);
      this.#names.set(hash, name);
    }
  }

  /** Takes the key off a request: /k/{key}/… first, then Authorization: Bearer. */
  admit(target: string, authorization: () => string | null): Client | Promise<Client> {
    const [rest, inPath] = splitKey(target);
    if (!this.on) return { gate: Gate.open, target: rest, name: "" };
    const secret = inPath !== "" ? inPath : bearer(authorization());
    if (secret === "") return { gate: Gate.noKey, target: rest, name: "" };
    const name = this.#seen.get(secret);
    return name === undefined ? this.#find(rest, secret) : { gate: Gate.keyed, target: rest, name };
  }

  async #find(target: string, secret: string): Promise<Client> {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
    const name = this.#names.get(hex(digest));
    if (name === undefined) return { gate: Gate.badKey, target, name: "" };
    this.#seen.set(secret, name);
    return { gate: Gate.keyed, target, name };
  }
}

/** Takes the key off a target that begins with one: /k/{key}/path. */
export function splitKey(target: string): [rest: string, key: string] {
  if (!target.startsWith("/k/")) return [target, ""];
  const end = target.slice(3).search(/[/?]/);
  if (end < 0) return ["/", target.slice(3)];
  const rest = target.slice(3 + end);
  return [rest.startsWith("?") ? "/" + rest : rest, target.slice(3, 3 + end)];
}

function bearer(authorization: string | null): string {
  return authorization === null ? "" : (/^bearer (.*)$/i.exec(authorization)?.[1]?.trim() ?? "");
}

function hex(digest: ArrayBuffer): string {
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

// A third word, a rate, is for hosts that can give each key its own.
function parseKey(line: string): [name: string, hash: string] {
  const [name, hash, ...rest] = line.split(/\s+/);
  if (!name || !hash || !/^[0-9a-fA-F]{64}$/.test(hash) || rest.length > 1) {
    throw new Misconfigured(`KEYS: the line of ${JSON.stringify(name ?? "")} is not "name sha256hex"`);
  }
  return [name, hash.toLowerCase()];
}

/** What a client is counted by: its key, its IPv4 address, or its IPv6 /64. */
export function quotaOf(name: string, address: string): string {
  if (name !== "") return "key:" + name;
  const v4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (v4 !== undefined || !address.includes(":")) return v4 ?? address;
  const [head = "", tail] = address.split("::");
  const groups = head.split(":").filter((g) => g !== "");
  const after = (tail ?? "").split(":").filter((g) => g !== "");
  if (tail !== undefined) while (groups.length + after.length < 8) groups.push("0");
  const prefix = groups.concat(after).slice(0, 4);
  return prefix.map((g) => parseInt(g, 16).toString(16)).join(":") + "::/64";
}
