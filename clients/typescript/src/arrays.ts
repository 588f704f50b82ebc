/**
 * Tensors and masks of replies as typed arrays. Nothing here needs Node.
 *
 * @module
 */
export { Damaged } from "./damaged.js";
export { mask, promptMasks, runLengths } from "./masks.js";
export { NdArray, type Data, type Element, type Kind } from "./ndarray.js";
export { decode, features, floats, vectors, type FeatureReply } from "./tensor.js";
