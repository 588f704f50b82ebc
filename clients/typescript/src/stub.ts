import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescMethodBiDiStreaming,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Metadata, type CallOptions as GrpcOptions, type Client as Channel } from "@grpc/grpc-js";
import type { ClientDuplexStream, ClientReadableStream } from "@grpc/grpc-js";
import { Deadline, type CallOptions } from "./deadline.js";
import { asError } from "./errors.js";
import { Inbox } from "./inbox.js";
import { retried, type RetryPolicy } from "./retry.js";

/** The methods of a service that answer one request, by their names in the contract. */
export type Stub<S extends DescService> = {
  readonly [K in keyof S["method"] as S["method"][K] extends DescMethodBiDiStreaming ? never : K]: S["method"][K] extends DescMethodUnary<
    infer I,
    infer O
  >
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : S["method"][K] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncGenerator<MessageShape<O>, void, undefined>
      : never;
};

/** A connection, and what all calls over it share. */
export interface Line {
  readonly channel: Channel;
  readonly apiKey: string;
  readonly priority: number;
  readonly retry: RetryPolicy;
  readonly timeoutMs: number | undefined;
}

/** The methods of a service over a line, those of one message with retries. */
export function stub<S extends DescService>(line: Line, service: S): Stub<S> {
  const methods: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind === "unary") {
      methods[method.localName] = unary(line, method);
    } else if (method.methodKind === "server_streaming") {
      methods[method.localName] = serverStreaming(line, method);
    }
  }
  // The type is computed from the same descriptors.
  return methods as Stub<S>;
}

function unary(line: Line, method: DescMethod) {
  return async (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => {
    const deadline = new Deadline(options, line.timeoutMs);
    const message = create(method.input, request);
    return retried(line.retry, deadline, () => asked(line, method, message, deadline));
  };
}

async function asked(line: Line, method: DescMethod, message: MessageShape<DescMessage>, deadline: Deadline) {
  const { signal } = deadline;
  const over = deadline.passed();
  if (over !== undefined) {
    throw over;
  }
  return new Promise<MessageShape<DescMessage>>((resolve, reject) => {
    const cancel = () => call.cancel();
    const done = (error: unknown, reply?: MessageShape<DescMessage>) => {
      signal?.removeEventListener("abort", cancel);
      if (reply === undefined) {
        reject(error);
      } else {
        resolve(reply);
      }
    };
    const call = line.channel.makeUnaryRequest(
      ...on(method.input, method.output, method), message, metadata(line), grpcOptions(deadline), done,
    );
    signal?.addEventListener("abort", cancel);
  });
}

function serverStreaming(line: Line, method: DescMethod) {
  return async function* (request: MessageInitShape<DescMessage>, options: CallOptions = {}) {
    const deadline = new Deadline(options, line.timeoutMs);
    yield* messages(line, method as DescMethodServerStreaming, request, deadline);
  };
}

/** The messages of one call. Leaving the loop ends it. */
export async function* messages<I extends DescMessage, O extends DescMessage>(
  line: Line, method: DescMethodServerStreaming<I, O>, request: MessageInitShape<I>, deadline: Deadline,
): AsyncGenerator<MessageShape<O>, void, undefined> {
  const over = deadline.passed();
  if (over !== undefined) {
    throw over;
  }
  const call: ClientReadableStream<MessageShape<O>> = line.channel.makeServerStreamRequest(
    ...on(method.input, method.output, method), create(method.input, request), metadata(line), grpcOptions(deadline),
  );
  const cancel = () => call.cancel();
  deadline.signal?.addEventListener("abort", cancel);
  const inbox = new Inbox<MessageShape<O>>(call);
  try {
    for (;;) {
      const event = inbox.taken();
      if (event === undefined) {
        await new Promise<void>((resolve) => (inbox.arrived = resolve));
      } else if (!event.done) {
        yield event.message;
      } else if (event.error !== undefined) {
        throw asError(event.error);
      } else {
        return;
      }
    }
  } finally {
    deadline.signal?.removeEventListener("abort", cancel);
    call.cancel();
  }
}

/** One call of a bidirectional method. */
export function duplex<I extends DescMessage, O extends DescMessage>(
  line: Line, method: DescMethodBiDiStreaming<I, O>, deadline: Deadline,
): ClientDuplexStream<MessageShape<I>, MessageShape<O>> {
  return line.channel.makeBidiStreamRequest(...on(method.input, method.output, method), metadata(line), grpcOptions(deadline));
}

/** What grpc-js wants to know of a method. */
function on<I extends DescMessage, O extends DescMessage>(input: I, output: O, method: DescMethod) {
  const path = `/${method.parent.typeName}/${method.name}`;
  const serialized = (message: MessageShape<I>) => {
    const bytes = toBinary(input, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
  const deserialized = (bytes: Buffer): MessageShape<O> =>
    fromBinary(output, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return [path, serialized, deserialized] as const;
}

function metadata(line: Line): Metadata {
  const found = new Metadata();
  found.set("authorization", `Bearer ${line.apiKey}`);
  if (line.priority !== 0) {
    found.set("x-featsvc-priority", String(line.priority));
  }
  return found;
}

function grpcOptions(deadline: Deadline): GrpcOptions {
  const date = deadline.date();
  return date === undefined ? {} : { deadline: date };
}
