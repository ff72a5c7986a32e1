// Runs the worker in wrangler dev, with the demo's zones in a local R2 bucket.
//
//   node dev.mjs [--port 8787]
//
// Everything it makes is in data/worker and .wrangler at the root.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({ options: { port: { type: "string", default: "8787" } } });

const root = resolve(import.meta.dirname, "../..");
const dir = join(root, "data/worker");
const list = "bl.example";
const bucket = "ucedge-snapshots"; // as in wrangler.toml

const env = { ...process.env, WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false", CI: "true" };
const wrangler = join(import.meta.dirname, "node_modules/wrangler/bin/wrangler.js");
const options = { cwd: root, env, stdio: ["ignore", "ignore", "inherit"] };

mkdirSync(dir, { recursive: true });
const ucedge = join(root, "bin/ucedge");
const key = join(dir, `${list}.key`);
if (!existsSync(key)) execFileSync(ucedge, ["keygen", list, "--dir", dir], options);
const publish = join(dir, "publish");
rmSync(publish, { recursive: true, force: true });
const zones = [1, 2, 3].flatMap((n) => [`--l${n}`, join(root, `cmd/ucedge/demo/dnsbl-${n}.${list}`)]);
execFileSync(ucedge, ["snapshot", "build", ...zones, "--allow-special-use", "--every", "24h", "--key", key, "--out", publish], options);

const objects = readdirSync(join(publish, "objects")).map((name) => `objects/${name}`);
for (const name of [...objects, "manifest"]) {
  console.log(`r2://${bucket}/${name}`);
  execFileSync("node", [wrangler, "r2", "object", "put", `${bucket}/${name}`, "--local", "--file", join(publish, name)], options);
}

const verifiers = readFileSync(join(dirname(key), `${list}.pub`), "utf8").trim();
const dev = ["dev", "--local", "--env=", "--ip", "127.0.0.1", "--port", flags.port, "--test-scheduled", "--var", `VERIFIERS:${verifiers}`];
const child = spawn("node", [wrangler, ...dev], { cwd: root, env, stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill("SIGTERM"));
child.on("exit", (code, signal) => process.exit(signal === "SIGTERM" ? 0 : (code ?? 1)));
