import { createHash } from "node:crypto";
import { decode, features as featuresOf, floats, mask, NdArray, promptMasks, vectors, type FeatureReply } from "featsvc";
import * as messages from "featsvc/messages";

const SAMPLES = 16;

/** What is printed of each array of an answer, by name. */
export type Arrays = Record<string, Record<string, unknown>>;

/** An array as the client gives it, and the form in which it travelled. */
function described(sent: string, array: NdArray): Record<string, unknown> {
  const { kind, shape, data } = array;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const about = { sent, dtype: kind, shape, sha256: createHash("sha256").update(bytes).digest("hex") };
  if (kind !== "float32") {
    return { ...about, area: Array.from(data as Uint8Array).filter((each) => each !== 0).length };
  }
  const count = Math.min(SAMPLES, data.length);
  return { ...about, sample: Array.from({ length: count }, (_, i) => data[Math.floor((i * data.length) / count)]!) };
}

/** Name of a tensor's element type. */
function form(tensor: messages.Tensor | undefined): string {
  return messages.DType[tensor?.dtype ?? 0]!.toLowerCase();
}

export const nothing = (): Arrays => ({});

export const features = (reply: FeatureReply): Arrays => ({ features: described(form(reply.features), featuresOf(reply)) });

export const textEmbeddings = (reply: messages.EncodeTextResponse): Arrays => numbers("embeddings", reply.textEmbedding);

export const imageEmbeddings = (reply: messages.EncodeImageResponse): Arrays => numbers("embeddings", reply.imageEmbedding);

export const similarity = (reply: messages.ComputeSimilarityResponse): Arrays => numbers("similarity", reply.similarityMap);

function numbers(name: string, tensor: messages.Tensor | undefined): Arrays {
  return { [name]: described(form(tensor), floats(tensor)) };
}

export const masks = (reply: messages.GenerateMasksResponse): Arrays => pixels(reply.masks, reply.labelMap);

export function objects(reply: messages.DescribeObjectsResponse): Arrays {
  const found = pixels(masksOf(reply.objects), reply.labelMap);
  reply.descriptors.forEach((each, i) => {
    found[`${i}.vectors`] = described(form(each.vectors), vectors(each));
  });
  return found;
}

export function found(reply: messages.FindObjectsResponse): Arrays {
  const found = pixels(masksOf(reply.objects), reply.labelMap);
  reply.found.forEach(({ matches }, i) => {
    const indices = Uint16Array.from(matches, ({ object }) => object);
    const scores = Float32Array.from(matches, ({ score }) => score);
    found[`${i}.objects`] = described("uint16", new NdArray("uint16", [matches.length], indices));
    found[`${i}.scores`] = described("float32", new NdArray("float32", [matches.length], scores));
  });
  if (reply.textMap !== undefined) {
    found.text_map = described(form(reply.textMap), decode(reply.textMap, "uint16"));
  }
  return found;
}

export function embedding(reply: messages.EmbedImageResponse): Arrays {
  if (reply.imageEmbed === undefined) {
    return {};
  }
  return {
    ...numbers("image_embed", reply.imageEmbed),
    ...numbers("high_res_feats_0", reply.highResFeats0),
    ...numbers("high_res_feats_1", reply.highResFeats1),
  };
}

const masksOf = (objects: readonly messages.SceneObject[]): messages.Mask[] => objects.flatMap(({ mask }) => mask ?? []);

function pixels(masks: readonly messages.Mask[], labelMap: messages.Tensor | undefined): Arrays {
  if (labelMap !== undefined) {
    return { label_map: described(form(labelMap), decode(labelMap, "uint16")) };
  }
  return Object.fromEntries(
    masks.map((each, i) => {
      const { case: kind, value } = each.segmentation;
      const sent = kind === "bitmap" ? form(value) : maskForm(kind === "rle" ? value : undefined);
      return [`${i}.mask`, described(sent, mask(each))];
    }),
  );
}

export function prompts(reply: messages.PredictMasksResponse): Arrays {
  const found: Arrays = {};
  reply.results.forEach((each, i) => {
    if (each.labelMap !== undefined) {
      found[`${i}.label_map`] = described(form(each.labelMap), decode(each.labelMap, "uint16"));
    } else if (each.masks?.dtype === messages.DType.FLOAT32) {
      found[`${i}.masks`] = described("float32", floats(each.masks));
    } else {
      found[`${i}.masks`] = described(each.masks ? form(each.masks) : maskForm(each.rle[0]), promptMasks(each));
    }
    if (each.iouPredictions !== undefined) {
      Object.assign(found, numbers(`${i}.iou_predictions`, each.iouPredictions));
    }
    if (each.lowResMasks !== undefined) {
      Object.assign(found, numbers(`${i}.low_res_masks`, each.lowResMasks));
    }
  });
  return found;
}

/** The form in which the pixels of a mask travelled that is no tensor. */
function maskForm(rle: messages.Rle | undefined): string {
  if (rle === undefined) {
    return "png";
  }
  return rle.runs.case === "lengths" ? "lengths" : "coco";
}
