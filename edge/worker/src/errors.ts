// What can go wrong on the way from a source to an answer, as one type whose
// reason is a word that metrics and tests can count. The reasons are those of
// the Go host (edge/sync.go).

export type Reason =
  | "unavailable" // the source did not answer, or has no such thing
  | "malformed" // the manifest is no signed text of ours
  | "signature" // no trusted key signed it, or a trusted key's signature is wrong
  | "list" // it is the manifest of another list
  | "rollback" // its serial is lower than the one in use
  | "fork" // its serial is in use with other content
  | "future" // it says that it was built later than now
  | "expired" // it must not be used any more
  | "abi" // no guest of this interface version can read its objects
  | "size" // an object is not as large as the manifest says
  | "hash" // an object is not the one that the manifest names
  | "coding" // no coding of the object can be decompressed here
  | "image"; // the guest refused the image or the filter

/** A manifest, object or image that must not be used, and why. */
export class Refused extends Error {
  readonly reason: Reason;

  constructor(reason: Reason, message: string) {
    super(message);
    this.name = "Refused";
    this.reason = reason;
  }
}

/** The guest trapped: it must not be called again. */
export class Trapped extends Error {
  constructor(cause: unknown) {
    super("guest trapped", { cause });
    this.name = "Trapped";
  }
}

/** A setting or binding of the worker that is missing or wrong. */
export class Misconfigured extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Misconfigured";
  }
}
