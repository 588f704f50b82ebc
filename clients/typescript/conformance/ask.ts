import { fromJson, type DescMessage, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { Client, Damaged, FeatsvcError, type Answer, type CallOptions, type Questions, type StreamOptions } from "featsvc";
import * as messages from "featsvc/messages";
import * as read from "./arrays.js";

/** One call of the case file. */
export interface TestCase {
  readonly name: string;
  readonly rpc: string;
  readonly questions: readonly { readonly id: string; readonly request: JsonValue }[];
  readonly api_key: string;
  readonly timeout_s: number;
  /** Whether each question comes only when the answer to the one before it has been seen. */
  readonly paced: boolean;
}

type Line = Record<string, unknown>;
type Named = readonly [name: string, request: JsonValue];
type Reader<R> = (reply: R) => read.Arrays;

/** Asks the questions of a case and gives the lines about them. */
type Method = (questions: readonly Named[], timeoutMs: number, paced: boolean) => Promise<Line[]>;

// Waits for a server that is restarted meanwhile.
const PATIENT = { attempts: 60, firstDelayMs: 100, maxDelayMs: 1000 };

/** The lines about a case. */
export async function lines(address: string, apiKey: string, each: TestCase): Promise<Line[]> {
  const client = new Client(address, { apiKey: each.api_key || apiKey, retry: PATIENT });
  try {
    const ask = methods(client)[each.rpc.replace("featsvc.v1.", "")];
    if (ask === undefined) {
      throw new Error(`no method ${each.rpc}`);
    }
    const questions = each.questions.map(
      ({ id, request }): Named => [id === "" ? each.name : `${each.name}/${id}`, request],
    );
    return await ask(questions, each.timeout_s * 1000, each.paced);
  } finally {
    client.close();
  }
}

/** The methods of the contract, each by the client's own way to ask it. */
function methods(client: Client): Record<string, Method> {
  const { clip, dino, sam2, objects, models } = client;
  const clipRequest = messages.ClipServiceExtractFeaturesRequestSchema;
  const dinoRequest = messages.DinoServiceExtractFeaturesRequestSchema;
  const prompts = messages.PredictMasksRequestSchema;
  return {
    "ClipService/ExtractFeatures": unary(clipRequest, clip.extractFeatures, read.features),
    "ClipService/ExtractFeaturesChunked": unary(clipRequest, client.clipFeatures.bind(client), read.features),
    "ClipService/ExtractFeaturesStream": stream(clipRequest, client.streamClipFeatures.bind(client), read.features),
    "ClipService/EncodeText": unary(messages.EncodeTextRequestSchema, clip.encodeText, read.textEmbeddings),
    "ClipService/ComputeSimilarity": unary(messages.ComputeSimilarityRequestSchema, clip.computeSimilarity, read.similarity),
    "ClipService/EncodeImage": unary(messages.EncodeImageRequestSchema, clip.encodeImage, read.imageEmbeddings),
    "ClipService/EmbedPyramid": unary(messages.EmbedPyramidRequestSchema, clip.embedPyramid, read.features),
    "ClipService/EmbedPyramidChunked": unary(messages.EmbedPyramidRequestSchema, client.embedPyramid.bind(client), read.features),
    "ClipService/EmbedPyramidStream": stream(messages.EmbedPyramidRequestSchema, client.streamEmbedPyramid.bind(client), read.features),
    "DinoService/ExtractFeatures": unary(dinoRequest, dino.extractFeatures, read.features),
    "DinoService/ExtractFeaturesChunked": unary(dinoRequest, client.dinoFeatures.bind(client), read.features),
    "DinoService/ExtractFeaturesStream": stream(dinoRequest, client.streamDinoFeatures.bind(client), read.features),
    "Sam2Service/GenerateMasks": unary(messages.GenerateMasksRequestSchema, sam2.generateMasks, read.masks),
    "Sam2Service/GenerateMasksStream": unary(messages.GenerateMasksRequestSchema, client.generateMasks.bind(client), read.masks),
    "Sam2Service/PredictMasks": unary(prompts, sam2.predictMasks, read.prompts),
    "Sam2Service/PredictMasksStream": stream(prompts, client.streamPredictMasks.bind(client), read.prompts),
    "Sam2Service/EmbedImage": unary(messages.EmbedImageRequestSchema, sam2.embedImage, read.embedding),
    "ObjectService/DescribeObjects": unary(messages.DescribeObjectsRequestSchema, objects.describeObjects, read.objects),
    "ObjectService/DescribeObjectsStream": stream(
      messages.DescribeObjectsRequestSchema, client.streamDescribeObjects.bind(client), read.objects,
    ),
    "ObjectService/FindObjects": unary(messages.FindObjectsRequestSchema, objects.findObjects, read.found),
    "ObjectService/FindObjectsStream": stream(messages.FindObjectsRequestSchema, client.streamFindObjects.bind(client), read.found),
    "ModelService/GetCaller": unary(messages.GetCallerRequestSchema, models.getCaller, read.nothing),
    "ModelService/ListModels": unary(messages.ListModelsRequestSchema, models.listModels, read.nothing),
    "ModelService/LoadModel": unary(messages.LoadModelRequestSchema, models.loadModel, read.nothing),
    "ModelService/UnloadModel": unary(messages.UnloadModelRequestSchema, models.unloadModel, read.nothing),
    "ModelService/GetStatus": unary(messages.GetStatusRequestSchema, models.getStatus, read.nothing),
  };
}

function unary<I extends DescMessage, R>(
  schema: I, call: (request: MessageShape<I>, options: CallOptions) => Promise<R>, reader: Reader<R>,
): Method {
  return async ([question], timeoutMs) => {
    const [name, request] = question!;
    try {
      return [answered(name, await call(fromJson(schema, request), { timeoutMs }), reader)];
    } catch (error) {
      return [refused(name, error)];
    }
  };
}

function stream<I extends DescMessage, R>(
  schema: I,
  call: (questions: Questions<MessageShape<I>>, options: StreamOptions) => AsyncIterable<Answer<R>>,
  reader: Reader<R>,
): Method {
  return async (questions, timeoutMs, paced) => {
    const requests = questions.map(([name, request]) => [name, fromJson(schema, request)] as const);
    const found = new Map<string, Line>();
    let seen = () => {};
    const slowly = async function* (): AsyncGenerator<(typeof requests)[number]> {
      for (const each of requests) {
        const answered = new Promise<void>((resolve) => (seen = resolve));
        yield each;
        await answered;
      }
    };
    let broken: unknown;
    try {
      for await (const { id, reply, error } of call(paced ? slowly() : requests, { timeoutMs, window: 2 })) {
        found.set(id, error === undefined ? answered(id, reply as R, reader) : refused(id, error));
        seen();
      }
    } catch (error) {
      broken = error;
    }
    return questions.map(([name]) => found.get(name) ?? refused(name, broken));
  };
}

/** The line about an answer. */
function answered<R>(name: string, reply: R, reader: Reader<R>): Line {
  return { name, code: "OK", model: model(reply), arrays: reader(reply) };
}

/** The line about an error of a call; throws what is none. */
function refused(name: string, error: unknown): Line {
  if (error instanceof Damaged) {
    return { name, code: "INTERNAL", fields: [], retry_after: false };
  }
  if (!(error instanceof FeatsvcError)) {
    throw error;
  }
  const fields = error.violations.map(({ field }) => field);
  return { name, code: error.code, fields, retry_after: error.retryAfterMs > 0 };
}

/** The key of the model that answered, or that the answer is about. */
function model(reply: unknown): string {
  const { model: about } = reply as { model?: string | messages.Model };
  return typeof about === "string" ? about : (about?.key ?? "");
}
