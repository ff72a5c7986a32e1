// The edge on Cloudflare Workers.

import page from "../../web/index.html";
import module from "../../../wasm/dist/guest.wasm";
import { Blanks } from "./blank.ts";
import { readSettings, type Env } from "./env.ts";
import { pointOf } from "./event.ts";
import { failure } from "./failure.ts";
import { Host, type Served } from "./host.ts";
import { Sync } from "./sync.ts";

const blanks = new Blanks(module);
let host: Host | undefined;

// Every request that comes before there is a host reads the settings itself;
// the first to be done makes the host of all.
async function hostFor(env: Env): Promise<Host> {
  const settings = await readSettings(env, caches.default);
  host ??= new Host(new Sync(settings.sources, settings.sync, blanks.take), settings.keys, env.LIMIT, blanks.lend, page);
  return host;
}

// Without a promise where nothing has to be awaited: most requests of a warm worker.
function answer(request: Request, env: Env, context: ExecutionContext): Response | Promise<Response> {
  const exchange = { request, clientAddress: request.headers.get("cf-connecting-ip") ?? "", lifetime: context };
  const done = (served: Served): Response => {
    env.EVENTS?.writeDataPoint(pointOf(request, served, host?.sync));
    return served.response;
  };
  const served = host ? host.serve(exchange) : hostFor(env).then((h) => h.serve(exchange));
  return served instanceof Promise ? served.then(done) : done(served);
}

export default {
  fetch(request, env, context): Response | Promise<Response> {
    const failed = (error: unknown): Response => failure(error, env.EVENTS);
    try {
      const response = answer(request, env, context);
      return response instanceof Promise ? response.catch(failed) : response;
    } catch (error) {
      return failed(error);
    }
  },

  // Looks for a newer snapshot even when nobody asks.
  async scheduled(_controller, env, context): Promise<void> {
    const { sync } = host ?? (await hostFor(env));
    await sync.refresh(context, Date.now());
  },
} satisfies ExportedHandler<Env>;
