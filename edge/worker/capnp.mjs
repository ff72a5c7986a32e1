// Writes the configuration with which workerd serves a bundled worker.

import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** The binary that npm has installed. */
export const workerd = join(createRequire(import.meta.url).resolve("@cloudflare/workerd-linux-64/package.json"), "../bin/workerd");

const text = JSON.stringify; // capnp strings are written as JSON's are

function moduleOf(file) {
  const kind = file.endsWith(".wasm") ? "wasm" : file.endsWith(".html") ? "text" : "esModule";
  return `(name = ${text(file.endsWith(".js") ? file : "./" + file)}, ${kind} = embed ${text(file)})`;
}

/**
 * The configuration for the modules in a folder, on a port of 127.0.0.1, with
 * texts as bindings, and as the bucket SNAPSHOTS, if an address is given, what
 * speaks the protocol of R2 there. It belongs in that folder, because workerd
 * reads what a configuration embeds from beside it.
 */
export function configOf(folder, port, bindings, bucketAddress) {
  const files = readdirSync(folder).filter((f) => /\.(js|wasm|html)$/.test(f));
  files.sort((a, b) => Number(b === "index.js") - Number(a === "index.js")); // the entry comes first
  const bound = Object.entries(bindings).map(([k, v]) => `(name = ${text(k)}, text = ${text(v)})`);
  if (bucketAddress) bound.push(`(name = "SNAPSHOTS", r2Bucket = "bucket")`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["private", "local"])),
    ${bucketAddress ? `(name = "bucket", external = (address = ${text(bucketAddress)}, http = ())),` : ""}
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [${files.map(moduleOf).join(", ")}],
  compatibilityDate = "2026-04-01",
  compatibilityFlags = ["nodejs_compat"],
  bindings = [${bound.join(", ")}],
);
`;
}
