// The worker's bindings and settings, checked once.

import { Misconfigured } from "./errors.ts";
import { Keys } from "./keys.ts";
import { parseVerifier, type Verifier } from "./manifest.ts";
import { BucketSource, CachedSource, KVSource, URLSource, type Source } from "./source.ts";
import type { Sources, SyncSettings } from "./sync.ts";

/** What wrangler.toml binds. Everything but LIST, VERIFIERS and one source is optional. */
export interface Env {
  LIST?: string; // name of the list
  VERIFIERS?: string; // trusted keys, one a line
  SNAPSHOTS?: R2Bucket; // the bucket that the origin publishes to
  SNAPSHOT_URL?: string; // or a folder of a web server
  MANIFEST?: KVNamespace; // a copy of the manifest that answers faster
  FALLBACK?: Fetcher; // static assets with a copy of the publish folder
  REFRESH_SECONDS?: string; // between two looks for a newer snapshot, default 30
  HOST_NAME?: string; // name of this edge, told by discovery (RFC 9462)
  KEYS?: string; // secret: access keys, "name sha256hex" a line; absent: open to all, empty: to nobody
  LIMIT?: RateLimit; // requests per client
  EVENTS?: AnalyticsEngineDataset;
}

export interface Settings {
  sync: SyncSettings;
  sources: Sources;
  keys: Keys;
}

const defaultRefreshSeconds = 30;

/** Reads and checks the settings, or throws Misconfigured that names the wrong one. */
export async function readSettings(env: Env, cache: Cache | undefined): Promise<Settings> {
  const main = mainSource(env);
  if (!main) throw new Misconfigured("neither the bucket SNAPSHOTS is bound nor SNAPSHOT_URL set");
  const cached = cache ? new CachedSource(cache, main) : main;
  return {
    sync: await readSync(env),
    sources: { main: env.MANIFEST ? new KVSource(env.MANIFEST, cached) : cached, fallback: fallbackOf(env) },
    keys: new Keys(env.KEYS),
  };
}

/** Reads the settings that do not depend on where snapshots come from. */
export async function readSync(env: Env): Promise<SyncSettings> {
  if (!env.LIST) throw new Misconfigured("LIST is not set: the name of the list, as in its manifest");
  const refreshSeconds = env.REFRESH_SECONDS === undefined ? defaultRefreshSeconds : Number(env.REFRESH_SECONDS);
  if (!Number.isInteger(refreshSeconds) || refreshSeconds < 1) throw new Misconfigured("REFRESH_SECONDS is no whole number of seconds");
  const hostName = env.KEYS === undefined ? env.HOST_NAME ?? "" : ""; // what discovery names has to answer without a key
  return { list: env.LIST, verifiers: await readVerifiers(env.VERIFIERS ?? ""), refreshSeconds, hostName };
}

async function readVerifiers(text: string): Promise<Verifier[]> {
  const lines = text.split("\n").map((l) => l.trim()).filter((l) => l !== "");
  if (lines.length === 0) throw new Misconfigured("VERIFIERS is not set: the public key that `ucedge keygen` printed");
  try {
    return await Promise.all(lines.map(parseVerifier));
  } catch (error) {
    throw new Misconfigured(`VERIFIERS: ${String(error)}`);
  }
}

function mainSource(env: Env): Source | undefined {
  if (env.SNAPSHOTS) return new BucketSource(env.SNAPSHOTS);
  return env.SNAPSHOT_URL ? new URLSource(env.SNAPSHOT_URL) : undefined;
}

// Assets are addressed by path; the name of the host does not matter to them.
function fallbackOf({ FALLBACK: assets }: Env): Source | undefined {
  return assets && new URLSource("https://fallback.invalid/", (url, init) => assets.fetch(url, init));
}
