import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

// The runtime in which the tests run imports nothing from outside this folder:
// the Makefile copies what the worker has from there.
const copies = ["guest.wasm", "index.html"].map((name) => ({
  find: new RegExp(`^\\.\\./\\.\\./.*/${name}$`),
  replacement: `${import.meta.dirname}/dist/${name}`,
}));

export default defineConfig({
  resolve: { alias: copies },
  plugins: [
    cloudflareTest({
      miniflare: {
        compatibilityDate: "2026-04-01",
        compatibilityFlags: ["nodejs_compat"],
        r2Buckets: ["SNAPSHOTS"],
        kvNamespaces: ["MANIFEST"],
        ratelimits: { LIMIT: { simple: { limit: 3, period: 60 } } },
        analyticsEngineDatasets: { EVENTS: { dataset: "ucedge" } },
        assets: { directory: "dist/fallback", binding: "FALLBACK" },
        modulesRules: [
          { type: "CompiledWasm", include: ["**/*.wasm"] },
          { type: "Text", include: ["**/*.html", "**/*.pub"] },
          { type: "Data", include: ["**/*.image", "**/*.filter"] },
        ],
      },
    }),
  ],
  test: { include: ["test/**/*.test.ts"] },
});
