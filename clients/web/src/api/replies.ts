/** What answers hold beside the documented bodies: headers, and how a grid lies on its picture. */

/** `featsvc.v1.Geometry`, as X-Featsvc-Geometry has it. */
export interface Geometry {
  patch_size: number;
  stride: number;
  resized_height: number;
  resized_width: number;
  pad_right: number;
  pad_bottom: number;
  original_height: number;
  original_width: number;
  grid_height: number;
  grid_width: number;
}

/** What an answer cost, in milliseconds, and its bytes. */
export interface Cost {
  model: string;
  queueMs: number;
  computeMs: number;
  tookMs: number;
  bytes: number;
}

export function cost(headers: Headers, tookMs: number, bytes: number): Cost {
  const parts = new Map(
    (headers.get("X-Featsvc-Timing") ?? "").split(",").map((part) => {
      const [name, duration] = part.trim().split(";dur=");
      return [name, Number(duration ?? 0)];
    }),
  );
  return {
    model: headers.get("X-Featsvc-Model") ?? "",
    queueMs: parts.get("queue") ?? 0,
    computeMs: parts.get("compute") ?? 0,
    tookMs,
    bytes,
  };
}
