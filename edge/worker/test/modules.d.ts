// What the tests' rules make of the files that test/fixtures writes.
declare module "*.image" {
  const bytes: ArrayBuffer;
  export default bytes;
}
declare module "*.filter" {
  const bytes: ArrayBuffer;
  export default bytes;
}
declare module "*.pub" {
  const text: string;
  export default text;
}
// What vitest.config.ts binds.
declare namespace Cloudflare {
  interface Env {
    SNAPSHOTS: R2Bucket;
    MANIFEST: KVNamespace;
    LIMIT: RateLimit;
    EVENTS: AnalyticsEngineDataset;
    FALLBACK: Fetcher;
  }
}
