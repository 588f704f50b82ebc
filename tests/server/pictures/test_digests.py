"""Pictures by their digests: who may name them, in which service, and for how long."""

from __future__ import annotations

import grpc
import pytest

from featsvc.server.pictures.store import OVERHEAD, Answered, Picture, PictureStore
from featsvc.settings.access import KeyLimits
from featsvc.v1 import clip_pb2, dino_pb2, image_pb2, model_pb2, sam2_pb2
from featsvc.work.caller import Caller
from tests.server.asking import OTHER_KEY, Request, again, asking, digest_of, refusal, violations
from tests.server.conftest import AUTHORISED, Running, start

PROGRAM = b"say 7"
ONE, TWO = (Caller(name, limits=KeyLimits(image_cache_per_key=2000)) for name in ("one", "two"))


async def test_a_picture_sent_once_answers_questions_of_all_services(served: Running) -> None:
    first = await served.clip.ExtractFeatures(asking(PROGRAM), metadata=AUTHORISED)
    assert first.image_digest == digest_of(PROGRAM)
    second = await served.clip.ExtractFeatures(Request(image=again(PROGRAM)), metadata=AUTHORISED)
    assert second == first
    image = again(PROGRAM)
    replies = [
        await method(request, metadata=AUTHORISED)
        for method, request in (
            (served.dino.ExtractFeatures, dino_pb2.DinoServiceExtractFeaturesRequest(image=image)),
            (served.sam2.PredictMasks, sam2_pb2.PredictMasksRequest(image=image)),
            (served.sam2.GenerateMasks, sam2_pb2.GenerateMasksRequest(image=image)),
            (served.sam2.EmbedImage, sam2_pb2.EmbedImageRequest(image=image)),
        )
    ]
    assert {reply.image_digest for reply in replies} == {digest_of(PROGRAM)}
    assert replies[0].features == first.features


async def test_a_digest_is_good_only_for_the_key_that_sent_the_picture(served: Running) -> None:
    await served.clip.ExtractFeatures(asking(PROGRAM), metadata=AUTHORISED)
    error = await refusal(served.clip.ExtractFeatures(Request(image=again(PROGRAM)), metadata=OTHER_KEY))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert "send the file" in violations(error)["image.digest"]


async def test_a_key_does_not_hear_what_others_have_embedded(served: Running) -> None:
    asked = sam2_pb2.EmbedImageRequest(image=image_pb2.Image(content=b"say 7"))

    async def was_cached(key: tuple[tuple[str, str], ...], **changes: str) -> bool:
        request = sam2_pb2.EmbedImageRequest()
        request.CopyFrom(asked)
        request.model.MergeFrom(sam2_pb2.Sam2Model(**changes))
        return bool((await served.sam2.EmbedImage(request, metadata=key)).was_cached)

    assert [await was_cached(AUTHORISED) for _ in range(2)] == [False, True]
    assert [await was_cached(OTHER_KEY) for _ in range(2)] == [False, True]
    assert not await was_cached(OTHER_KEY, model_cfg="sam2.1_hiera_t"), "nor which models they have asked"
    question = sam2_pb2.PredictMasksRequest(image=image_pb2.Image(content=b"click 7"))
    asked.image.content = question.image.content
    await served.sam2.PredictMasks(question, metadata=AUTHORISED)
    assert not await was_cached(OTHER_KEY)
    assert await was_cached(AUTHORISED)


def test_what_a_caller_has_had_answers_about_is_bounded() -> None:
    answered = Answered(most=2)
    for picture_key in ("a", "b", "a", "c"):
        answered.note(ONE, picture_key)
    assert [answered.knows(ONE, picture_key) for picture_key in "abc"] == [True, False, True]
    assert not answered.knows(TWO, "a")


