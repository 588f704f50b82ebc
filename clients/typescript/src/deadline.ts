import { FeatsvcError } from "./errors.js";

/** What one call may be given. */
export interface CallOptions {
  /** Time for the call and all its further attempts, in milliseconds. */
  readonly timeoutMs?: number;
  /** Ends the call. */
  readonly signal?: AbortSignal;
}

/** When a call ends, whatever it is waiting for. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  private readonly end: number;

  constructor(options: CallOptions, timeoutMs: number | undefined) {
    this.end = performance.now() + (options.timeoutMs ?? timeoutMs ?? Infinity);
    this.signal = options.signal;
  }

  /** Whether there is a limit of time at all. */
  get limited(): boolean {
    return this.end !== Infinity;
  }

  /** Milliseconds that are left; Infinity without a limit. */
  leftMs(): number {
    return Math.max(0, this.end - performance.now());
  }

  /** The same as a point of time, as grpc-js takes it. */
  date(): Date | undefined {
    return this.limited ? new Date(Date.now() + this.leftMs()) : undefined;
  }

  /** The error of a call whose time is over or whose signal is set; undefined before. */
  passed(): FeatsvcError | undefined {
    if (this.signal?.aborted) {
      return new FeatsvcError("CANCELLED", "ended by its signal", {}, this.signal.reason);
    }
    return this.leftMs() === 0 ? new FeatsvcError("DEADLINE_EXCEEDED", "the time of the call is over") : undefined;
  }

  /** Waits so long; false where the signal ended that. */
  async slept(delayMs: number): Promise<boolean> {
    const { signal } = this;
    if (signal?.aborted) {
      return false;
    }
    return new Promise((resolve) => {
      const wake = (whole: boolean) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        resolve(whole);
      };
      const aborted = () => wake(false);
      const timer = setTimeout(wake, delayMs, true);
      signal?.addEventListener("abort", aborted);
    });
  }
}
