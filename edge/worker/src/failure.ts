// The one place where a failure of the host becomes a Response.

import { Misconfigured } from "./errors.ts";

/** 503 for what an operator must mend, 500 for a bug; the log has the detail. */
export function failure(error: unknown, events?: AnalyticsEngineDataset): Response {
  const status = error instanceof Misconfigured ? 503 : 500;
  const message = error instanceof Misconfigured ? error.message : "the edge failed";
  console.error(JSON.stringify({ msg: "request failed", status, error: String(error) }));
  events?.writeDataPoint({ indexes: ["open"], blobs: ["failure", "", String(status), ""], doubles: [0] });
  return new Response(JSON.stringify({ error: message }) + "\n", {
    status,
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      "access-control-allow-origin": "*",
      "x-content-type-options": "nosniff",
      "retry-after": "10",
    },
  });
}
