"""All pictures of a run in the colours of one basis, which is fitted over some of them."""

from __future__ import annotations

import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from featsvc_client import FeatsvcClient
from featsvc_client.bulk import arguments, cli
from featsvc_client.bulk.basis import Sample
from featsvc_client.bulk.commands import question
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.items import Item
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.bulk.selection import Selection
from featsvc_client.errors import InvalidRequest
from featsvc_client.pictures import Picture
from featsvc_client.window import NO_PICTURE

from featsvc.v1 import clip_pb2, model_pb2
from tests.client.bulk.comparison import NAMES, close
from tests.client.bulk.service import WAIT_S, answer, asked, content, noted, photos, run
from tests.client.gateway import Refusal, answering, field_details
from tests.servers import KEY, Server

COLOURS = ("--ret-pca", "--load-size", "56")
SAMPLE = ("--ret-pca", "--pca-sample")
MOST = 16


def test_the_same_pictures_are_drawn_whatever_their_order(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 12)
    (folder / "0003.png").unlink()
    (folder / "0003.png").symlink_to("gone")
    (folder / "0007.png").write_bytes(b"")
    names = tuple(str(folder / f"{number:04d}.png") for number in range(12))

    def drawn(size: int, seed: int, *given: str) -> list[bytes]:
        return Sample(size, seed).pictures(Inputs(given, 1, tmp_path), threading.Event())

    first = drawn(4, 0, *names)
    assert first == drawn(4, 0, *reversed(names)) == drawn(4, 0, *names[6:], *names[:6])
    assert set(first) < {content(number) for number in range(12)}
    samples = [tuple(drawn(4, seed, *names)) for seed in range(8)]
    assert len(set(samples)) > 4
    assert {len(each) for each in samples} == {4}, "others come in place of what cannot be read"
    assert len(drawn(100, 0, *names)) == 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "ret_pca"),
        (("--ret-pca", "--pca-basis", "pca1:a"), "pca_basis"),
        (("--ret-pca", "--pca-digests", f"sha256:{64 * '0'}"), "pca_digests"),
        (("--ret-pca", "--points", "[[1, 1]]"), "ret_pca"),
    ],
)
def test_what_makes_no_sense_beside_a_sample_is_told_first(words: tuple[str, ...], told: str) -> None:
    asked = arguments.parsed(["extract", "dino", "photos", "--out", "out", "--pca-sample", "3", *words])
    with pytest.raises(InvalidRequest, match=told):
        question(asked.command, asked.parameters, asked.form, sample=asked.sample)


