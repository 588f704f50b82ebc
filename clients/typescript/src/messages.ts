/**
 * The messages of the contract. Nothing here needs Node.
 *
 * @module
 */
export * from "./gen/featsvc/v1/clip_pb.js";
export * from "./gen/featsvc/v1/dino_pb.js";
export * from "./gen/featsvc/v1/features_pb.js";
export * from "./gen/featsvc/v1/image_pb.js";
export * from "./gen/featsvc/v1/model_pb.js";
export * from "./gen/featsvc/v1/objects_pb.js";
export * from "./gen/featsvc/v1/sam2_pb.js";
export * from "./gen/featsvc/v1/stream_pb.js";
export * from "./gen/featsvc/v1/tensor_pb.js";
