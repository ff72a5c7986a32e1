// One event a request for Analytics Engine: what kind of request it was and how
// it ended. Neither who asked nor what about.

import type { Served } from "./host.ts";
import type { Sync } from "./sync.ts";

const paths = new Set(["/dns-query", "/resolve", "/v1/check", "/v1/filter", "/v1/status", "/", "/healthz", "/readyz"]);
const methods = new Set(["GET", "HEAD", "POST", "OPTIONS"]);

/** The columns are listed in docs/deploy.md. */
export function pointOf(request: Request, { client, response }: Served, sync: Sync | undefined): AnalyticsEngineDataPoint {
  return {
    indexes: [client.name || "open"],
    blobs: [kindOf(client.target), methods.has(request.method) ? request.method : "other", String(response.status), colo(request)],
    doubles: [sync?.current?.manifest.serial ?? 0],
  };
}

/** A path that is served, or "other": the rest is the client's to choose, and may hold a key. */
export function kindOf(target: string): string {
  const end = target.indexOf("?");
  const path = end < 0 ? target : target.slice(0, end);
  return paths.has(path) ? path : "other";
}

// Which data centre answered.
function colo(request: Request): string {
  const { cf } = request;
  return typeof cf?.colo === "string" ? cf.colo : "";
}
