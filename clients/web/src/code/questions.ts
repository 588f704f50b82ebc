/** What is on the screen, as one question. */

import type { Options } from "../api/server.ts";
import type { Drawing } from "../state/drawing.ts";
import { activeOf, isBlank } from "../state/drawing.ts";
import { question as aboutMasks } from "../state/masks.ts";
import { type Family, naming } from "../state/models.ts";
import { question as aboutPlaces, type Places, settings } from "../state/places.ts";
import { question as aboutTexts, type Texts } from "../state/texts.ts";
import type { Question } from "./snippets.ts";

/** The message of gRPC that names the model, where it is not the default. */
function model(family: Family): { model?: Options } {
  const options = naming(family);
  return Object.keys(options).length > 0 ? { model: options } : {};
}

/** What the active object asks; null for one without prompts. */
export function ofMasks(drawing: Drawing): Question | null {
  const thing = activeOf(drawing);
  if (isBlank(thing) || thing.kept) return null;
  const body = aboutMasks(thing);
  const { points, box } = thing;
  const [x0, y0, x1, y1] = box ?? [];
  return {
    path: "/sam2/prompt_mask",
    body,
    method: "predict_masks",
    rpc: "Sam2Service/PredictMasks",
    message: {
      prompts: [
        {
          point_coords: points.map(({ x, y }) => ({ x, y })),
          point_labels: points.map(({ label }) => label),
          ...(box && { box: { x0, y0, x1, y1 } }),
        },
      ],
      ...model("sam2"),
      params: { return_low_res: body.return_low_res },
      masks: { multimask_output: body.multimask_output, mask_encoding: "MASK_ENCODING_COCO_RLE" },
    },
  };
}

/** The map of all texts; null where there is none. */
export function ofTexts(asked: Texts): Question | null {
  const { texts, negatives, factor, size } = asked;
  if (texts.length === 0) return null;
  const query = { text: texts, ...(negatives.length > 0 && { negative_text: negatives }) };
  return {
    path: "/clip/similarity",
    body: { ...query, softmax: factor, ...aboutTexts(asked) },
    method: "similarity",
    rpc: "ClipService/ComputeSimilarity",
    message: { query, ...model("clip"), params: { load_size: size }, similarity: { softmax: factor } },
  };
}

/** The features that are compared. */
export function ofPlaces(places: Places): Question {
  return {
    path: "/dino/extract",
    body: aboutPlaces(places),
    method: "dino_features",
    rpc: "DinoService/ExtractFeatures",
    message: {
      ...model("dino"),
      params: { ...settings(places), facet: `FACET_${places.facet.toUpperCase()}` },
    },
  };
}
