// Measures the worker on workerd and on Deno: size of the upload, start, CPU of
// a cold start, memory over swaps, and throughput beside a handler that returns
// a constant, in the same run.
//
//   node bench/worker.mjs                 everything, about four minutes
//   node bench/worker.mjs --only load     one section: size, start, cold, swaps, load
//   node bench/worker.mjs --bundle DIR    another bundle than dist/worker, to compare with
//
// Everything listens on loopback, and only what this has started is stopped.
// CPU is that of all threads of a process, as the scheduler counts it, so that
// a busy machine spoils it less than time. What is absent (wrk, xz, zstd, the
// public data) is skipped with a line that says so.

import { execFile, execFileSync, spawn } from "node:child_process";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { connect, createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";

import { configOf, workerd } from "../edge/worker/capnp.mjs";

// Node 20 has none of its own.
const { WebSocket } = createRequire(new URL("../edge/worker/package.json", import.meta.url))("undici");

const { values: flags } = parseArgs({ options: { only: { type: "string" }, rounds: { type: "string", default: "9" }, bundle: { type: "string" } } });

const root = resolve(import.meta.dirname, "..");
const bundle = resolve(flags.bundle ?? join(root, "dist/worker"));
const deno = join(root, "edge/worker/node_modules/@deno/linux-x64-glibc/deno");
const data = process.env.UCEDGE_DATA ?? join(root, "../shared/data");
const dir = mkdtempSync(join(tmpdir(), "ucedge-bench-"));
const list = "bl.example";
const limitMs = 5 * 60_000;

const exec = promisify(execFile);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const ms = (ns) => ns / 1e6;
const say = (name, value, unit, aim = "") => console.log(`${name.padEnd(58)} ${value.toFixed(1).padStart(9)} ${unit.padEnd(6)} ${aim}`);
const skip = (what) => console.log(`skipped: ${what}`);

// --- the store: signs its own manifests, so that a swap costs no build ---

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const raw = Buffer.concat([Buffer.of(1), publicKey.export({ format: "der", type: "spki" }).subarray(-32)]);
const keyHash = createHash("sha256").update(list + "\n").update(raw).digest().subarray(0, 4);
const verifier = `${list}+${keyHash.toString("hex")}+${raw.toString("base64")}`;

function signed(text) {
  const signature = Buffer.concat([keyHash, sign(null, Buffer.from(text), privateKey)]);
  return `${text}\n— ${list} ${signature.toString("base64")}\n`;
}

let serial = Math.floor(Date.now() / 1000);

/** Publishes the objects of a corpus under the next serial, in a folder of the store. */
function publish(folder, corpus) {
  const text = corpus.manifest.replace(/^serial .*$/m, `serial ${++serial}`);
  store.set(`/${folder}/manifest`, Buffer.from(signed(text)));
  for (const [name, bytes] of corpus.objects) store.set(`/${folder}/objects/${name}`, bytes);
}

const store = new Map();
const origin = createServer((request, response) => {
  const asked = request.headers["cf-r2-request"];
  if (asked) return giveAsBucket(JSON.parse(asked).object, response);
  const bytes = store.get(request.url);
  response.writeHead(bytes ? 200 : 404, { "content-length": bytes?.length ?? 0 }).end(bytes);
});
await new Promise((done) => origin.listen(0, "127.0.0.1", done));
const originAddress = `127.0.0.1:${origin.address().port}`;
const originURL = `http://${originAddress}`;

// What workerd asks of a bucket: an object, which follows its metadata. The
// folder "cold" is the bucket of all.
function giveAsBucket(key, response) {
  const bytes = store.get(`/cold/${key}`);
  if (!bytes) {
    const error = { version: 0, v4code: 10007, message: "no such object" };
    response.writeHead(404, { "cf-r2-error": JSON.stringify(error) }).end();
    return;
  }
  const metadata = Buffer.from(JSON.stringify({
    name: key,
    version: "1",
    size: String(bytes.length),
    etag: createHash("md5").update(key).digest("hex"),
    uploaded: String(Date.now()),
    storageClass: "Standard",
    httpFields: {},
    customFields: [],
    checksums: {},
  }));
  response.writeHead(200, { "cf-r2-metadata-size": metadata.length, "content-length": metadata.length + bytes.length });
  response.write(metadata);
  response.end(bytes);
}

// --- corpora: the public zones, and two million addresses ---

function build(name, zones) {
  const key = join(dir, `${list}.key`);
  const ucedge = join(root, "bin/ucedge");
  const options = { stdio: ["ignore", "ignore", "ignore"] };
  if (!existsSync(key)) execFileSync(ucedge, ["keygen", list, "--dir", dir], options);
  const out = join(dir, name);
  const args = ["snapshot", "build", ...zones, "--key", key, "--out", out, "--every", "24h"];
  execFileSync(ucedge, args, options);
  const note = readFileSync(join(out, "manifest"), "utf8");
  const objects = readdirSync(join(out, "objects")).map((n) => [n, readFileSync(join(out, "objects", n))]);
  return { manifest: note.slice(0, note.indexOf("\n\n") + 1), objects };
}

function unpacked(tool, file) {
  const path = join(data, file);
  if (!existsSync(path)) throw new Error(`${path} is not there`);
  return execFileSync(tool, ["-dcq", path], { maxBuffer: 1 << 30 });
}

function realZones() {
  const files = ["dnsbl-1.uceprotect.net.xz", "dnsbl-2.uceprotect.net.xz", "level3-prefixes.txt.xz"];
  const zones = files.flatMap((file, i) => {
    const path = join(dir, `dnsbl-${i + 1}.${list}`);
    writeFileSync(path, unpacked("xz", `uceprotect-2026-07/${file}`));
    return [`--l${i + 1}`, path];
  });
  return build("real", zones);
}

// 192.0.0.0/24 is special-use (RFC 6890): an edge refuses a list that holds any of it.
const special = (words, at) => words[at + 3] === 192 && words[at + 2] === 0 && words[at + 1] === 0;

// Every address but each skip-th, so that two corpora differ.
function many(name, skipEvery) {
  const words = unpacked("zstd", "addresses/real-2.09M.u32.zst");
  const lines = [":127.0.0.2:listed"];
  for (let at = 0, i = 1; at < words.length; at += 4, i++) {
    if (i % skipEvery === 0 || special(words, at)) continue;
    lines.push(`${words[at + 3]}.${words[at + 2]}.${words[at + 1]}.${words[at]}`);
  }
  const path = join(dir, `${name}.txt`);
  writeFileSync(path, lines.join("\n") + "\n");
  return build(name, ["--l1", `dnsbl-1.${list}=${path}`]);
}

// --- processes ---

const started = new Set();

function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], ...options });
  child.said = "";
  child.stderr.on("data", (text) => (child.said += text));
  started.add(child);
  child.on("exit", () => started.delete(child));
  return child;
}

