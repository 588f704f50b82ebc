import { readFile } from "node:fs/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ImageSchema } from "./gen/featsvc/v1/image_pb.js";

/** A picture, as requests take it. */
export type Picture = MessageInitShape<typeof ImageSchema>;

/** The picture in a file: JPEG, PNG, WebP or another format that the server allows. */
export async function pictureFile(path: string | URL): Promise<Picture> {
  return picture(await readFile(path));
}

/** The picture in the bytes of such a file. */
export function picture(content: Uint8Array): Picture {
  return { source: { case: "content", value: content as Uint8Array<ArrayBuffer> } };
}