async def test_an_unknown_digest_is_not_found_and_a_malformed_one_is_a_bad_field(served: Running) -> None:
    error = await refusal(served.clip.ExtractFeatures(Request(image=again(b"never")), metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    for digest in ("", "sha256:12", digest_of(b"x").upper(), "md5:" + "0" * 64):
        asked = Request(image=image_pb2.Image(digest=digest))
        error = await refusal(served.clip.ExtractFeatures(asked, metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "image.digest" in violations(error)


async def test_what_cannot_be_decoded_is_not_kept(served: Running) -> None:
    await refusal(served.clip.ExtractFeatures(asking(b"broken x"), metadata=AUTHORISED))
    error = await refusal(served.clip.ExtractFeatures(Request(image=again(b"broken x")), metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_the_status_counts_pictures_kept_and_questions_about_them(served: Running) -> None:
    await served.clip.ExtractFeatures(asking(PROGRAM), metadata=AUTHORISED)
    await served.clip.ExtractFeatures(Request(image=again(PROGRAM)), metadata=AUTHORISED)
    await refusal(served.clip.ExtractFeatures(Request(image=again(b"never")), metadata=AUTHORISED))
    images = (await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)).images
    assert (images.hits, images.misses, images.evictions, images.entries) == (1, 1, 0, 1)
    assert images.size_bytes == len(PROGRAM) + OVERHEAD
    assert images.limit_bytes == 256 << 20


@pytest.mark.parametrize("limit", ["image_cache", "image_cache_per_key"])
async def test_a_limit_of_zero_keeps_nothing_but_digests_are_still_told(limit: str) -> None:
    async with start(**{limit: 0}) as served:
        reply = await served.clip.ExtractFeatures(asking(PROGRAM), metadata=AUTHORISED)
        assert reply.image_digest == digest_of(PROGRAM)
        error = await refusal(served.clip.ExtractFeatures(Request(image=again(PROGRAM)), metadata=AUTHORISED))
        assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_texts_have_no_digest(served: Running) -> None:
    asked = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a"]))
    await served.clip.EncodeText(asked, metadata=AUTHORISED)
    assert (
        await served.model.GetStatus(model_pb2.GetStatusRequest(), metadata=AUTHORISED)
    ).images.entries == 0


def picture(name: str, nbytes: int = 1000 - OVERHEAD) -> Picture:
    return Picture(b"." * nbytes, name)


def kept(store: PictureStore, caller: Caller, names: str) -> str:
    return "".join(name for name in names if store.find(caller, name))


def test_the_picture_longest_unused_goes_first() -> None:
    store = PictureStore(max_bytes=3000)
    caller = Caller("three")
    for name in "abc":
        store.keep(caller, picture(name))
    store.find(caller, "a")
    store.keep(caller, picture("d"))
    assert kept(store, caller, "abcd") == "acd"
    assert (store.nbytes, len(store), store.counts.evictions) == (3000, 3, 1)


def test_a_caller_at_its_limit_displaces_only_its_own_pictures() -> None:
    store = PictureStore(max_bytes=3000)
    store.keep(ONE, picture("a"))
    for name in "xyz":
        store.keep(TWO, picture(name))
    assert kept(store, ONE, "a") == "a"
    assert kept(store, TWO, "xyz") == "yz"


def test_the_server_limit_holds_over_all_callers() -> None:
    store = PictureStore(max_bytes=2000)
    store.keep(ONE, picture("a"))
    store.keep(TWO, picture("b"))
    store.keep(TWO, picture("c"))
    assert kept(store, ONE, "a") == ""
    assert kept(store, TWO, "bc") == "bc"


def test_a_picture_kept_twice_counts_once_and_one_over_the_limit_displaces_nothing() -> None:
    store = PictureStore(max_bytes=2000)
    store.keep(ONE, picture("a"))
    store.keep(ONE, picture("a"))
    store.keep(ONE, picture("b", 2000))
    assert (store.nbytes, kept(store, ONE, "ab")) == (1000, "a")