async function stop(child) {
  const ended = new Promise((done) => child.on("exit", done));
  child.kill("SIGKILL"); // nothing to save, and it must not spoil what comes next
  await ended;
}

async function listening(port, child) {
  for (let waited = 0; waited < 20_000; waited++) {
    const open = await new Promise((done) => {
      const socket = connect(port, "127.0.0.1", () => (socket.destroy(), done(true)));
      socket.on("error", () => done(false));
    });
    if (open) return;
    if (child.exitCode !== null) break;
    await sleep(1);
  }
  throw new Error(`port ${port} does not open: ${child.said}`);
}

const given = new Set();

/** A port that nobody listens on, never the same twice: two servers of one process must not get one. */
async function freePort() {
  const socket = createSocket();
  await new Promise((done) => socket.listen(0, "127.0.0.1", done));
  const { port } = socket.address();
  await new Promise((done) => socket.close(done));
  return given.has(port) ? freePort() : (given.add(port), port);
}

/** CPU of all threads of a process so far, nanoseconds. */
function cpu({ pid }) {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // A thread that has ended.
    }
  }
  return total;
}

/** Waits until a process has used no CPU to speak of for 200 ms. */
async function idle(child) {
  for (let last = cpu(child), quiet = 0, n = 0; quiet < 2 && n < 100; n++) {
    await sleep(100);
    const now = cpu(child);
    quiet = now - last < 300_000 ? quiet + 1 : 0;
    last = now;
  }
}

/** Resident memory of a process, MB. */
function resident({ pid }) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
}

// What ucedge is compared with. The constant handler is the least that a user
// would write; the same-response handler gives, also as a constant, the status,
// header fields and body that ucedge answered the question with, so that what
// is between the two is the work for the answer alone.

const constant = {
  headers: { "content-type": "application/dns-message", "cache-control": "max-age=60" },
  body: new Uint8Array(62),
};

