// What the tests' rules make of the files that test/fixtures writes.
declare module "*.image" {
  const bytes: ArrayBuffer;
  export default bytes;
}
declare module "*.filter" {
  const bytes: ArrayBuffer;
  export default bytes;
}
// What vitest.config.ts binds.
declare namespace Cloudflare {
  interface Env {
    SNAPSHOTS: R2Bucket;
    MANIFEST: KVNamespace;
  }
}
