/** The bodies of questions and answers, as the OpenAPI documents have them. */

import type { components as clip } from "../gen/clip.ts";
import type { components as dino } from "../gen/dino.ts";
import type { components as sam2 } from "../gen/sam2.ts";

/** Which picture a body is about. */
type Source = "image" | "image_url" | "image_digest";

export interface Questions {
  "/clip/encode_text": clip["schemas"]["EncodeTextBody"];
  "/clip/extract": clip["schemas"]["ExtractBody"];
  "/clip/similarity": clip["schemas"]["SimilarityBody"];
  "/dino/extract": dino["schemas"]["ExtractBody"];
  "/sam2/prompt_mask": sam2["schemas"]["PromptMaskBody"];
  "/sam2/auto_mask": sam2["schemas"]["AutoMaskBody"];
  "/sam2/find_objects": sam2["schemas"]["FindObjectsBody"];
}
export type Path = keyof Questions;
/** What is asked, without the picture that it is about. */
export type Asked<P extends Path> = Omit<Questions[P], Source>;

export type PromptMasks = sam2["schemas"]["PromptMasks"];
export type AutoMasks = sam2["schemas"]["AutoMasks"];
export type FoundObjects = sam2["schemas"]["FoundObjects"];
export type Embedding = clip["schemas"]["TextEmbedding"];