function workerdHandler(name, { headers, body }) {
  const folder = join(dir, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "index.js"), `export default {
  fetch() {
    return new Response(body, { headers: ${JSON.stringify(headers)} });
  },
};
const body = new Uint8Array(${JSON.stringify([...body])});
`);
  return folder;
}

function denoHandler(name, { headers, body }) {
  const script = join(dir, `${name}.ts`);
  writeFileSync(script, `const body = new Uint8Array(${JSON.stringify([...body])});
Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")) }, () =>
  new Response(body, { headers: ${JSON.stringify(headers)} }));
`);
  return script;
}

// The configuration is compiled before, as that of a text copies each module a
// few times over (17 ms for 2.9 MB), which happens to no worker that is deployed.
async function startWorkerd(folder, bindings = {}, flags = [], bucketAddress = "") {
  const port = await freePort();
  const text = join(folder, `config-${port}.capnp`);
  const path = join(folder, `config-${port}.bin`);
  writeFileSync(text, configOf(folder, port, bindings, bucketAddress));
  writeFileSync(path, execFileSync(workerd, ["compile", "--config-only", text], { maxBuffer: 64 << 20 }));
  const began = performance.now();
  const child = start(workerd, ["serve", "--binary", ...flags, path]);
  try {
    await listening(port, child);
  } finally {
    rmSync(text);
    rmSync(path);
  }
  return { child, url: `http://127.0.0.1:${port}`, took: performance.now() - began };
}

const startEdge = (corpus, refresh = "30", flags = []) =>
  startWorkerd(bundle, { LIST: list, VERIFIERS: verifier, SNAPSHOT_URL: `${originURL}/${corpus}`, REFRESH_SECONDS: refresh }, flags);

const startEdgeOnBucket = () => startWorkerd(bundle, { LIST: list, VERIFIERS: verifier }, [], originAddress);

async function startDeno(script, env = {}) {
  const port = await freePort();
  const args = ["run", "--no-remote", "--no-npm", "--allow-net=127.0.0.1", "--allow-read", "--allow-env", script];
  const child = start(deno, args, { cwd: join(root, "edge/worker"), env: { ...process.env, PORT: String(port), ...env } });
  await listening(port, child);
  return { child, url: `http://127.0.0.1:${port}` };
}

// --- what is asked ---

/** A GET of RFC 8484 for the A records of a name. */
function question(name) {
  const labels = name.split(".").flatMap((l) => [l.length, ...Buffer.from(l)]);
  const message = Buffer.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]);
  return `/dns-query?dns=${message.toString("base64url")}`;
}

const query = question(`2.0.0.127.dnsbl-1.${list}`);

async function ask(url) {
  const response = await fetch(url + query);
  const body = new Uint8Array(await response.arrayBuffer());
  if (response.status !== 200 || (body[3] & 15) !== 0) throw new Error(`status ${response.status}, rcode ${body[3] & 15}`);
  const added = new Set(["content-length", "date", "connection", "keep-alive", "server"]); // by the runtime
  return { headers: Object.fromEntries([...response.headers].filter(([name]) => !added.has(name))), body };
}

// --- sections ---

function size() {
  const total = readFileSync(join(root, "dist/worker.txt"), "utf8").match(/Total Upload: ([\d.]+) KiB \/ gzip: ([\d.]+) KiB/);
  say("upload", Number(total[1]), "KiB");
  say("upload, gzip", Number(total[2]), "KiB", "below 1536");
}

// What a start costs beyond that of the constant handler: compiling the guest,
// the modules, and all that runs in global scope.
async function starts() {
  const used = { edge: [], constant: [] };
  const took = { edge: [], constant: [] };
  for (let i = 0; i < 10; i++) {
    for (const name of ["edge", "constant"]) {
      const { child, took: waited } = name === "edge" ? await startEdge("none") : await startWorkerd(workerdHandler("constant", constant));
      took[name].push(waited);
      await idle(child);
      used[name].push(ms(cpu(child)));
      await stop(child);
    }
  }
  say("CPU of a start, workerd with the constant handler", median(used.constant), "ms");
  say("CPU of a start, workerd with ucedge", median(used.edge), "ms");
  say("CPU of a start, what ucedge adds, all threads", median(used.edge) - median(used.constant), "ms");
  say("time until it listens, what ucedge adds", median(took.edge) - median(took.constant), "ms", "below 100");
}

