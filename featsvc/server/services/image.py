"""featsvc.v1.ImageService."""

from __future__ import annotations

from featsvc.errors import invalid_field
from featsvc.server.calls.call import Call
from featsvc.server.pictures.media_types import media_type
from featsvc.server.services.intake import Intake
from featsvc.v1 import image_pb2, image_pb2_grpc, schema

IMAGES = image_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name
SOURCE = "source"


class ImageService(image_pb2_grpc.ImageServiceServicer):
    """Files of pictures."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def GetImage(self, request: image_pb2.GetImageRequest, call: Call) -> image_pb2.GetImageResponse:
        """The file of a picture. Raises InvalidFields for what is none, and what `Intake.picture` raises."""
        asked = await self._intake.checked(request, schema.GetImageRequest)
        picture = await self._intake.picture(asked.image, call)
        kind = media_type(picture.content)
        if kind is None:
            # Addresses that --url-allow lists may hold what a key is not to read.
            raise invalid_field(
                f"image.{request.image.WhichOneof(SOURCE)}",
                "is no BMP, GIF, JPEG, PNG or WebP file: no other is shown",
            )
        self._intake.images.keep(call.caller, picture)
        return image_pb2.GetImageResponse(
            content=picture.content, media_type=kind, image_digest=picture.digest
        )
