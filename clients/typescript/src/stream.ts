import { create, type DescMessage, type DescMethodBiDiStreaming, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { Deadline, type CallOptions } from "./deadline.js";
import { asError, FeatsvcError, itemError } from "./errors.js";
import type { ItemError, Timing } from "./gen/featsvc/v1/stream_pb.js";
import { Inbox } from "./inbox.js";
import { pauseMs } from "./retry.js";
import { duplex, type Line } from "./stub.js";

/** Questions with the caller's own names. */
export type Questions<Q> = Iterable<readonly [id: string, request: Q]> | AsyncIterable<readonly [id: string, request: Q]>;

/**
 * The answer to one question of a stream: a reply and, where the server says so, what it has taken; or why there is none;
 * other questions are not concerned.
 */
export type Answer<R> =
  | { readonly id: string; readonly reply: R; readonly timing?: Timing | undefined; readonly error?: undefined }
  | { readonly id: string; readonly reply?: undefined; readonly timing?: undefined; readonly error: FeatsvcError };

/** What the answers of all streams have in common. */
export interface Reply<R> {
  readonly requestId: string;
  readonly timing?: Timing | undefined;
  readonly outcome:
    | { readonly case: "response"; readonly value: R }
    | { readonly case: "error"; readonly value: ItemError }
    | { readonly case: undefined; readonly value?: undefined };
}

/** A bidirectional method: how its questions are numbered and its answers read. */
export interface Method<I extends DescMessage, O extends DescMessage, Q, R> {
  readonly method: DescMethodBiDiStreaming<I, O>;
  readonly wrap: (requestId: string, request: Q) => MessageInitShape<I>;
  readonly read: (message: MessageShape<O>) => Reply<R>;
}

/** A question without an answer so far. */
interface Waiting<M> {
  readonly id: string;
  readonly message: M;
  /** Refusals that did not say when to come back. */
  failed: number;
  /** When to send it (again); undefined while the server has it. */
  dueMs: number | undefined;
}

const FAREWELL_MS = 1000;
// setTimeout takes no longer time.
const LONGEST_MS = 2 ** 31 - 1;

/** Asks many questions with at most `size` of them under way, over as many calls as it takes. */
export class Window<I extends DescMessage, O extends DescMessage, Q, R> {
  /** The questions that wait for an answer, in their order, by the names that the server knows them by. */
  private readonly waiting = new Map<string, Waiting<MessageShape<I>>>();
  private readonly deadline: Deadline;
  private call: ClientDuplexStream<MessageShape<I>, MessageShape<O>> | undefined;
  private inbox: Inbox<MessageShape<O>> | undefined;
  /** When to open the next call. */
  private openMs = 0;
  /** Calls that broke off without an answer in between. */
  private breaks = 0;
  /** Whether the server has answered anything. */
  private answered = false;
  private asked = 0;
  private more = true;
  private pulling = false;
  /** What the source of the questions threw. */
  private failure: { readonly error: unknown } | undefined;
  /** Whether something has happened that the loop has not looked at. */
  private stirred = false;
  private wake: () => void = () => {};

  constructor(
    private readonly line: Line,
    private readonly about: Method<I, O, Q, R>,
    private readonly size: number,
    options: CallOptions,
  ) {
    this.deadline = new Deadline(options, line.timeoutMs);
  }

  /** The answers, as they are done. Leaving the loop ends all that is under way. */
  async *answers(questions: Questions<Q>): AsyncGenerator<Answer<R>, void, undefined> {
    const source = Symbol.asyncIterator in questions ? questions[Symbol.asyncIterator]() : questions[Symbol.iterator]();
    const aborted = () => this.stir();
    this.deadline.signal?.addEventListener("abort", aborted);
    try {
      for (;;) {
        this.stirred = false;
        this.pull(source);
        if (this.failure !== undefined) {
          throw this.failure.error;
        }
        if (!this.more && this.waiting.size === 0) {
          await this.farewell();
          return;
        }
        const over = this.deadline.passed();
        if (over !== undefined) {
          throw over;
        }
        this.send();
        const event = this.inbox?.taken();
        if (event === undefined) {
          await this.something();
        } else if (!event.done) {
          const answer = this.taken(this.about.read(event.message));
          if (answer !== undefined) {
            yield answer;
          }
        } else {
          this.broken(event.error);
        }
      }
    } finally {
      this.deadline.signal?.removeEventListener("abort", aborted);
      this.call?.cancel();
      // A source that is being waited for cannot be ended before it goes on, and nobody should wait for that.
      void Promise.resolve(source.return?.()).catch(() => {});
    }
  }

  /** Takes questions as long as there is room; answers need not wait for a source that takes its time. */
  private pull(source: Iterator<readonly [string, Q]> | AsyncIterator<readonly [string, Q]>): void {
    while (this.more && !this.pulling && this.failure === undefined && this.waiting.size < Math.max(this.size, 1)) {
      const next = source.next();
      if (!(next instanceof Promise)) {
        this.take(next as IteratorResult<readonly [string, Q]>);
        continue;
      }
      this.pulling = true;
      next
        .then((result) => this.take(result))
        .catch((error: unknown) => (this.failure = { error }))
        .finally(() => {
          this.pulling = false;
          this.stir();
        });
    }
  }

  private take(next: IteratorResult<readonly [string, Q]>): void {
    if (next.done) {
      this.more = false;
      return;
    }
    const [id, request] = next.value;
    const name = String(this.asked++);
    const message = create(this.about.method.input, this.about.wrap(name, request));
    this.waiting.set(name, { id, message, failed: 0, dueMs: performance.now() });
  }

  /** Sends what is due, over a new call where there is none. */
  private send(): void {
    const now = performance.now();
    if (this.waiting.size === 0 || now < this.openMs) {
      return;
    }
    if (this.call === undefined) {
      this.call = duplex(this.line, this.about.method, this.deadline);
      // Room for all answers: a reader that is slow must not keep the server from reading.
      this.inbox = new Inbox(this.call, Infinity);
      this.inbox.arrived = () => this.stir();
    }
    for (const each of this.waiting.values()) {
      if (each.dueMs !== undefined && each.dueMs <= now) {
        // Not awaited: the window limits what lies in memory, and answers come meanwhile.
        this.call.write(each.message);
        each.dueMs = undefined;
      }
    }
  }

  /** Waits until there is an event, a question, something to send, or no time left. */
  private async something(): Promise<void> {
    if (this.stirred) {
      return;
    }
    const now = performance.now();
    let delay = Math.min(this.deadline.leftMs(), LONGEST_MS);
    for (const { dueMs } of this.waiting.values()) {
      if (dueMs !== undefined) {
        delay = Math.min(delay, Math.max(dueMs, this.openMs) - now);
      }
    }
    await new Promise<void>((resolve) => {
      // Rounded up, because timers may fire a part of a millisecond early.
      const timer = setTimeout(resolve, Math.ceil(delay));
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = () => {};
  }

  private stir(): void {
    this.stirred = true;
    this.wake();
  }

  /** What an answer means to the caller; undefined where it means nothing yet. */
  private taken({ requestId, outcome, timing }: Reply<R>): Answer<R> | undefined {
    const asked = this.waiting.get(requestId);
    if (asked === undefined) {
      return undefined;
    }
    this.breaks = 0;
    this.answered = true;
    const { id } = asked;
    if (outcome.case === "response") {
      this.waiting.delete(requestId);
      return { id, reply: outcome.value, timing };
    }
    const error =
      outcome.case === "error" ? itemError(outcome.value) : new FeatsvcError("INTERNAL", "an answer without an outcome");
    // Refusals that say when to come back are limited by the deadline alone.
    asked.failed += error.retryAfterMs === 0 ? 1 : 0;
    const pause = this.line.retry.attempts > 1 ? pauseMs(this.line.retry, this.deadline, asked.failed, error) : undefined;
    if (pause !== undefined) {
      asked.dueMs = performance.now() + pause;
      return undefined;
    }
    this.waiting.delete(requestId);
    return { id, error };
  }

  /**
   * Lets all that wait go again over a new call; throws where that is of no use. A server that has answered before may be
   * restarting: where there is a deadline, that alone limits the wait for it.
   */
  private broken(error: unknown): void {
    this.call = this.inbox = undefined;
    const now = performance.now();
    if (this.waiting.size === 0) {
      return;
    }
    const said = asError(
      error ?? new FeatsvcError("UNAVAILABLE", "the server ended the stream before it had answered all"),
    );
    this.breaks++;
    const { retry } = this.line;
    const patient = this.deadline.limited && this.answered && retry.attempts > 1;
    const pause = pauseMs(patient ? { ...retry, attempts: Infinity } : retry, this.deadline, this.breaks, said);
    if (pause === undefined) {
      throw said;
    }
    this.openMs = now + pause;
    for (const each of this.waiting.values()) {
      each.dueMs = this.openMs;
    }
  }

  /** Ends the call in order: the server ends its side at once when it has answered all. */
  private async farewell(): Promise<void> {
    const { call, inbox } = this;
    if (call === undefined || inbox === undefined) {
      return;
    }
    call.end();
    const end = performance.now() + Math.min(FAREWELL_MS, this.deadline.leftMs());
    for (let event = inbox.taken(); event?.done !== true; event = inbox.taken()) {
      const left = end - performance.now();
      if (left <= 0) {
        return;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        inbox.arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
