/** Where pictures come from: a file, an address, the gallery, the camera; dropped and pasted ones come anywhere on the page. */

import { useEffect, useRef, useState } from "preact/hooks";
import { again, openFile, openLink } from "../state/opening.ts";
import { GALLERY, galleryAddress } from "../state/picture.ts";
import { attempt, session } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { AddressInput } from "./AddressInput.tsx";
import { FileInput } from "./FileInput.tsx";
import { Problem } from "./Problem.tsx";

export function Pictures() {
  const { picture } = useStore(session);
  const [asksAddress, setAsksAddress] = useState(false);
  useEffect(() => setAsksAddress(false), [picture]);

  return (
    <section class={picture ? "pictures" : "pictures first"} aria-label="Pictures">
      {!picture && (
        <p class="welcome">
          Open a picture, drop one here, or paste it or its address. Then click on a thing in it.
          <br />
          It goes to your server, and nowhere else.
        </p>
      )}
      {asksAddress && (
        <AddressInput
          label="Address of the picture, which the server fetches"
          onAddress={(url) => void openLink(url)}
        />
      )}
      <div class="gallery">
        <FileInput label="Picture file" class="open" onFile={(file) => void openFile(file)} />
        <button
          type="button"
          class="open"
          aria-expanded={asksAddress}
          onClick={() => setAsksAddress(!asksAddress)}
        >
          Address…
        </button>
        {"mediaDevices" in navigator && <Camera />}
        {GALLERY.map(({ name, title }) => (
          <button
            type="button"
            class="thumbnail"
            key={name}
            aria-pressed={picture?.gallery === name}
            title={title}
            onClick={() => void openLink(name)}
          >
            <img src={galleryAddress(name)} alt={title} width={72} height={72} draggable={false} />
          </button>
        ))}
      </div>
      <Problem place="opening" retry={again} />
      <Problem place="camera" />
    </section>
  );
}

function Camera() {
  const video = useRef<HTMLVideoElement>(null);
  const [stream, setStream] = useState<MediaStream | null>(null);

  async function start() {
    await attempt("camera", async () => {
      const found = await navigator.mediaDevices.getUserMedia({ video: true }).catch(() => {
        throw new Error("the camera cannot be had: the browser did not give it to this page");
      });
      setStream(found);
      video.current!.srcObject = found;
      await video.current!.play();
    });
  }

  function end() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    setStream(null);
  }

  async function take() {
    const { videoWidth, videoHeight } = video.current!;
    const canvas = document.createElement("canvas");
    canvas.width = videoWidth;
    canvas.height = videoHeight;
    canvas.getContext("2d")!.drawImage(video.current!, 0, 0);
    end();
    const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (blob) await openFile(new File([blob], "camera.jpg", { type: blob.type }));
  }

  return (
    <>
      <button type="button" class="open" onClick={() => (stream ? end() : void start())}>
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
