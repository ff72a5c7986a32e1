import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [
    cloudflareTest({
      miniflare: {
        compatibilityDate: "2026-04-01",
        compatibilityFlags: ["nodejs_compat"],
        r2Buckets: ["SNAPSHOTS"],
        kvNamespaces: ["MANIFEST"],
        modulesRules: [
          { type: "CompiledWasm", include: ["**/*.wasm"] },
          { type: "Text", include: ["**/*.html"] },
          { type: "Data", include: ["**/*.image", "**/*.filter"] },
        ],
      },
    }),
  ],
  test: { include: ["test/**/*.test.ts"] },
});
