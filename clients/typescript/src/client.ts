import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import type { MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Client as Channel, credentials, type ChannelCredentials } from "@grpc/grpc-js";
import { joined, listed, type Pieces } from "./chunked.js";
import type { CallOptions } from "./deadline.js";
import {
  ClipService,
  type ClipServiceExtractFeaturesRequestSchema,
  type ClipServiceExtractFeaturesResponse,
  type EmbedPyramidRequestSchema,
  type EmbedPyramidResponse,
} from "./gen/featsvc/v1/clip_pb.js";
import { DinoService, type DinoServiceExtractFeaturesRequestSchema, type DinoServiceExtractFeaturesResponse } from "./gen/featsvc/v1/dino_pb.js";
import { EstimateService } from "./gen/featsvc/v1/estimate_pb.js";
import { ModelService } from "./gen/featsvc/v1/model_pb.js";
import {
  ObjectService,
  type DescribeObjectsRequestSchema,
  type DescribeObjectsResponse,
  type FindObjectsRequestSchema,
  type FindObjectsResponse,
} from "./gen/featsvc/v1/objects_pb.js";
import {
  Sam2Service,
  type GenerateMasksRequestSchema,
  type GenerateMasksResponse,
  type PredictMasksRequestSchema,
  type PredictMasksResponse,
} from "./gen/featsvc/v1/sam2_pb.js";
import { DEFAULT_RETRY, type RetryPolicy } from "./retry.js";
import { Window, type Answer, type Questions, type Reply } from "./stream.js";
import { stub, type Line, type Stub } from "./stub.js";

/** The key of a server on loopback that was given none of its own. */
export const DEFAULT_KEY = "smfeats";

/** The PEM files of a connection with TLS. */
export interface Tls {
  /** The file of the authority that signed the server's certificate; absent: those that Node trusts. */
  readonly ca?: string;
  /** The client's own certificate and its key, for servers that ask for one. */
  readonly own?: { readonly cert: string; readonly key: string };
}

/** How to connect. None is needed for a server on this machine. */
export interface ConnectOptions {
  /** Sent with every call; absent: {@link DEFAULT_KEY}. */
  readonly apiKey?: string;
  /** Makes the connection one with TLS. */
  readonly tls?: Tls;
  /** Time for each call that is given none of its own, in milliseconds; absent: no limit. */
  readonly timeoutMs?: number;
  /** How urgent its calls are beside others with the same key, from -9 to 9: higher ones come first; absent: 0. */
  readonly priority?: number;
  /** Limits messages in both directions; absent: the limits are the server's. */
  readonly maxMessageBytes?: number;
  /** What is other than in {@link DEFAULT_RETRY}. */
  readonly retry?: Partial<RetryPolicy>;
}

/** What a stream may be given. */
export interface StreamOptions extends CallOptions {
  /** How many questions are under way at most; 8 where absent. */
  readonly window?: number;
}

type ClipRequest = MessageInitShape<typeof ClipServiceExtractFeaturesRequestSchema>;
type DinoRequest = MessageInitShape<typeof DinoServiceExtractFeaturesRequestSchema>;
type PyramidRequest = MessageInitShape<typeof EmbedPyramidRequestSchema>;
type MasksRequest = MessageInitShape<typeof GenerateMasksRequestSchema>;
type PromptsRequest = MessageInitShape<typeof PredictMasksRequestSchema>;
type ObjectsRequest = MessageInitShape<typeof DescribeObjectsRequestSchema>;
type FindRequest = MessageInitShape<typeof FindObjectsRequestSchema>;

const WINDOW = 8;
// Bytes that a server may send ahead on one connection: HTTP/2's own 64 KiB make large answers slow over distance.
const FLOW_CONTROL_BYTES = 8 << 20;

/** A connection to a server. Calls may overlap. */
export class Client {
  /** The methods of ClipService. */
  readonly clip: Stub<typeof ClipService>;
  /** The methods of DinoService. */
  readonly dino: Stub<typeof DinoService>;
  /** The methods of Sam2Service. */
  readonly sam2: Stub<typeof Sam2Service>;
  /** The methods of ObjectService. */
  readonly objects: Stub<typeof ObjectService>;
  /** The methods of ModelService. */
  readonly models: Stub<typeof ModelService>;
  /** The methods of EstimateService. */
  readonly estimates: Stub<typeof EstimateService>;
  private readonly line: Line;

  /** Prepares a connection to `host:port`. The first call opens it. */
  constructor(target: string, options: ConnectOptions = {}) {
    const limit = options.maxMessageBytes ?? -1;
    const channel = new Channel(target, transport(options.tls), {
      "grpc.max_receive_message_length": limit,
      "grpc.max_send_message_length": limit,
      "grpc-node.flow_control_window": FLOW_CONTROL_BYTES,
      // gRPC's own second before it connects again would make quick retries fail without trying.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 5000,
      // This package tries again by itself, and a second time would keep every request in memory twice.
      "grpc.enable_retries": 0,
    });
    const { apiKey = DEFAULT_KEY, priority = 0, timeoutMs } = options;
    this.line = { channel, apiKey, priority, timeoutMs, retry: { ...DEFAULT_RETRY, ...options.retry } };
    this.clip = stub(this.line, ClipService);
    this.dino = stub(this.line, DinoService);
    this.sam2 = stub(this.line, Sam2Service);
    this.objects = stub(this.line, ObjectService);
    this.models = stub(this.line, ModelService);
    this.estimates = stub(this.line, EstimateService);
  }

  /** Ends the connection when the calls under way are done. */
  close(): void {
    this.line.channel.close();
  }

