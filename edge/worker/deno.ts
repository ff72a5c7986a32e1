// The edge on Deno: the same modules, with a folder or a URL as the source.
//
//   deno run --allow-net --allow-read --allow-env deno.ts
//
// Settings are environment variables: LIST, VERIFIERS, and SNAPSHOT_DIR or
// SNAPSHOT_URL; optional HOST (127.0.0.1), PORT (8790), REFRESH_SECONDS, KEYS,
// HOST_NAME.

import { Misconfigured, Refused } from "./src/errors.ts";
import { failure } from "./src/failure.ts";
import { Host, type Served } from "./src/host.ts";
import { readSync } from "./src/env.ts";
import { Keys } from "./src/keys.ts";
import { rehearse } from "./src/rehearse.ts";
import { URLSource, type Source } from "./src/source.ts";
import { Spare } from "./src/spare.ts";
import { Sync, type Lifetime } from "./src/sync.ts";

/** The folder that the origin publishes to. */
class FolderSource implements Source {
  readonly coding = "plain";
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  manifest(): Promise<Uint8Array> {
    return this.#read("manifest", 64 << 10);
  }

  object(wireHash: string, size: number): Promise<Uint8Array> {
    return this.#read("objects/" + wireHash, size);
  }

  async #read(name: string, max: number): Promise<Uint8Array> {
    try {
      const path = `${this.#folder}/${name}`;
      const { size } = await Deno.stat(path);
      if (size > max) throw new Refused("size", `${name} has ${String(size)} bytes, more than ${String(max)}`);
      return await Deno.readFile(path);
    } catch (error) {
      if (error instanceof Refused) throw error;
      throw new Refused("unavailable", `${name}: ${String(error)}`);
    }
  }
}

const lifetime: Lifetime = {
  waitUntil(promise) {
    promise.catch((error: unknown) => {
      console.error(error);
    });
  },
};

const module = new WebAssembly.Module(await Deno.readFile(new URL("../../wasm/dist/guest.wasm", import.meta.url)));
const page = await Deno.readTextFile(new URL("../web/index.html", import.meta.url));
const env = Deno.env.toObject();
// Deno is quickest with an object: it sorts the fields of Headers for each response.
const spare = new Spare(module, Object.fromEntries);
await rehearse(spare, page).catch((error: unknown) => {
  console.error(`rehearsal failed, the first answer takes longer: ${String(error)}`);
});
const sync = new Sync({ main: mainSource(), fallback: undefined }, await readSync(env), spare);
const host = new Host(sync, new Keys(env.KEYS), undefined, spare, page);

function mainSource(): Source {
  if (env.SNAPSHOT_DIR) return new FolderSource(env.SNAPSHOT_DIR);
  if (env.SNAPSHOT_URL) return new URLSource(env.SNAPSHOT_URL);
  throw new Misconfigured("neither SNAPSHOT_DIR nor SNAPSHOT_URL is set");
}

const listen = {
  hostname: env.HOST ?? "127.0.0.1",
  port: Number(env.PORT ?? "8790"),
  onListen: ({ port }: { port: number }) => {
    console.log(`listening on ${String(port)}`);
  },
};

async function answerLater(served: Promise<Served>): Promise<Response> {
  try {
    return (await served).response;
  } catch (error) {
    return failure(error);
  }
}

// Without a limiter nobody asks for the client's address.
Deno.serve(listen, (request) => {
  try {
    const served = host.serve({ request, clientAddress: "", lifetime });
    return served instanceof Promise ? answerLater(served) : served.response;
  } catch (error) {
    return failure(error);
  }
});
