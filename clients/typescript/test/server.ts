import { create, fromBinary, toBinary, type DescService, type MessageInitShape } from "@bufbuild/protobuf";
import { Metadata, Server, ServerCredentials, status, type StatusObject, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { ServerDuplexStream, ServerUnaryCall, ServerWritableStream, ServiceDefinition } from "@grpc/grpc-js";
import { Client, type ConnectOptions } from "featsvc";
import {
  DinoService,
  DType,
  type DinoServiceExtractFeaturesChunkedRequest as ChunkedRequest,
  type DinoServiceExtractFeaturesChunkedResponseSchema as ChunkedResponseSchema,
  type DinoServiceExtractFeaturesRequest as Request,
  type DinoServiceExtractFeaturesResponseSchema as ResponseSchema,
  type DinoServiceExtractFeaturesStreamRequest as StreamRequest,
  type DinoServiceExtractFeaturesStreamResponseSchema as StreamResponseSchema,
  Sam2Service,
  type GenerateMasksStreamRequest,
  type GenerateMasksStreamResponseSchema,
} from "featsvc/messages";

export type Unary = ServerUnaryCall<Request, MessageInitShape<typeof ResponseSchema>>;
export type Out = ServerWritableStream<ChunkedRequest, MessageInitShape<typeof ChunkedResponseSchema>>;
export type Both = ServerDuplexStream<StreamRequest, MessageInitShape<typeof StreamResponseSchema>>;
export type Masks = ServerWritableStream<GenerateMasksStreamRequest, MessageInitShape<typeof GenerateMasksStreamResponseSchema>>;
export type { Request, StreamRequest };

/** Answers as a test says. */
export interface Scripted {
  readonly extract?: (call: Unary) => MessageInitShape<typeof ResponseSchema>;
  readonly chunked?: (call: Out) => void;
  readonly stream?: (call: Both) => void;
  readonly masks?: (call: Masks) => void;
}

/** Retries without waiting long. */
export const QUICK = { attempts: 5, firstDelayMs: 1, maxDelayMs: 5 };

/** Runs a block with a server on a free loopback port, given its address. */
export async function serving(
  scripted: Scripted, block: (address: string) => Promise<void>, credentials = ServerCredentials.createInsecure(),
): Promise<void> {
  const server = new Server({ "grpc.max_receive_message_length": -1 });
  const { extract, chunked, stream, masks } = scripted;
  const unary = (call: Unary, done: (error: unknown, reply?: unknown) => void) => {
    try {
      done(null, extract!(call));
    } catch (error) {
      done(error);
    }
  };
  add(server, DinoService, {
    extractFeatures: extract && unary,
    extractFeaturesChunked: chunked,
    extractFeaturesStream: stream,
  });
  add(server, Sam2Service, { generateMasksStream: masks });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  try {
    await block(`127.0.0.1:${port}`);
  } finally {
    server.forceShutdown();
  }
}

/** The same, given a client of it. */
export async function connected(
  scripted: Scripted, block: (client: Client) => Promise<void>, options: ConnectOptions = {},
): Promise<void> {
  await serving(scripted, async (address) => {
    const client = new Client(address, { retry: QUICK, ...options });
    try {
      await block(client);
    } finally {
      client.close();
    }
  });
}

function add(server: Server, service: DescService, handlers: Record<string, unknown>): void {
  const present = service.methods.filter((method) => handlers[method.localName] !== undefined);
  if (present.length === 0) {
    return;
  }
  const definition = Object.fromEntries(
    present.map((method) => [
      method.localName,
      {
        path: `/${service.typeName}/${method.name}`,
        requestStream: method.methodKind === "bidi_streaming",
        responseStream: method.methodKind !== "unary",
        requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
        requestSerialize: () => Buffer.alloc(0),
        responseSerialize: (reply: Record<string, unknown>) => Buffer.from(toBinary(method.output, create(method.output, reply))),
        responseDeserialize: () => ({}),
      },
    ]),
  ) as ServiceDefinition;
  server.addService(definition, handlers as UntypedServiceImplementation);
}

/** An error with what the server says beside it. */
export function refusal(code: status, pairs: Record<string, string | Buffer> = {}): Partial<StatusObject> & Error {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(pairs)) {
    metadata.set(key, value);
  }
  return Object.assign(new Error("refused"), { code, details: "refused", metadata });
}

/** A reply with features of the shape 1 x 1 x D. */
export function bytes(...values: number[]): MessageInitShape<typeof ResponseSchema> {
  return { features: { dtype: DType.UINT8, shape: [1, 1, values.length], data: Uint8Array.from(values) } };
}
