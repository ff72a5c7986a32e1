// Serves the bundled worker on workerd itself, without wrangler around it: for
// tests and measurements.
//
//   node workerd.mjs --bundle ../../dist/worker --port 8787 --snapshots http://127.0.0.1:8000/ \
//       --list bl.example --pub bl.example.pub [--refresh 1] [--keys FILE]
//
// Prints "listening on PORT" once workerd answers, and ends with it.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    bundle: { type: "string", default: "../../dist/worker" },
    port: { type: "string", default: "8787" },
    snapshots: { type: "string" },
    list: { type: "string" },
    pub: { type: "string" },
    refresh: { type: "string", default: "30" },
    keys: { type: "string" },
  },
});
for (const name of ["snapshots", "list", "pub"]) {
  if (!flags[name]) {
    console.error(`workerd.mjs: --${name} is needed`);
    process.exit(2);
  }
}

const text = JSON.stringify; // capnp strings are written as JSON's are
const bundle = resolve(flags.bundle);

function moduleOf(file) {
  const kind = file.endsWith(".wasm") ? "wasm" : file.endsWith(".html") ? "text" : "esModule";
  return `(name = ${text(file.endsWith(".js") ? file : "./" + file)}, ${kind} = embed ${text(file)})`;
}

const files = readdirSync(bundle).filter((f) => /\.(js|wasm|html)$/.test(f));
files.sort((a, b) => Number(b === "index.js") - Number(a === "index.js")); // the entry comes first
const bindings = {
  LIST: flags.list,
  VERIFIERS: readFileSync(flags.pub, "utf8"),
  SNAPSHOT_URL: flags.snapshots,
  REFRESH_SECONDS: flags.refresh,
  ...(flags.keys ? { KEYS: readFileSync(flags.keys, "utf8") } : {}),
};

const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["private", "local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${flags.port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [${files.map(moduleOf).join(", ")}],
  compatibilityDate = "2026-04-01",
  compatibilityFlags = ["nodejs_compat"],
  bindings = [${Object.entries(bindings).map(([k, v]) => `(name = ${text(k)}, text = ${text(v)})`).join(", ")}],
);
`;

// In the bundle's folder, because workerd reads what a config embeds from beside it.
const path = join(bundle, `config-${flags.port}.capnp`);
writeFileSync(path, config);

const require = createRequire(import.meta.url);
const binary = join(require.resolve("@cloudflare/workerd-linux-64/package.json"), "../bin/workerd");
const child = spawn(binary, ["serve", path], { stdio: ["ignore", "inherit", "inherit"] });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill("SIGTERM"));
child.on("exit", (code, signal) => {
  rmSync(path, { force: true });
  process.exit(signal === "SIGTERM" ? 0 : (code ?? 1));
});

const deadline = Date.now() + 30_000;
for (;;) {
  try {
    await fetch(`http://127.0.0.1:${flags.port}/healthz`);
    break;
  } catch {
    if (Date.now() > deadline) throw new Error("workerd did not answer within 30 s");
    await new Promise((done) => setTimeout(done, 50));
  }
}
console.log(`listening on ${flags.port}`);
