/** What is on the screen, as one question. */

import type { Drawing } from "../state/drawing.ts";
import { activeOf, isBlank } from "../state/drawing.ts";
import type { Found } from "../state/finding.ts";
import { question as aboutMasks } from "../state/masks.ts";
import { named } from "../state/models.ts";
import { question as aboutPlaces, type Places, settings } from "../state/places.ts";
import { question as aboutTexts, type Texts } from "../state/texts.ts";
import type { Question } from "./snippets.ts";

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
      ...named("sam2"),
      params: { return_low_res: body.return_low_res },
      masks: { multimask_output: body.multimask_output, mask_encoding: "MASK_ENCODING_COCO_RLE" },
    },
  };
}

/** What the server was asked to find. */
export function ofFound({ path, asked: body }: Found): Question {
  const masks = { mask_encoding: "MASK_ENCODING_COCO_RLE" };
  if (path === "/sam2/auto_mask") {
    const params = { preset: `PRESET_${body.preset?.toUpperCase()}` };
    const message = { ...named("sam2"), params, masks };
    return { path, body, method: "generate_masks", rpc: "Sam2Service/GenerateMasks", message };
  }
  const { text, describe, search, max_matches } = body;
  return {
    path,
    body,
    method: "find_objects",
    rpc: "ObjectService/FindObjects",
    message: {
      query: { text },
      ...named("sam2"),
      masks,
      objects: { describe },
      find: { search: `OBJECT_SEARCH_${search?.toUpperCase()}`, max_matches },
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
    body: { ...aboutTexts(asked), ...query, softmax: factor },
    method: "similarity",
    rpc: "ClipService/ComputeSimilarity",
    message: { query, ...named("clip"), params: { load_size: size }, similarity: { softmax: factor } },
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
      ...named("dino"),
      params: { ...settings(places), facet: `FACET_${places.facet.toUpperCase()}` },
    },
  };
}
