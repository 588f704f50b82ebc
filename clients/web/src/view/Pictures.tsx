/** Where a picture comes from: a file, an address, the camera, the gallery; App has those that are dropped and pasted. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Opening } from "../state/opening.ts";
import { GALLERY, galleryAddress, type Picture } from "../state/picture.ts";
import { attempt } from "../state/session.ts";
import { AddressInput } from "./AddressInput.tsx";
import { FileInput } from "./FileInput.tsx";
import { Problem } from "./Problem.tsx";

interface Props {
  opening: Opening;
  /** The one that is open. */
  picture: Picture | null;
  /** What it is called. */
  name: string;
  /** Asks again what was refused about it. */
  retry: () => void;
  /** Further buttons. */
  children?: ComponentChildren;
}

export function Pictures({ opening, picture, name, retry, children }: Props) {
  const [asksAddress, setAsksAddress] = useState(false);
  useEffect(() => setAsksAddress(false), [picture]);

  return (
    <>
      {asksAddress && (
        <AddressInput
          label={`Address of the ${name}, which the server fetches`}
          onAddress={(url) => void opening.link(url)}
        />
      )}
      <div class="gallery">
        <FileInput label={`File of the ${name}`} onFile={(file) => void opening.file(file)} />
        <button type="button" aria-expanded={asksAddress} onClick={() => setAsksAddress(!asksAddress)}>
          Address…
        </button>
        {"mediaDevices" in navigator && <Camera opening={opening} />}
        {children}
        <div class="thumbnails">
          {GALLERY.map(({ name, title }) => (
            <button
              type="button"
              class="thumbnail"
              key={name}
              aria-pressed={picture?.gallery === name}
              title={title}
              onClick={() => void opening.link(name)}
            >
              <img src={galleryAddress(name)} alt={title} width={72} height={72} draggable={false} />
            </button>
          ))}
        </div>
      </div>
      <Problem place={opening.place} retry={retry} />
      <Problem place={cameraPlace(opening)} />
    </>
  );
}

function cameraPlace({ place }: Opening): string {
  return `camera-${place}`;
}

function Camera({ opening }: { opening: Opening }) {
  const video = useRef<HTMLVideoElement>(null);
  const [stream, setStream] = useState<MediaStream | null>(null);

  async function start() {
    await attempt(cameraPlace(opening), async () => {
      const found = await navigator.mediaDevices.getUserMedia({ video: true }).catch(() => {
        throw new Error("the camera cannot be had: the browser did not give it to this page");
      });
      setStream(found);
      video.current!.srcObject = found;
      await video.current!.play();
    });
  }

  // It is off as soon as nobody sees what it shows.
  useEffect(() => () => stop(stream), [stream]);

  async function take() {
    const { videoWidth, videoHeight } = video.current!;
    const canvas = document.createElement("canvas");
    canvas.width = videoWidth;
    canvas.height = videoHeight;
    canvas.getContext("2d")!.drawImage(video.current!, 0, 0);
    setStream(null);
    const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (blob) await opening.file(new File([blob], "camera.jpg", { type: blob.type }));
  }

  return (
    <>
      <button type="button" onClick={() => (stream ? setStream(null) : void start())}>
        {stream ? "Close camera" : "Camera"}
      </button>
      <div class="camera" hidden={!stream}>
        <video ref={video} muted playsInline aria-label="What the camera sees" />
        <button type="button" class="main" onClick={() => void take()}>
          Take this
        </button>
      </div>
    </>
  );
}

function stop(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
