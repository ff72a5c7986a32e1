// Guests without a snapshot. A worker starts one in global scope, where it has
// a second of CPU to spend, so that its first request only has to load.

import { FieldSets, type FieldsOf } from "./fields.ts";
import { Guest } from "./guest.ts";

export class Blanks {
  readonly #module: WebAssembly.Module;
  readonly #fields: FieldSets; // of all guests
  #guest: Guest | undefined;

  constructor(module: WebAssembly.Module, fieldsOf: FieldsOf) {
    this.#module = module;
    this.#fields = new FieldSets(fieldsOf);
    this.#guest = this.#make();
  }

  #make(): Guest {
    return new Guest(this.#module, this.#fields);
  }

  /** A guest that answers while there is no snapshot. */
  readonly lend = (): Guest => (this.#guest ??= this.#make());

  /** The guest for the next snapshot: the caller's alone. */
  readonly take = (): Guest => {
    const guest = this.lend();
    this.#guest = undefined;
    return guest;
  };
}
