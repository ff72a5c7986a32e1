// What can go wrong on the way from a source to an answer, as one type whose
// reason is a word that metrics and tests can count. The reasons are those of
// the Go host (snapshot/manifest and edge/sync.go).

export type Reason =
  | "malformed" // not a signed note, or its text breaks a rule
  | "signature" // a trusted key's signature does not fit the text
  | "untrusted" // no trusted key of the list has signed it
  | "list" // it is for another list
  | "abi" // this host's guest interface is out of its range
  | "future" // built later than now, beyond the tolerance
  | "expired" // its expiry has come
  | "rollback" // its serial is below one already accepted
  | "fork" // an accepted serial with another text
  | "unavailable" // the source did not answer, or has no such thing
  | "size" // an object is not as large as the manifest says
  | "hash" // an object is not the one that the manifest names
  | "coding" // an object cannot be decompressed
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
