import { BinaryReader } from "@bufbuild/protobuf/wire";
import { Metadata, status, type ServiceError } from "@grpc/grpc-js";
import type { ItemError } from "./gen/featsvc/v1/stream_pb.js";
import { Damaged } from "./damaged.js";

/** Name of a gRPC status, such as `INVALID_ARGUMENT`. */
export type Code = keyof typeof status;

/** One bad field of a request. */
export interface Violation {
  /** Its path in the request, with dots between and indices in brackets. */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/** What an error knows beside its message. */
export interface ErrorDetails {
  /** The bad fields, where the server names them. */
  readonly violations?: readonly Violation[];
  /** When the server expects to have a place, in milliseconds; 0 where it does not say. */
  readonly retryAfterMs?: number;
  /** Finds the call in the server's log. */
  readonly requestId?: string;
  /** Whether the server says that another try will not help, though the code alone would allow it. */
  readonly final?: boolean;
}

/** Why a call, or one question of a stream, has no answer. Every error of a call is one. */
export class FeatsvcError extends Error implements Required<ErrorDetails> {
  override readonly name = "FeatsvcError";
  readonly violations: readonly Violation[];
  readonly retryAfterMs: number;
  readonly requestId: string;
  readonly final: boolean;

  constructor(
    readonly code: Code,
    message: string,
    details: ErrorDetails = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs ?? 0;
    this.requestId = details.requestId ?? "";
    this.final = details.final ?? false;
  }
}

// The server gives a reason where no other try will help, whatever the code; grpc-js has only words for its own limits.
const OVER_A_LIMIT = /message larger than max|message (with|that decompresses to) a size larger than/;

/** What an error of grpc-js, or of reading an answer, says. */
export function asError(error: unknown): FeatsvcError {
  if (error instanceof FeatsvcError) {
    return error;
  }
  if (error instanceof Damaged) {
    return new FeatsvcError("INTERNAL", error.message, {}, error);
  }
  if (!isServiceError(error)) {
    throw error;
  }
  const retryAfterMs = Number.parseInt(first(error.metadata, "retry-after-ms"), 10);
  return new FeatsvcError(
    codeName(error.code),
    error.details,
    {
      violations: violations(error.metadata.get("grpc-status-details-bin")[0]),
      retryAfterMs: retryAfterMs > 0 ? retryAfterMs : 0,
      requestId: first(error.metadata, "x-request-id"),
      final: first(error.metadata, "featsvc-reason") !== "" || OVER_A_LIMIT.test(error.details),
    },
    error,
  );
}

/** The same of one question of a stream. */
export function itemError(error: ItemError): FeatsvcError {
  const code = error.code in status ? (error.code as Code) : "UNKNOWN";
  return new FeatsvcError(code, error.message, {
    violations: error.fieldViolations.map(({ field, description }) => ({ field, description })),
    retryAfterMs: error.retryAfterMs,
    final: error.reason !== "" || (code === "RESOURCE_EXHAUSTED" && error.retryAfterMs === 0),
  });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "metadata" in error && error.metadata instanceof Metadata && "details" in error;
}

function codeName(code: status): Code {
  return (status[code] ?? "UNKNOWN") as Code;
}

function first(metadata: Metadata, key: string): string {
  return metadata.get(key)[0]?.toString() ?? "";
}

const BAD_REQUEST = "/google.rpc.BadRequest";

// google.rpc.Status and google.rpc.BadRequest, field by field: too little to generate code for.
function violations(details: string | Buffer | undefined): Violation[] {
  if (!(details instanceof Uint8Array)) {
    return [];
  }
  try {
    return fields(details)
      .filter(({ number }) => number === 3)
      .flatMap(({ content }) => {
        const any = fields(content);
        return textOf(any, 1).endsWith(BAD_REQUEST) ? any.filter(({ number }) => number === 2) : [];
      })
      .flatMap(({ content }) => fields(content).filter(({ number }) => number === 1))
      .map(({ content }) => {
        const violation = fields(content);
        return { field: textOf(violation, 1), description: textOf(violation, 2) };
      });
  } catch {
    // Details are an extra: an error whose details cannot be read is still that error.
    return [];
  }
}

interface Field {
  readonly number: number;
  readonly content: Uint8Array;
}

/** The fields of a message that hold bytes: texts and messages. */
function fields(message: Uint8Array): Field[] {
  const reader = new BinaryReader(message);
  const found: Field[] = [];
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType === 2) {
      found.push({ number, content: reader.bytes() });
    } else {
      reader.skip(wireType, number);
    }
  }
  return found;
}

function textOf(message: readonly Field[], number: number): string {
  const field = message.find((each) => each.number === number);
  return field === undefined ? "" : new TextDecoder().decode(field.content);
}
