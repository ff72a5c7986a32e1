// One HTTP exchange, the same on every runtime: admit the client, make sure of
// a snapshot, ask the guest once, turn its frame into a Response.

import { Trapped } from "./errors.ts";
import { Gate, Ref, type ExchangeRequest, type ExchangeResponse } from "./frame.ts";
import { quotaOf, type Client, type Keys } from "./keys.ts";
import { join } from "./source.ts";
import type { Spare } from "./spare.ts";
import type { Generation, Lifetime, Sync } from "./sync.ts";

/** Counts requests; success false is past the limit. */
export interface Limiter {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

/** One request, and what the runtime says of it. */
export interface Exchange {
  request: Request;
  clientAddress: string; // as the runtime vouches for it, "" if unknown
  lifetime: Lifetime;
}

export interface Served {
  response: Response;
  client: Client;
}

const maxBody = 65_536; // the largest DNS message and one byte, so that the guest sees what is too long
const healthPath = "/healthz"; // says that the host runs, whatever it has loaded
const noBody = new Uint8Array();
const statusNoContent = 204;
const statusNotModified = 304;

export class Host {
  readonly sync: Sync;
  readonly #keys: Keys;
  readonly #limiter: Limiter | undefined;
  readonly #spare: Pick<Spare, "lend">; // has the guest that answers while there is no snapshot
  readonly #page: string;

  constructor(sync: Sync, keys: Keys, limiter: Limiter | undefined, spare: Pick<Spare, "lend">, page: string) {
    this.sync = sync;
    this.#keys = keys;
    this.#limiter = limiter;
    this.#spare = spare;
    this.#page = page;
  }

  /** Answers one request: at once, unless something has to be awaited. Throws only when the guest trapped twice. */
  serve(x: Exchange): Served | Promise<Served> {
    const nowMs = Date.now();
    const client = this.#keys.admit(targetOf(x.request.url), () => x.request.headers.get("authorization"));
    if (client instanceof Promise || this.#limiter || x.request.body || !this.sync.settled(nowMs)) {
      return this.#serveLater(x, client, nowMs);
    }
    return this.#answer(x.request, client, noBody, this.sync.current, nowMs);
  }

  async #serveLater(x: Exchange, admitted: Client | Promise<Client>, nowMs: number): Promise<Served> {
    const client = await admitted;
    if (this.#limiter) {
      const { success } = await this.#limiter.limit({ key: quotaOf(client.name, x.clientAddress) });
      if (!success) client.gate = Gate.overRate;
    }
    const current = this.sync.settled(nowMs) || client.target === healthPath;
    const body = x.request.body ? await readBody(x.request.body as ReadableStream<Uint8Array>) : noBody;
    // Last of all: a generation is not to be kept while others may take its place.
    const generation = current ? this.sync.current : await this.sync.ready(x.lifetime, nowMs);
    return this.#answer(x.request, client, body, generation, nowMs);
  }

  #answer(r: Request, client: Client, body: Uint8Array, generation: Generation | undefined, nowMs: number): Served {
    const { headers, method } = r;
    const request: ExchangeRequest = {
      now: Math.floor(nowMs / 1000),
      gate: client.gate,
      method,
      target: client.target,
      accept: headers.get("accept") ?? "",
      contentType: method === "POST" ? (headers.get("content-type") ?? "") : "", // it says what a body is
      ifNoneMatch: headers.get("if-none-match") ?? "",
      body,
    };
    const answer = this.#ask(generation, request, nowMs);
    return { response: this.#respond(answer, method, generation), client };
  }

  #ask(generation: Generation | undefined, request: ExchangeRequest, nowMs: number): ExchangeResponse {
    if (!generation) return this.#spare.lend().serve(request);
    try {
      return generation.guest.serve(request);
    } catch (error) {
      if (!(error instanceof Trapped)) throw error;
      console.error(JSON.stringify({ msg: "guest trapped", error: String(error.cause) }));
      this.sync.drop(generation, nowMs);
      return this.#spare.lend().serve(request);
    }
  }

  #respond(answer: ExchangeResponse, method: string, generation: Generation | undefined): Response {
    let body: Uint8Array | string | null = answer.body;
    if (answer.ref === Ref.filter) body = generation?.guest.filter ?? noBody;
    if (answer.ref === Ref.page) body = this.#page;
    if (method === "HEAD" || answer.status === statusNoContent || answer.status === statusNotModified) body = null;
    return new Response(body, answer); // copies the body (Fetch standard, 5.2)
  }
}

/** Path and query of a URL, as they were in the request line. */
export function targetOf(url: string): string {
  const path = url.indexOf("/", url.indexOf("://") + 3);
  const fragment = url.indexOf("#", path);
  return fragment < 0 ? url.slice(path) : url.slice(path, fragment);
}

// Reads the body up to one byte more than any guest takes.
async function readBody(body: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  const reader = body.getReader();
  while (total < maxBody) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    total += value.length;
  }
  if (total >= maxBody) await reader.cancel();
  return join(chunks, Math.min(total, maxBody));
}
