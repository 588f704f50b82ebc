/** What is on the screen as code, to copy. */

import { useState } from "preact/hooks";
import { address } from "../api/server.ts";
import { ofFound, ofMasks, ofPlaces, ofTexts } from "../code/questions.ts";
import { LANGUAGES, type Language, type Question, type Surroundings, snippet } from "../code/snippets.ts";
import { finding } from "../state/finding.ts";
import { models } from "../state/models.ts";
import { galleryAddress, type Picture } from "../state/picture.ts";
import { places } from "../state/places.ts";
import { type Session, session } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { texts } from "../state/texts.ts";
import { CopyButton } from "./CopyButton.tsx";
import { Problem } from "./Problem.tsx";

export function Code() {
  const now = useStore(session);
  const text = useStore(texts);
  const place = useStore(places);
  const { found } = useStore(finding);
  useStore(models);
  const [language, setLanguage] = useState<Language>("curl");
  const question = {
    masks: () => (found ? ofFound(found) : ofMasks(now.drawing.now)),
    text: () => ofTexts(text),
    places: () => ofPlaces(place),
  };
  const asked: Question | null = now.tab === "state" ? null : question[now.tab]();
  const code = asked && now.picture ? snippet(language, asked, surroundings(now, now.picture)) : "";

  return (
    <section aria-labelledby="code">
      <h2 id="code">The same as code</h2>
      <fieldset class="choice small">
        <legend class="hidden">Language</legend>
        {LANGUAGES.map((each) => (
          <label key={each}>
            <input
              type="radio"
              name="language"
              checked={language === each}
              onChange={() => setLanguage(each)}
            />
            <span>{each}</span>
          </label>
        ))}
      </fieldset>
      {code ? (
        <>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by keys too */}
          <pre tabIndex={0}>{code}</pre>
          <Problem place="code" />
          <div class="row">
            <CopyButton label="Copy" place="code" text={() => code} />
          </div>
        </>
      ) : (
        <p class="hint">Ask something about the picture first.</p>
      )}
    </section>
  );
}

function surroundings({ about }: Session, { name, gallery, url }: Picture): Surroundings {
  const { hostname, protocol } = window.location;
  return {
    origin: address("/").replace(/\/$/, ""),
    host: hostname,
    grpcPort: about?.grpc_port ?? null,
    isSecure: protocol === "https:",
    documentedKey: about?.documented_key ?? null,
    file: name,
    fileAddress: gallery && galleryAddress(gallery),
    url,
  };
}