  /** `clip.extractFeatures` with the answer in pieces, which suits answers of any size. */
  clipFeatures(request: ClipRequest, options: CallOptions = {}): Promise<ClipServiceExtractFeaturesResponse> {
    return joined(this.line, ClipService.method.extractFeaturesChunked, { request }, options, (message): Pieces<ClipServiceExtractFeaturesResponse> => message);
  }

  /** `dino.extractFeatures` with the answer in pieces, which suits answers of any size. */
  dinoFeatures(request: DinoRequest, options: CallOptions = {}): Promise<DinoServiceExtractFeaturesResponse> {
    return joined(this.line, DinoService.method.extractFeaturesChunked, { request }, options, (message): Pieces<DinoServiceExtractFeaturesResponse> => message);
  }

  /** `clip.embedPyramid` with the answer in pieces, which suits answers of any size. */
  embedPyramid(request: PyramidRequest, options: CallOptions = {}): Promise<EmbedPyramidResponse> {
    return joined(this.line, ClipService.method.embedPyramidChunked, { request }, options, (message): Pieces<EmbedPyramidResponse> => message);
  }

  /** `sam2.generateMasks` with each mask in a message of its own, which suits any number of them. */
  generateMasks(request: MasksRequest, options: CallOptions = {}): Promise<GenerateMasksResponse> {
    return listed(this.line, request, options);
  }

  /**
   * Asks `clip.extractFeatures` about many pictures, each under the caller's own name, with a few of them under way. Answers
   * come as they are done; what is wrong with one picture is its answer. An error ends the stream: it is of the connection,
   * and some questions stay without answer. Leaving the loop ends all that is under way.
   */
  streamClipFeatures(
    questions: Questions<ClipRequest>, options: StreamOptions = {},
  ): AsyncGenerator<Answer<ClipServiceExtractFeaturesResponse>, void, undefined> {
    const method = ClipService.method.extractFeaturesStream;
    const wrap = (requestId: string, request: ClipRequest) => ({ requestId, request });
    const read = (answer: MessageShape<(typeof method)["output"]>): Reply<ClipServiceExtractFeaturesResponse> => answer;
    return new Window(this.line, { method, wrap, read }, options.window ?? WINDOW, options).answers(questions);
  }

  /** The same for `dino.extractFeatures`. */
  streamDinoFeatures(
    questions: Questions<DinoRequest>, options: StreamOptions = {},
  ): AsyncGenerator<Answer<DinoServiceExtractFeaturesResponse>, void, undefined> {
    const method = DinoService.method.extractFeaturesStream;
    const wrap = (requestId: string, request: DinoRequest) => ({ requestId, request });
    const read = (answer: MessageShape<(typeof method)["output"]>): Reply<DinoServiceExtractFeaturesResponse> => answer;
    return new Window(this.line, { method, wrap, read }, options.window ?? WINDOW, options).answers(questions);
  }

  /** The same for `clip.embedPyramid`. */
  streamEmbedPyramid(
    questions: Questions<PyramidRequest>, options: StreamOptions = {},
  ): AsyncGenerator<Answer<EmbedPyramidResponse>, void, undefined> {
    const method = ClipService.method.embedPyramidStream;
    const wrap = (requestId: string, request: PyramidRequest) => ({ requestId, request });
    const read = (answer: MessageShape<(typeof method)["output"]>): Reply<EmbedPyramidResponse> => answer;
    return new Window(this.line, { method, wrap, read }, options.window ?? WINDOW, options).answers(questions);
  }

  /** The same for `sam2.predictMasks`. */
  streamPredictMasks(
    questions: Questions<PromptsRequest>, options: StreamOptions = {},
  ): AsyncGenerator<Answer<PredictMasksResponse>, void, undefined> {
    const method = Sam2Service.method.predictMasksStream;
    const wrap = (requestId: string, request: PromptsRequest) => ({ requestId, request });
    const read = (answer: MessageShape<(typeof method)["output"]>): Reply<PredictMasksResponse> => answer;
    return new Window(this.line, { method, wrap, read }, options.window ?? WINDOW, options).answers(questions);
  }

  /** The same for `objects.describeObjects`. */
  streamDescribeObjects(
    questions: Questions<ObjectsRequest>, options: StreamOptions = {},
  ): AsyncGenerator<Answer<DescribeObjectsResponse>, void, undefined> {
    const method = ObjectService.method.describeObjectsStream;
    const wrap = (requestId: string, request: ObjectsRequest) => ({ requestId, request });
    const read = (answer: MessageShape<(typeof method)["output"]>): Reply<DescribeObjectsResponse> => answer;
    return new Window(this.line, { method, wrap, read }, options.window ?? WINDOW, options).answers(questions);
  }

  /** The same for `objects.findObjects`. */
  streamFindObjects(
    questions: Questions<FindRequest>, options: StreamOptions = {},
  ): AsyncGenerator<Answer<FindObjectsResponse>, void, undefined> {
    const method = ObjectService.method.findObjectsStream;
    const wrap = (requestId: string, request: FindRequest) => ({ requestId, request });
    const read = (answer: MessageShape<(typeof method)["output"]>): Reply<FindObjectsResponse> => answer;
    return new Window(this.line, { method, wrap, read }, options.window ?? WINDOW, options).answers(questions);
  }
}

function transport(tls: Tls | undefined): ChannelCredentials {
  if (tls === undefined) {
    return credentials.createInsecure();
  }
  const ca = tls.ca === undefined ? null : readFileSync(tls.ca);
  if (ca !== null) {
    // Throws where the file holds no certificate; TLS itself would only trust nobody.
    new X509Certificate(ca);
  }
  return tls.own === undefined
    ? credentials.createSsl(ca)
    : credentials.createSsl(ca, readFileSync(tls.own.key), readFileSync(tls.own.cert));
}
