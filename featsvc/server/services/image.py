"""featsvc.v1.ImageService."""

from __future__ import annotations

from collections import Counter

from featsvc.errors import Overloaded, invalid_field
from featsvc.server.calls.call import Call
from featsvc.server.calls.reply import Reply
from featsvc.server.pictures.media_types import media_type
from featsvc.server.services.intake import Intake
from featsvc.v1 import image_pb2, image_pb2_grpc, schema

IMAGES = image_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name
SOURCE = "source"


class Outgoing:
    """Bytes of the pictures that are on their way to each caller: asking for one costs a digest, and no worker."""

    def __init__(self) -> None:
        self._caller_bytes: Counter[str] = Counter()

    def count(self, call: Call, nbytes: int) -> None:
        """Counts a picture until it has been sent, or its caller has left.

        Raises Overloaded where others are on their way and all together would be too much.
        """
        name, most = call.caller.name, call.caller.limits.url_max_bytes_per_key
        under_way = self._caller_bytes[name]
        if under_way and under_way + nbytes > most:
            raise Overloaded.within(
                f"pictures of {under_way} bytes are on their way to this key, with this one of {nbytes} at most "
                f"{most} (url_max_bytes_per_key): read those first"
            )
        self._caller_bytes[name] += nbytes

        def sent() -> None:
            self._caller_bytes[name] -= nbytes
            if not self._caller_bytes[name]:
                del self._caller_bytes[name]

        call.when_done(sent)


class ImageService(image_pb2_grpc.ImageServiceServicer):
    """Files of pictures."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._outgoing = Outgoing()

    async def GetImage(self, request: image_pb2.GetImageRequest, call: Call) -> Reply:
        """The file of a picture. Raises InvalidFields for what is none, and what `Intake.picture` raises.

        Raises Overloaded where the caller does not read what it has asked for.
        """
        asked = await self._intake.checked(request, schema.GetImageRequest, call.handed_on())
        picture = await self._intake.picture(asked.image, call)
        kind = media_type(picture.content)
        if kind is None:
            # Addresses that --url-allow lists may hold what a key is not to read.
            raise invalid_field(
                f"image.{request.image.WhichOneof(SOURCE)}",
                "is no BMP, GIF, JPEG, PNG or WebP file: no other is shown",
            )
        self._intake.images.keep(call.caller, picture)
        self._outgoing.count(call, len(picture.content))
        told = image_pb2.GetImageResponse(media_type=kind, image_digest=picture.digest)
        return Reply(told, content=picture.content)