// From a URL, which has objects compressed, and from a bucket, which has them plain, by turns.
async function cold(name, corpus, times) {
  publish("cold", corpus);
  const starts = { bucket: startEdgeOnBucket, URL: () => startEdge("cold") };
  const measured = { bucket: [], URL: [] };
  for (let i = 0; i < times; i++) {
    for (const [source, begin] of Object.entries(starts)) measured[source].push(await coldOnce(await begin()));
  }
  for (const [source, values] of Object.entries(measured)) {
    const of = (what) => median(values.map((v) => v[what]));
    const aim = name.startsWith("real") && source === "bucket" ? "at most 10" : "";
    say(`${name}, ${source}: CPU of a cold start to an answer`, of("answered"), "ms", aim);
    say(`${name}, ${source}: CPU until idle again`, of("settled"), "ms");
    say(`${name}, ${source}: time to the first answer`, of("wall"), "ms");
  }
}

async function coldOnce({ child, url }) {
  await idle(child);
  const before = cpu(child);
  const began = performance.now();
  await ask(url);
  const wall = performance.now() - began;
  const answered = ms(cpu(child) - before);
  await idle(child);
  const settled = ms(cpu(child) - before);
  await stop(child);
  return { answered, settled, wall };
}

/** A connection to the inspector of workerd that gives the result of a method. */
async function inspector(port) {
  const [{ webSocketDebuggerUrl: url }] = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
  const socket = new WebSocket(url);
  const waiting = new Map();
  socket.onmessage = ({ data: text }) => {
    const { id, result } = JSON.parse(text);
    waiting.get(id)?.(result);
  };
  await new Promise((done) => (socket.onopen = done));
  let last = 0;
  return (method) => new Promise((done) => {
    waiting.set(++last, done);
    socket.send(JSON.stringify({ id: last, method }));
  });
}

/**
 * Bytes of V8's heap and of the memories of all guests that its collector has
 * not freed: each begins a reservation of about 4 GiB, of which the first part
 * may be written to.
 */
function reserved({ pid }) {
  const mappings = readFileSync(`/proc/${pid}/maps`, "utf8").trim().split("\n").map((line) => {
    const [, from, to, rights] = /^(\w+)-(\w+) (\S+)/.exec(line);
    return { from: parseInt(from, 16), to: parseInt(to, 16), rights };
  });
  const rest = ({ to }, next) => next?.from === to && next.rights.startsWith("---") && next.to - next.from > 3 * 2 ** 30;
  const begins = mappings.filter((m, i) => m.rights.startsWith("rw") && rest(m, mappings[i + 1]));
  return begins.reduce((total, { from, to }) => total + to - from, 0);
}

/** What counts as an isolate's memory, MB: besides the reserved, array buffers and what the runtime keeps for objects. */
async function isolate(child, inspect) {
  const { backingStorageSize, embedderHeapUsedSize } = await inspect("Runtime.getHeapUsage");
  return (reserved(child) + backingStorageSize + embedderHeapUsedSize) / 2 ** 20;
}

async function swaps(corpora, count) {
  publish("swaps", corpora[0]);
  const inspectorPort = await freePort();
  const { child, url } = await startEdge("swaps", "1", ["--inspector-addr", `127.0.0.1:${inspectorPort}`]);
  const inspect = await inspector(inspectorPort);
  const measures = { process: () => resident(child), isolate: () => isolate(child, inspect) };
  const most = { process: 0, isolate: 0 };
  const take = async () => {
    const now = {};
    for (const [name, measure] of Object.entries(measures)) {
      now[name] = await measure();
      most[name] = Math.max(most[name], now[name]);
    }
    return now;
  };
  const empty = await take();
  await ask(url);
  await idle(child);
  const once = await take();
  for (let i = 1; i <= count; i++) {
    publish("swaps", corpora[i % 2]);
    for (let waited = 0; ; waited += 50) {
      const status = await (await fetch(`${url}/v1/status`)).json();
      await take();
      if (status.serial === serial) break;
      if (waited > 10_000) throw new Error(`serial ${serial} did not come: ${child.said}`);
      await sleep(50);
    }
  }
  const last = await take();
  await stop(child);
  say("2.09 M: isolate before the first snapshot", empty.isolate, "MB");
  say("2.09 M: isolate with one snapshot", once.isolate, "MB");
  say(`2.09 M: isolate after ${count} swaps`, last.isolate, "MB", "below 128");
  say("2.09 M: isolate at most", most.isolate, "MB", "below 128");
  say("2.09 M: process before the first snapshot", empty.process, "MB");
  say("2.09 M: process with one snapshot", once.process, "MB");
  say(`2.09 M: process after ${count} swaps`, last.process, "MB");
  say("2.09 M: process at most", most.process, "MB");
}

