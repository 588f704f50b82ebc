"""Frames of videos as pictures. Each is sent as PNG, so what is asked about is what the decoder gave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from featsvc_client import pictures
from featsvc_client.bulk.extra import missing
from featsvc_client.bulk.items import Item, failing, stamp

try:
    import av
    from av.error import FFmpegError
except ImportError as error:
    raise missing("av", "videos") from error


@dataclass(frozen=True)
class Video:
    """A video file, of which every n-th frame is a picture."""

    path: Path
    key: str
    every: int

    def items(self) -> Iterator[Item]:
        """The frames; a damage in the middle is an item that cannot be read."""
        seen = stamp(self.path)
        try:
            with av.open(str(self.path)) as container:
                for number, frame in enumerate(container.decode(video=0)):
                    if number % self.every == 0:
                        yield Item(f"{self.key}/{number:08d}", seen, Frame(frame))
        except (FFmpegError, IndexError) as error:
            yield failing(self.key, self.path, error)

    def count(self) -> int:
        """The frames that its header tells, or that its length lets expect."""
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                frames = stream.frames
                if not frames and container.duration and stream.average_rate:
                    frames = round(container.duration / av.time_base * stream.average_rate)
                return -(-frames // self.every)
        except (FFmpegError, IndexError):
            return 1


@dataclass(frozen=True)
class Frame:
    """One frame; encoded only if it is to be sent."""

    frame: av.VideoFrame

    def __call__(self) -> bytes:
        """The frame as a PNG file."""
        # `to_image` is not annotated in av.
        image: Image.Image = self.frame.to_image()  # type: ignore[no-untyped-call]
        return pictures.picture(image).content
