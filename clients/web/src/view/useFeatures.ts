/** The features that a part of the page shows: asked for when it needs them. */

import { useEffect, useState } from "preact/hooks";
import type { Asked } from "../api/bodies.ts";
import { type Features, features } from "../state/features.ts";
import type { Picture } from "../state/picture.ts";
import { attempt, hasKey, session } from "../state/session.ts";
import { useStore } from "../state/store.ts";

export interface Fetched {
  features: Features | null;
  again: () => void;
}

/** Those of a picture, null until they are here; what is refused is said at `place`. */
export function useFeatures<P extends "/clip/extract" | "/dino/extract">(
  path: P,
  picture: Picture | null,
  asked: Asked<P>,
  place: string,
): Fetched {
  const { key, keysGiven } = useStore(session);
  const [found, setFound] = useState<{ picture: Picture; name: string; features: Features } | null>(null);
  const [tries, setTries] = useState(0);
  const name = JSON.stringify(asked);

  useEffect(() => {
    let isOver = false;
    if (picture) {
      const act = async () => {
        await hasKey();
        const made = await features(path, picture, asked);
        if (!isOver) setFound({ picture, name, features: made });
      };
      void attempt(place, act, () => !isOver);
    }
    return () => {
      isOver = true;
    };
  }, [path, picture, name, place, key, keysGiven, tries]);

  const isRight = found !== null && found.picture === picture && found.name === name;
  return { features: isRight ? found.features : null, again: () => setTries(tries + 1) };
}
