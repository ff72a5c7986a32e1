// The edge on Cloudflare Workers.

import page from "../../web/index.html";
import module from "../../../wasm/dist/guest.wasm";
import { readSettings, type Env } from "./env.ts";
import { pointOf } from "./event.ts";
import { failure } from "./failure.ts";
import { headersOf } from "./fields.ts";
import { Host, type Exchange, type Served } from "./host.ts";
import { rehearse } from "./rehearse.ts";
import { Spare } from "./spare.ts";
import { Sync } from "./sync.ts";

const spare = new Spare(module, headersOf);
let host: Host | undefined;

try {
  await rehearse(spare, page);
} catch (error) {
  console.error(JSON.stringify({ msg: "rehearsal failed, the first answer takes longer", error: String(error) }));
}

// Every request that comes before there is a host reads the settings itself;
// the first to be done makes the host of all.
async function hostFor(env: Env): Promise<Host> {
  const settings = await readSettings(env, caches.default);
  host ??= new Host(new Sync(settings.sources, settings.sync, spare), settings.keys, env.LIMIT, spare, page);
  return host;
}

// Only a limiter asks for the client's address.
function exchangeOf(request: Request, env: Env, context: ExecutionContext): Exchange {
  const clientAddress = env.LIMIT ? (request.headers.get("cf-connecting-ip") ?? "") : "";
  return { request, clientAddress, lifetime: context };
}

function told(served: Served, request: Request, env: Env): Response {
  env.EVENTS?.writeDataPoint(pointOf(request, served, host?.sync));
  return served.response;
}

async function answerLater(served: Promise<Served>, request: Request, env: Env): Promise<Response> {
  try {
    return told(await served, request, env);
  } catch (error) {
    return failure(error, env.EVENTS);
  }
}

export default {
  // Without a promise where nothing has to be awaited: most requests of a warm
  // worker. Nor does it make a function, which a bundler may name at each request.
  fetch(request, env, context): Response | Promise<Response> {
    try {
      const exchange = exchangeOf(request, env, context);
      const served = host ? host.serve(exchange) : hostFor(env).then((made) => made.serve(exchange));
      return served instanceof Promise ? answerLater(served, request, env) : told(served, request, env);
    } catch (error) {
      return failure(error, env.EVENTS);
    }
  },

  // Looks for a newer snapshot even when nobody asks.
  async scheduled(_controller, env, context): Promise<void> {
    const { sync } = host ?? (await hostFor(env));
    await sync.refresh(context, Date.now());
  },
} satisfies ExportedHandler<Env>;
