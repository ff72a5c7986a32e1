// Who may ask how often. Keys are kept as SHA-256 hashes; what a client sends
// is compared in constant time and appears in no log.

import { Gate } from "./frame.ts";

export interface Client {
  gate: Gate;
  target: string; // path and query without a key
  name: string; // of the key, or "" when keys are off or none was good
}

interface Key {
  name: string;
  hash: Uint8Array;
}

/** Keys of the form "name sha256hex", one a line; no lines: keys are off. */
export class Keys {
  readonly #keys: Key[];

  constructor(text: string) {
    this.#keys = text
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map(parseKey);
  }

  /** Takes the key off a request: /k/{key}/… first, then Authorization: Bearer. */
  async admit(target: string, authorization: string): Promise<Client> {
    const inPath = /^\/k\/([^/?]*)(\/.*)$/.exec(target);
    const rest = inPath?.[2] ?? target;
    const open = this.#keys.length === 0 || isOpen(rest);
    const secret = inPath?.[1] ?? /^Bearer +([^ ]+)$/i.exec(authorization)?.[1];
    if (open && secret === undefined) return { gate: Gate.open, target: rest, name: "" };
    if (this.#keys.length === 0) return { gate: Gate.open, target: inPath ? target : rest, name: "" };
    if (secret === undefined || secret === "") return { gate: open ? Gate.open : Gate.noKey, target: rest, name: "" };
    const key = await this.#find(secret);
    if (!key) return { gate: open ? Gate.open : Gate.badKey, target: rest, name: "" };
    return { gate: Gate.open, target: rest, name: key.name };
  }

  // Compares with every key, so that time tells nothing of which one it was.
  async #find(secret: string): Promise<Key | undefined> {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));
    let found: Key | undefined;
    for (const key of this.#keys) {
      let difference = 0;
      for (let i = 0; i < digest.length; i++) difference |= (digest[i] ?? 0) ^ (key.hash[i] ?? 0);
      if (difference === 0) found = key;
    }
    return found;
  }
}

// What health checks and people may read without a key.
function isOpen(target: string): boolean {
  const path = target.split("?", 1)[0];
  return path === "/" || path === "/healthz" || path === "/readyz";
}

function parseKey(line: string): Key {
  const [name, hex, ...rest] = line.split(/\s+/);
  if (!name || !hex || !/^[0-9a-f]{64}$/.test(hex) || rest.length > 1) {
    throw new Error(`key line of ${JSON.stringify(name ?? "")} is not "name sha256hex"`);
  }
  return { name, hash: Uint8Array.from(hex.match(/../g) ?? [], (b) => parseInt(b, 16)) };
}

/** What a client is counted by: its key, its IPv4 address, or its IPv6 /64. */
export function quotaOf(name: string, address: string): string {
  if (name !== "") return "key:" + name;
  if (!address.includes(":")) return address;
  const [head = "", tail = ""] = address.split("::");
  const groups = head.split(":").filter((g) => g !== "");
  const after = tail.split(":").filter((g) => g !== "").length;
  while (address.includes("::") && groups.length + after < 8) groups.push("0");
  return groups.concat(tail.split(":")).slice(0, 4).join(":") + "::/64";
}
