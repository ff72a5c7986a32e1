// The guest beside the one that answers. A worker starts it in global scope,
// where it has a second of CPU to spend, so that its first request only has to
// load. Later it is the guest that answered before: memory of WebAssembly goes
// only when the collector finds it, which it does late, so two guests take turns.

import { FieldSets, type FieldsOf } from "./fields.ts";
import { Guest } from "./guest.ts";

export class Spare {
  readonly #module: WebAssembly.Module;
  readonly #fields: FieldSets; // of all guests
  #guest: Guest | undefined;

  constructor(module: WebAssembly.Module, fieldsOf: FieldsOf) {
    this.#module = module;
    this.#fields = new FieldSets(fieldsOf);
    this.#guest = new Guest(this.#module, this.#fields);
  }

  /** A guest that answers while there is no snapshot. */
  lend(): Guest {
    this.#guest ??= new Guest(this.#module, this.#fields);
    this.#guest.drop();
    return this.#guest;
  }

  /** The guest for the next snapshot: the caller's alone. */
  take(): Guest {
    const guest = this.lend();
    this.#guest = undefined;
    return guest;
  }

  /** Takes a guest back that is whole, and whose snapshot nobody needs any more. */
  give(guest: Guest): void {
    this.#guest ??= guest;
  }
}
