import type { DescMessage, DescMethodServerStreaming, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { Damaged } from "./damaged.js";
import { Deadline, type CallOptions } from "./deadline.js";
import type { TensorChunk } from "./gen/featsvc/v1/tensor_pb.js";
import {
  GenerateMasksResponseSchema,
  Sam2Service,
  type GenerateMasksRequestSchema,
  type GenerateMasksResponse,
} from "./gen/featsvc/v1/sam2_pb.js";
import { retried } from "./retry.js";
import { messages, type Line } from "./stub.js";
import { layout, type FeatureReply } from "./tensor.js";

/** What the messages of both services have in common. */
export interface Pieces<R> {
  readonly part:
    | { readonly case: "reply"; readonly value: R }
    | { readonly case: "chunk"; readonly value: TensorChunk }
    | { readonly case: undefined; readonly value?: undefined };
}

/** Asks until it has the whole answer, and puts the data into the tensor that it belongs to. */
export async function joined<I extends DescMessage, O extends DescMessage, R extends FeatureReply>(
  line: Line,
  method: DescMethodServerStreaming<I, O>,
  request: MessageInitShape<I>,
  options: CallOptions,
  pieces: (message: MessageShape<O>) => Pieces<R>,
): Promise<R> {
  const deadline = new Deadline(options, line.timeoutMs);
  return retried(line.retry, deadline, async () => {
    let reply: R | undefined;
    let whole: Uint8Array | undefined;
    let at = 0;
    for await (const message of messages(line, method, request, deadline)) {
      const { part } = pieces(message);
      if (reply === undefined) {
        if (part.case !== "reply") {
          throw new Damaged("it began with a piece");
        }
        reply = part.value;
        const { size } = layout(reply.features);
        const begun = reply.features?.data ?? new Uint8Array();
        at = begun.length;
        whole = at > 0 ? begun : new Uint8Array(size);
        continue;
      }
      at = put(whole!, at, part.case === "chunk" ? part.value : undefined);
    }
    if (reply?.features === undefined || whole === undefined) {
      throw new Damaged("it ended before it was whole");
    }
    if (at !== layout(reply.features).size) {
      throw new Damaged(`it ended after ${at} of ${whole.length} bytes`);
    }
    reply.features.data = whole as Uint8Array<ArrayBuffer>;
    return reply;
  });
}

/** Puts a piece where the last one ended, and gives where it ends itself. */
function put(whole: Uint8Array, at: number, chunk: TensorChunk | undefined): number {
  if (chunk === undefined || chunk.offset !== BigInt(at) || chunk.data.length > whole.length - at) {
    throw new Damaged(`${chunk?.data.length} bytes came for ${chunk?.offset} where ${at} to ${whole.length} were due`);
  }
  whole.set(chunk.data, at);
  return at + chunk.data.length;
}

/** All masks of a stream and what its summary says, asked for until they are whole. */
export async function listed(
  line: Line, request: MessageInitShape<typeof GenerateMasksRequestSchema>, options: CallOptions,
): Promise<GenerateMasksResponse> {
  const deadline = new Deadline(options, line.timeoutMs);
  return retried(line.retry, deadline, async () => {
    const masks: GenerateMasksResponse["masks"] = [];
    let reply: GenerateMasksResponse | undefined;
    for await (const { part } of messages(line, Sam2Service.method.generateMasksStream, { request }, deadline)) {
      if (part.case === "mask") {
        masks.push(part.value);
      } else if (part.case === "summary") {
        const { $typeName: _, count, ...summary } = part.value;
        if (count !== masks.length) {
          throw new Damaged(`${masks.length} masks of ${count}`);
        }
        reply = create(GenerateMasksResponseSchema, { ...summary, masks });
      }
    }
    if (reply === undefined) {
      throw new Damaged("it ended before it was whole");
    }
    return reply;
  });
}
