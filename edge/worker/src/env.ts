// The worker's bindings and settings, checked once.

import { Misconfigured } from "./errors.ts";
import { Keys } from "./keys.ts";
import { parseVerifier } from "./manifest.ts";
import { BucketSource, CachedSource, KVSource, URLSource, type Source } from "./source.ts";
import type { SyncSettings } from "./sync.ts";

/** What wrangler.toml binds. Everything but LIST, VERIFIERS and one source is optional. */
export interface Env {
  LIST?: string; // name of the list
  VERIFIERS?: string; // trusted keys, one a line
  SNAPSHOTS?: R2Bucket; // the bucket that the origin publishes to
  SNAPSHOT_URL?: string; // or a folder of a web server
  MANIFEST?: KVNamespace; // a copy of the manifest that answers faster
  REFRESH_SECONDS?: string; // between two looks for a newer snapshot, default 30
  KEYS?: string; // secret: access keys, "name sha256hex" a line; absent: open to all
  LIMIT?: RateLimit; // requests per client
  EVENTS?: AnalyticsEngineDataset;
}

export interface Settings {
  sync: SyncSettings;
  source: Source;
  keys: Keys;
}

const defaultRefreshSeconds = 30;

/** Reads and checks the settings, or throws Misconfigured that names the wrong one. */
export async function readSettings(env: Env, cache: Cache | undefined): Promise<Settings> {
  if (!env.LIST) throw new Misconfigured("LIST is not set: the name of the list, as in its manifest");
  if (!env.VERIFIERS) throw new Misconfigured("VERIFIERS is not set: the public key that `ucedge keygen` printed");
  const lines = env.VERIFIERS.split("\n").map((l) => l.trim()).filter((l) => l !== "");
  const refreshSeconds = env.REFRESH_SECONDS === undefined ? defaultRefreshSeconds : Number(env.REFRESH_SECONDS);
  if (!Number.isInteger(refreshSeconds) || refreshSeconds < 1) throw new Misconfigured("REFRESH_SECONDS is no whole number of seconds");
  return {
    sync: { list: env.LIST, verifiers: await Promise.all(lines.map(parseVerifier)), refreshSeconds },
    source: sourceOf(env, cache),
    keys: new Keys(env.KEYS ?? ""),
  };
}

function sourceOf(env: Env, cache: Cache | undefined): Source {
  let source: Source;
  if (env.SNAPSHOTS) source = new BucketSource(env.SNAPSHOTS);
  else if (env.SNAPSHOT_URL) source = new URLSource(env.SNAPSHOT_URL);
  else throw new Misconfigured("neither the bucket SNAPSHOTS is bound nor SNAPSHOT_URL set");
  if (cache) source = new CachedSource(cache, source);
  return env.MANIFEST ? new KVSource(env.MANIFEST, source) : source;
}
