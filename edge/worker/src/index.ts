// The edge on Cloudflare Workers.

import page from "../../web/index.html";
import module from "../../../wasm/dist/guest.wasm";
import { readSettings, type Env } from "./env.ts";
import { failure } from "./failure.ts";
import { Guest } from "./guest.ts";
import { Host } from "./host.ts";
import { Sync } from "./sync.ts";

// Started in global scope, where a worker has a second of CPU to spend, so that
// the first request only has to load a snapshot. The first snapshot goes into
// this guest's twin, later ones into new ones; it stays as the one that
// answers when there is no snapshot.
const spare = new Guest(module);
let twin: Guest | undefined = new Guest(module);
let host: Host | undefined;

function newGuest(): Guest {
  const guest = twin ?? new Guest(module);
  twin = undefined;
  return guest;
}

async function hostFor(env: Env): Promise<Host> {
  const settings = await readSettings(env, caches.default);
  const sync = new Sync(settings.source, settings.sync, newGuest);
  return new Host(sync, settings.keys, env.LIMIT, spare, page);
}

export default {
  async fetch(request, env, context): Promise<Response> {
    try {
      host ??= await hostFor(env);
      const began = Date.now();
      const clientAddress = request.headers.get("cf-connecting-ip") ?? "";
      const { response, client } = await host.serve({ request, clientAddress, lifetime: context });
      env.EVENTS?.writeDataPoint({
        indexes: [client.name || "open"],
        blobs: [kindOf(client.target), request.method, String(response.status), request.cf?.colo ?? ""],
        doubles: [Date.now() - began, host.sync.current?.manifest.serial ?? 0],
      });
      return response;
    } catch (error) {
      return failure(error);
    }
  },

  // Looks for a newer snapshot even when nobody asks.
  async scheduled(_controller, env): Promise<void> {
    host ??= await hostFor(env);
    await host.sync.refresh(Date.now());
  },
} satisfies ExportedHandler<Env>;

// The path alone: neither names nor addresses that were asked about.
function kindOf(target: string): string {
  return target.split("?", 1)[0] ?? "";
}
