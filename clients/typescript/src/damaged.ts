/** An answer, or an array in it, that cannot be read. */
export class Damaged extends Error {
  override readonly name: string = "Damaged";

  constructor(what: string, cause?: unknown) {
    super(`the answer cannot be read: ${what}`, cause === undefined ? undefined : { cause });
  }
}