def test_all_pictures_have_the_colours_of_the_sample_also_those_that_come_later(
    demo_server: Server, pictures: Path, out: Path, client: FeatsvcClient, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(pictures, folder)
    (folder / "broken.png").write_bytes(b"no picture")
    server = ("--target", demo_server.target, "--api-key", KEY)

    def run(*more: str) -> int:
        words = ("extract", "dino", str(folder), "--out", str(out), *COLOURS, "--pca-foreground", *more)
        return cli.main([*words, *server])

    assert run("--pca-sample", "3") == 1
    assert "--pca-sample: a picture is left out: " in capsys.readouterr().err
    own, other = (client.dino_features(folder / name, load_size=56) for name in NAMES)
    joint = client.dino_features(
        folder / NAMES[0],
        load_size=56,
        ret_pca=True,
        pca_foreground=True,
        pca_digests=[other.image_digest],
        ret_pca_basis=True,
    )
    assert own.image_digest != other.image_digest
    assert joint.pca_basis is not None

    def check(name: str) -> None:
        shown = client.dino_features(folder / name, load_size=56, ret_pca=True, pca_basis=joint.pca_basis)
        close(np.load(out / "photos" / f"{name}.npy"), shown.array)

    for name in NAMES:
        check(name)
    with closing(Manifest.reading(out / NAME)) as manifest:
        manifest.job = manifest.last_job().number
        assert manifest.basis() == joint.pca_basis
    (folder / "broken.png").unlink()
    shutil.copy(folder / NAMES[0], folder / "later.png")
    assert run("--pca-sample", "3") == 0
    check("later.png")
    assert run("--pca-sample", "2") == 2
    assert "pca_sample: 3 there, 2 now" in capsys.readouterr().err
    assert run("--pca-sample", "100", "--again") == 2
    assert "--pca-sample 100: " in (said := capsys.readouterr().err)
    assert "at most 16 (--max-basis-pictures)" in said


@dataclass
class Keeping:
    """Answers, keeps pictures as a server does, and fits a basis where it has all; or forgets them first."""

    room: int = 1 << 20
    forgets: int = 0
    kept: set[str] = field(default_factory=set)

    def __call__(self, request: Any) -> Any:
        if isinstance(request, model_pb2.GetCallerRequest):
            return model_pb2.GetCallerResponse(limits=model_pb2.CallerLimits(image_cache_per_key=self.room))
        if not isinstance(request, clip_pb2.ClipServiceExtractFeaturesRequest):
            return answer(request)
        digests = request.features.pca_digests
        if len(digests) >= MOST:
            return refusal(grpc.StatusCode.INVALID_ARGUMENT, ("features.pca_digests", "too many"))
        if len(digests) and self.kept and self.forgets:
            self.forgets -= 1
            self.kept.clear()
        if gone := [each for each in digests if each not in self.kept]:
            return refusal(grpc.StatusCode.NOT_FOUND, ("features.pca_digests[0]", f"{gone[0]} is gone"))
        if not digests:
            self.kept.add(Picture(request.image.content).digest)
        reply = answer(request)
        reply.pca_basis = "pca1:basis" if request.features.ret_pca_basis else ""
        return reply


def refusal(code: grpc.StatusCode, *violations: tuple[str, str]) -> Refusal:
    message = "; ".join(": ".join(each) for each in violations)
    return Refusal(code, message, (("grpc-status-details-bin", field_details(*violations)),))


def basis_of(out: Path) -> str:
    with closing(Manifest.reading(out / NAME)) as manifest:
        manifest.job = manifest.last_job().number
        return manifest.basis()


def test_without_a_picture_for_the_basis_none_is_shown_in_another(tmp_path: Path, capsys: Any) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    (folder / "dead.png").symlink_to("gone")
    (folder / "empty.png").write_bytes(b"")
    with answering(Keeping()) as script:
        assert run(script, folder, "--out", out, *SAMPLE, 2) == 2
        assert "--pca-sample: there is no picture that can be read" in capsys.readouterr().err
        assert noted(out) == []
        (folder / "dead.png").unlink()
        (folder / "dead.png").write_bytes(content(0))
        run(script, folder, "--out", out, *SAMPLE, 2)
    assert basis_of(out) == "pca1:basis"
    shown = {
        each.image.content for each in script.requests if hasattr(each, "image") and each.features.pca_basis
    }
    assert shown == {content(0), b""}


def test_ctrl_c_ends_the_pass_that_draws_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stops, read = list[threading.Event](), list[int]()

    def selection(*given: Any) -> Selection:
        stops.append(given[-1])
        return Selection(*given)

    class Source:
        def items(self) -> Iterator[Item]:
            for number in range(9):
                yield Item(str(number), "", lambda number=number: picture(number))  # type: ignore[misc]

    def picture(number: int) -> bytes:
        read.append(number)
        if number == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert stops[0].wait(WAIT_S)
        return content(number)

    monkeypatch.setattr(cli, "Selection", selection)
    monkeypatch.setattr(Inputs, "sources", lambda _: iter([Source()]))
    with answering(Keeping()) as script:
        assert run(script, photos(tmp_path / "photos", 1), "--out", tmp_path / "out", *SAMPLE, 9) == 130
    assert read == [0, 1, 2]


@pytest.mark.parametrize(
    ("size", "room", "told"),
    [
        (MOST + 1, 1 << 20, f"--pca-sample {MOST + 1}: features.pca_digests: too many"),
        (5, 35, "the 5 pictures are 45 bytes, .* it keeps 35 bytes .*--image-cache-per-key"),
    ],
)
def test_a_sample_that_the_server_cannot_take_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: Any, size: int, room: int, told: str
) -> None:
    with answering(Keeping(room=room)) as script:
        assert run(script, photos(tmp_path / "photos", 5), "--out", tmp_path / "out", *SAMPLE, size) == 2
    assert re.search(told, capsys.readouterr().err)
    assert set(asked(script)) == {NO_PICTURE}


@pytest.mark.parametrize(("forgets", "status"), [(1, 0), (2, 2)])
def test_pictures_that_the_server_has_given_up_are_sent_once_more(
    tmp_path: Path, capsys: Any, forgets: int, status: int
) -> None:
    folder, out = photos(tmp_path / "photos", 3), tmp_path / "out"
    with answering(Keeping(forgets=forgets)) as script:
        assert run(script, folder, "--out", out, *SAMPLE, 3) == status
    said = capsys.readouterr().err
    drawn = Counter(
        each.image.content
        for each in script.requests
        if hasattr(each, "image") and not each.features.pca_digests and not each.features.pca_basis
    )
    assert drawn == {content(number): 2 for number in range(3)}
    if status:
        assert all(each in said for each in ("given up", "--image-cache-per-key", "--image-cache for all"))
    else:
        assert basis_of(out) == "pca1:basis"