// Not synchronous: the store is in this process, and the worker looks there for a newer snapshot meanwhile.
async function wrk(url, seconds) {
  const { stdout: out } = await exec("wrk", ["-t1", "-c20", `-d${seconds}s`, url + query]);
  if (/Non-2xx|Socket errors/.test(out)) throw new Error(out);
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)[1]), requests: Number(/(\d+) requests in/.exec(out)[1]) };
}

// Short turns, each server right after the other, so that what else the machine does is shared.
async function load(runtime, servers) {
  const rates = {};
  const costs = {};
  for (const [name, { url }] of Object.entries(servers)) {
    rates[name] = [];
    costs[name] = [];
    await wrk(url, 8); // V8 optimizes what has run often
  }
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const [name, { child, url }] of Object.entries(servers)) {
      const before = cpu(child);
      const { rate, requests } = await wrk(url, 1);
      rates[name].push(rate);
      costs[name].push((cpu(child) - before) / requests / 1000);
    }
  }
  await Promise.all(Object.values(servers).map(({ child }) => stop(child)));
  const ratio = (values, over) => 100 * median(values.map((v, i) => v / over[i]));
  for (const name of Object.keys(servers)) say(`${runtime}: ${name}`, median(rates[name]), "req/s");
  say(`${runtime}: ucedge of the constant handler`, ratio(rates.ucedge, rates["constant handler"]), "%", "at least 70");
  say(`${runtime}: ucedge of the same response`, ratio(rates.ucedge, rates["same response"]), "%");
  for (const name of Object.keys(servers)) say(`${runtime}: CPU a request, ${name}`, median(costs[name]), "µs");
  say(`${runtime}: CPU a request, constant handler of ucedge`, ratio(costs["constant handler"], costs.ucedge), "%", "at least 70");
  say(`${runtime}: CPU a request, same response of ucedge`, ratio(costs["same response"], costs.ucedge), "%");
}

async function loads(real) {
  publish("load", real);
  const onWorkerd = await startEdge("load");
  const answer = await ask(onWorkerd.url);
  await load("workerd", {
    ucedge: onWorkerd,
    "constant handler": await startWorkerd(workerdHandler("constant", constant)),
    "same response": await startWorkerd(workerdHandler("same", answer)),
  });
  const env = { LIST: list, VERIFIERS: verifier, SNAPSHOT_URL: `${originURL}/load` };
  const onDeno = await startDeno("deno.ts", env);
  await load("Deno", {
    ucedge: onDeno,
    "constant handler": await startDeno(denoHandler("constant", constant)),
    "same response": await startDeno(denoHandler("same", await ask(onDeno.url))),
  });
}

// --- the run ---

const wanted = (section) => flags.only === undefined || flags.only === section;

function have(what, make) {
  try {
    return make();
  } catch (error) {
    skip(`${what}: ${error.message}`);
    return undefined;
  }
}

async function run() {
  console.log(`load averages before: ${readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" ")}`);
  if (wanted("size")) size();
  if (wanted("start")) await starts();
  const real = wanted("cold") || wanted("load") ? have("the real three zones", realZones) : undefined;
  if (real && wanted("cold")) await cold("real three zones", real, 20);
  if (real && wanted("load")) await (have("load", () => execFileSync("which", ["wrk"])) && loads(real));
  if (!wanted("cold") && !wanted("swaps")) return;
  const two = have("2.09 M addresses", () => [many("many", Infinity), many("fewer", 50)]);
  if (two && wanted("cold")) await cold("2.09 M addresses", two[0], 5);
  if (two && wanted("swaps")) await swaps(two, 20);
}

const timer = setTimeout(() => {
  console.error(`worker.mjs: stopped after ${limitMs / 60_000} minutes`);
  process.exitCode = 1;
  end();
}, limitMs);

function end() {
  clearTimeout(timer);
  for (const child of started) child.kill("SIGKILL");
  origin.close();
  origin.closeAllConnections();
  rmSync(dir, { recursive: true, force: true });
}

try {
  await run();
} finally {
  end();
}
