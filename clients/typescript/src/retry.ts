import { asError, FeatsvcError } from "./errors.js";
import type { Deadline } from "./deadline.js";

/**
 * When a failed call is tried again: on UNAVAILABLE and RESOURCE_EXHAUSTED, unless the server says that it will not help.
 * Every call is a pure function of its request, so all may be tried again.
 */
export interface RetryPolicy {
  /** How often a call is sent at most, the first time included; 1 never tries again. */
  readonly attempts: number;
  /** The pause after the first failure, in milliseconds. */
  readonly firstDelayMs: number;
  /** The longest pause, in milliseconds, but for one that the server asks for. */
  readonly maxDelayMs: number;
  /** How many times as long each further pause is. */
  readonly factor: number;
  /** The part of each pause that is random, so that clients refused together do not come back together. */
  readonly jitter: number;
}

/** The policy of a client that is given none. */
export const DEFAULT_RETRY: RetryPolicy = { attempts: 5, firstDelayMs: 100, maxDelayMs: 10_000, factor: 2, jitter: 0.5 };

/** The pause after so many failures in milliseconds, never less than the server asks for; `chance` is in [0, 1). */
export function delayMs(policy: RetryPolicy, failed: number, afterMs: number, chance: number): number {
  const backoff = Math.min(policy.firstDelayMs * policy.factor ** (failed - 1), policy.maxDelayMs);
  const shortened = backoff * (1 - policy.jitter * chance);
  return afterMs === 0 ? shortened : Math.max(shortened, afterMs + backoff * policy.jitter * chance);
}

/** How long to wait after the last of so many failures, in milliseconds; undefined where no other try is to be made. */
export function pauseMs(policy: RetryPolicy, deadline: Deadline, failed: number, error: FeatsvcError): number | undefined {
  const retried = error.code === "UNAVAILABLE" || error.code === "RESOURCE_EXHAUSTED";
  if (!retried || error.final || failed >= policy.attempts) {
    return undefined;
  }
  const delay = delayMs(policy, Math.max(failed, 1), error.retryAfterMs, Math.random());
  return delay < deadline.leftMs() ? delay : undefined;
}

/** Makes attempts until one succeeds or another is of no use, and throws the error of the last. */
export async function retried<T>(policy: RetryPolicy, deadline: Deadline, attempt: () => Promise<T>): Promise<T> {
  for (let failed = 1; ; failed++) {
    try {
      return await attempt();
    } catch (error) {
      const said = asError(error);
      const pause = pauseMs(policy, deadline, failed, said);
      if (pause === undefined || !(await deadline.slept(pause))) {
        throw said;
      }
    }
  }
}
