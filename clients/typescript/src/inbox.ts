import type { Readable } from "node:stream";

/** A message, or the end of a call: with an error, or without where it went well. */
export type Event<M> = { readonly done: false; readonly message: M } | { readonly done: true; readonly error?: unknown };

// Messages that may wait for their reader before the sender is slowed down.
const MANY = 16;

/** What a call has received and nobody has taken yet. It receives whatever its owner is doing. */
export class Inbox<M> {
  /** Called when something has come. */
  arrived: () => void = () => {};
  private readonly messages: M[] = [];
  private end: Event<M> | undefined;

  constructor(
    private readonly call: Readable,
    private readonly room: number = MANY,
  ) {
    call.on("data", (message: M) => {
      this.messages.push(message);
      if (this.messages.length >= this.room) {
        call.pause();
      }
      this.arrived();
    });
    call.on("end", () => this.ended({ done: true }));
    call.on("error", (error) => this.ended({ done: true, error }));
  }

  /** The oldest event that has not been taken; undefined where there is none. The end is not used up. */
  taken(): Event<M> | undefined {
    const message = this.messages.shift();
    if (message === undefined) {
      return this.end;
    }
    if (this.messages.length === 0 && this.call.isPaused()) {
      this.call.resume();
    }
    return { done: false, message };
  }

  private ended(end: Event<M>): void {
    this.end ??= end;
    this.arrived();
  }
}
