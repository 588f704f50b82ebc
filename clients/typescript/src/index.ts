/**
 * The client of featsvc for Node: CLIP, DINO and SAM2 features and masks over gRPC.
 *
 * A {@link Client} has the methods of the services; requests and replies are the messages of `featsvc/messages`, which
 * document every field. What this package adds is around them: pictures from files ({@link pictureFile}), tensors and masks
 * as typed arrays ({@link features}, {@link decode}, {@link mask}, {@link promptMasks}), errors with the bad fields
 * ({@link FeatsvcError}), and another try where that may help ({@link RetryPolicy}).
 *
 * Large features should be asked for by {@link Client.clipFeatures} and {@link Client.dinoFeatures}, which receive them in
 * pieces, and many pictures by {@link Client.streamClipFeatures} and its sisters, which keep a few of them
 * under way.
 *
 * @module
 */
export * from "./arrays.js";
export { Client, DEFAULT_KEY, type ConnectOptions, type StreamOptions, type Tls } from "./client.js";
export type { CallOptions } from "./deadline.js";
export { FeatsvcError, type Code, type ErrorDetails, type Violation } from "./errors.js";
export { picture, pictureFile, type Picture } from "./picture.js";
export { DEFAULT_RETRY, type RetryPolicy } from "./retry.js";
export type { Answer, Questions } from "./stream.js";
export type { Stub } from "./stub.js";
