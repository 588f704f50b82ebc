"""The file of a picture is answered to whoever may ask about it, and what is no picture to nobody."""

from __future__ import annotations

import asyncio
import io

import grpc
import pytest
from PIL import Image

from featsvc.server.calls.admission import Admission
from featsvc.server.pictures.media_types import media_type
from featsvc.v1 import clip_pb2, image_pb2, image_pb2_grpc
from tests.chaos.frames import Connection, message
from tests.server.asking import OTHER_KEY, Request, digest_of, refusal, violations
from tests.server.conftest import AUTHORISED, start
from tests.server.pictures.test_fetch import host, reply

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR and more"
BMP = b"BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00"
GET_IMAGE = "/featsvc.v1.ImageService/GetImage"
MIB = 1024**2
FILES = {"/a.png": PNG, "/secret": b"user: admin\npassword: x"}


@pytest.mark.parametrize(("content", "kind"), [
    (BMP, "image/bmp"),
    (b"GIF87a\x01\x00\x01\x00\x80\x00\x00", "image/gif"),
    (b"GIF89a\x01\x00\x01\x00\x00\x00\x00!\xf9", "image/gif"),
    (b"RIFF\n\x00\x00\x01WEBPVP8 ", "image/webp"),
    (PNG, "image/png"),
    (b"\xff\xd8\xff\xe0", "image/jpeg"),
    (b"BMC_USER=root\nBMC_PASSWORD=calvin\n", None),
    (b"GIF89a = the colours of the garden\n", None),
    (b"RIFF of WEBPVPs\n", None),
    (PNG.replace(b"IHDR", b"CgBI"), None),
    (b"\xff\xd8\xff\x00", None),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
    (b"<html>BM GIF89a", None),
    (b"RIFF\n\x00\x00\x01WAVEfmt ", None),
    (b"", None),
])  # fmt: skip
def test_a_picture_is_known_by_its_header(content: bytes, kind: str | None) -> None:
    assert media_type(content) == kind


@pytest.mark.parametrize("kind", ["bmp", "gif", "jpeg", "png", "webp"])
def test_what_pillow_writes_is_a_picture(kind: str) -> None:
    for mode in ("1", "L", "P", "RGB"):
        file = io.BytesIO()
        Image.new(mode, (3, 2)).convert("RGB" if (kind, mode) == ("jpeg", "P") else mode).save(file, kind)
        assert media_type(file.getvalue()) == f"image/{kind}"


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
        question = Request(image=image_pb2.Image(content=b"say 3"))
        sent: clip_pb2.ClipServiceExtractFeaturesResponse = await running.clip.ExtractFeatures(
            question, metadata=AUTHORISED
        )
        named = image_pb2.GetImageRequest(image=image_pb2.Image(digest=sent.image_digest))
        error = await refusal(images.GetImage(named, metadata=AUTHORISED))
        assert "is no BMP" in violations(error)["image.digest"]
        whole = image_pb2.GetImageRequest(image=image_pb2.Image(content=BMP))
        assert (await images.GetImage(whole, metadata=AUTHORISED)).content == BMP
        private = image_pb2.GetImageRequest(image=image_pb2.Image(url="http://127.0.0.1:9/a.png"))
        error = await refusal(images.GetImage(private, metadata=AUTHORISED))
        assert "not public" in violations(error)["image.url"]


async def test_who_reads_none_of_its_pictures_is_sent_a_few_and_no_more() -> None:
    picture = PNG + bytes(MIB)
    whole = image_pb2.GetImageRequest(image=image_pb2.Image(content=picture))
    async with start(url_max_bytes_per_key=5 * MIB // 2) as running:
        images = image_pb2_grpc.ImageServiceStub(running.channel)
        # One alone may be larger than that.
        larger = image_pb2.GetImageRequest(image=image_pb2.Image(content=PNG + bytes(3 * MIB)))
        await images.GetImage(larger, metadata=AUTHORISED)
        found = await images.GetImage(whole, metadata=AUTHORISED)
        named = image_pb2.GetImageRequest(image=image_pb2.Image(digest=found.image_digest))
        async with Connection(running.gateway.port) as connection:
            # The window that a stream begins with takes 64 KiB of an answer, and is not made wider.
            streams = []
            for _ in range(3):
                streams.append(connection.call(GET_IMAGE, AUTHORISED))
                await connection.send(streams[-1], message(named.SerializeToString()), last=True)
            last = await connection.until_ended(streams[-1])
            assert b"grpc-status\x018" in last
            assert b"(url_max_bytes_per_key): read those first: try again in 1.0 s" in last
            assert not connection.ended.keys() & set(streams[:2])
            assert await images.GetImage(whole, metadata=OTHER_KEY) == found
        # What is not sent any more is not counted either.
        while True:
            try:
                assert await images.GetImage(named, metadata=AUTHORISED) == found
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017  # until it is freed


async def test_a_large_picture_is_counted_among_the_replies_until_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(Admission, "replies", lambda _, __, nbytes: counted.append(nbytes))
    async with start() as running:
        images = image_pb2_grpc.ImageServiceStub(running.channel)
        for more in (0, MIB):
            asked = image_pb2.GetImageRequest(image=image_pb2.Image(content=PNG + bytes(more)))
            await images.GetImage(asked, metadata=AUTHORISED)
    assert counted == [len(PNG) + MIB]
