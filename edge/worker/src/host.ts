// One HTTP exchange, the same on every runtime: admit the client, make sure of
// a snapshot, ask the guest once, turn its frame into a Response.

import { Trapped } from "./errors.ts";
import { Gate, Ref, type ExchangeRequest, type ExchangeResponse } from "./frame.ts";
import { Guest } from "./guest.ts";
import { quotaOf, type Client, type Keys } from "./keys.ts";
import { Sync, type Generation, type Lifetime } from "./sync.ts";

/** Counts requests; success false is past the limit. */
export interface Limiter {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

export interface Exchange {
  request: Request;
  clientAddress: string; // as the runtime vouches for it, "" if unknown
  lifetime: Lifetime;
}

const maxBody = 65_536; // the largest DNS message and one byte, so that the guest sees what is too long
const noBody = new Uint8Array();
const bodiless = new Set([204, 304]);

export class Host {
  readonly sync: Sync;
  readonly #keys: Keys;
  readonly #limiter: Limiter | undefined;
  readonly #spare: Guest; // answers while there is no snapshot
  readonly #page: string;

  constructor(sync: Sync, keys: Keys, limiter: Limiter | undefined, spare: Guest, page: string) {
    this.sync = sync;
    this.#keys = keys;
    this.#limiter = limiter;
    this.#spare = spare;
    this.#page = page;
  }

  /** Answers one request. Throws only when the guest trapped twice. */
  async serve(x: Exchange): Promise<{ response: Response; client: Client }> {
    const nowMs = Date.now();
    const url = new URL(x.request.url);
    const client = await this.#keys.admit(url.pathname + url.search, x.request.headers.get("authorization") ?? "");
    if (client.gate === Gate.open && this.#limiter) {
      const { success } = await this.#limiter.limit({ key: quotaOf(client.name, x.clientAddress) });
      if (!success) client.gate = Gate.overRate;
    }
    const generation = await this.sync.ready(x.lifetime, nowMs);
    const headers = x.request.headers;
    const request: ExchangeRequest = {
      now: Math.floor(nowMs / 1000),
      gate: client.gate,
      method: x.request.method,
      target: client.target,
      accept: headers.get("accept") ?? "",
      contentType: headers.get("content-type") ?? "",
      ifNoneMatch: headers.get("if-none-match") ?? "",
      body: await readBody(x.request),
    };
    const answer = this.#ask(generation, request);
    return { response: this.#respond(answer, request.method, generation), client };
  }

  #ask(generation: Generation | undefined, request: ExchangeRequest): ExchangeResponse {
    if (!generation) return this.#spare.serve(request);
    try {
      return generation.guest.serve(request);
    } catch (error) {
      if (!(error instanceof Trapped)) throw error;
      console.error(JSON.stringify({ msg: "guest trapped", error: String(error.cause) }));
      this.sync.drop(generation);
      return this.#spare.serve(request);
    }
  }

  #respond(answer: ExchangeResponse, method: string, generation: Generation | undefined): Response {
    let body: Uint8Array | string = answer.body;
    if (answer.ref === Ref.filter) body = generation?.filter ?? noBody;
    if (answer.ref === Ref.page) body = this.#page;
    const empty = method === "HEAD" || bodiless.has(answer.status);
    return new Response(empty ? null : body, { status: answer.status, headers: answer.fields });
  }
}

// Reads the body up to one byte more than any guest takes.
async function readBody(request: Request): Promise<Uint8Array> {
  if (request.body === null) return noBody;
  const bytes: Uint8Array[] = [];
  let total = 0;
  const reader = (request.body as ReadableStream<Uint8Array>).getReader();
  while (total < maxBody) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.push(value);
    total += value.length;
  }
  if (total >= maxBody) await reader.cancel();
  const first = bytes[0];
  if (bytes.length === 1 && first && first.length <= maxBody) return first;
  const body = new Uint8Array(Math.min(total, maxBody));
  let at = 0;
  for (const chunk of bytes) {
    const part = chunk.subarray(0, body.length - at);
    body.set(part, at);
    at += part.length;
  }
  return body;
}
