"""The file of a picture is answered to whoever may ask about it, and what is no picture to nobody."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from featsvc.server.pictures.media_types import media_type
from featsvc.v1 import clip_pb2, image_pb2, image_pb2_grpc
from tests.server.asking import OTHER_KEY, Request, digest_of, refusal, violations
from tests.server.conftest import AUTHORISED, start
from tests.server.pictures.test_fetch import host, reply

PNG = b"\x89PNG\r\n\x1a\n and more"
FILES = {"/a.png": PNG, "/secret": b"user: admin\npassword: x"}


@pytest.mark.parametrize(("content", "kind"), [
    (b"BM6", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF\n\x00\x00\x01WEBPVP8 ", "image/webp"),
    (PNG, "image/png"),
    (b"\xff\xd8\xff\xe0", "image/jpeg"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
    (b"<html>BM GIF89a", None),
    (b"RIFF\n\x00\x00\x01WAVEfmt ", None),
    (b"", None),
])  # fmt: skip
def test_a_picture_is_known_by_its_first_bytes(content: bytes, kind: str | None) -> None:
    assert media_type(content) == kind


async def test_an_address_gives_its_picture_and_nothing_that_is_none() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("200 OK", FILES[path]))

    async with host(answer) as port, start(url_allow=("127.0.0.1",)) as running:
        images = image_pb2_grpc.ImageServiceStub(running.channel)

        def asked(path: str) -> image_pb2.GetImageRequest:
            return image_pb2.GetImageRequest(image=image_pb2.Image(url=f"http://127.0.0.1:{port}{path}"))

        found = await images.GetImage(asked("/a.png"), metadata=AUTHORISED)
        assert found == image_pb2.GetImageResponse(
            content=PNG, media_type="image/png", image_digest=digest_of(PNG)
        )
        error = await refusal(images.GetImage(asked("/secret"), metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "is no BMP, GIF, JPEG, PNG or WebP file" in violations(error)["image.url"]
        assert "admin" not in str(error)
        # From then on the same key names it, and no other does.
        named = image_pb2.GetImageRequest(image=image_pb2.Image(digest=found.image_digest))
        assert await images.GetImage(named, metadata=AUTHORISED) == found
        assert (await refusal(images.GetImage(named, metadata=OTHER_KEY))).code() == grpc.StatusCode.NOT_FOUND
        assert (await refusal(images.GetImage(named))).code() == grpc.StatusCode.UNAUTHENTICATED


async def test_what_was_sent_is_answered_and_an_address_that_is_not_public_is_not() -> None:
    async with start() as running:
        images = image_pb2_grpc.ImageServiceStub(running.channel)
        program = b"BM\nsay 3"
        question = Request(image=image_pb2.Image(content=b"say 3"))
        sent: clip_pb2.ClipServiceExtractFeaturesResponse = await running.clip.ExtractFeatures(
            question, metadata=AUTHORISED
        )
        named = image_pb2.GetImageRequest(image=image_pb2.Image(digest=sent.image_digest))
        error = await refusal(images.GetImage(named, metadata=AUTHORISED))
        assert "is no BMP" in violations(error)["image.digest"]
        whole = image_pb2.GetImageRequest(image=image_pb2.Image(content=program))
        assert (await images.GetImage(whole, metadata=AUTHORISED)).content == program
        private = image_pb2.GetImageRequest(image=image_pb2.Image(url="http://127.0.0.1:9/a.png"))
        error = await refusal(images.GetImage(private, metadata=AUTHORISED))
        assert "not public" in violations(error)["image.url"]
