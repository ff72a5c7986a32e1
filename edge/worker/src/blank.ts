// Guests without a snapshot. A worker starts one in global scope, where it has
// a second of CPU to spend, so that its first request only has to load.

import { Guest } from "./guest.ts";

export class Blanks {
  readonly #module: WebAssembly.Module;
  #guest: Guest | undefined;

  constructor(module: WebAssembly.Module) {
    this.#module = module;
    this.#guest = new Guest(module);
  }

  /** A guest that answers while there is no snapshot. */
  readonly lend = (): Guest => (this.#guest ??= new Guest(this.#module));

  /** The guest for the next snapshot: the caller's alone. */
  readonly take = (): Guest => {
    const guest = this.lend();
    this.#guest = undefined;
    return guest;
  };
}
