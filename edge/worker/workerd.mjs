// Serves the bundled worker on workerd itself, without wrangler around it: for
// tests and measurements.
//
//   node workerd.mjs --bundle ../../dist/worker --port 8787 --snapshots http://127.0.0.1:8000/ \
//       --list bl.example --pub bl.example.pub [--refresh 1] [--keys FILE]
//
// Prints "listening on PORT" once workerd answers, and ends with it.

import { spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { configOf, workerd } from "./capnp.mjs";

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

const bundle = resolve(flags.bundle);
const bindings = {
  LIST: flags.list,
  VERIFIERS: readFileSync(flags.pub, "utf8"),
  SNAPSHOT_URL: flags.snapshots,
  REFRESH_SECONDS: flags.refresh,
  ...(flags.keys ? { KEYS: readFileSync(flags.keys, "utf8") } : {}),
};

const path = join(bundle, `config-${flags.port}.capnp`);
writeFileSync(path, configOf(bundle, flags.port, bindings));

const child = spawn(workerd, ["serve", path], { stdio: ["ignore", "inherit", "inherit"] });
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
