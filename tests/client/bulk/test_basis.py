"""All pictures of a run in the colours of one basis, which is fitted over some of them."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featsvc_client import FeatsvcClient
from featsvc_client.bulk import arguments, cli
from featsvc_client.bulk.basis import Sample
from featsvc_client.bulk.commands import question
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.manifest import NAME, Manifest
from featsvc_client.errors import InvalidRequest

from tests.client.bulk.comparison import NAMES, close
from tests.client.bulk.service import content, photos
from tests.servers import KEY, Server

COLOURS = ("--ret-pca", "--load-size", "56")


def test_the_same_pictures_are_drawn_whatever_their_order(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 12)
    (folder / "0003.png").unlink()
    (folder / "0003.png").symlink_to("gone")
    names = tuple(str(folder / f"{number:04d}.png") for number in range(12))

    def drawn(size: int, seed: int, *given: str) -> list[bytes]:
        return Sample(size, seed).pictures(Inputs(given, 1, tmp_path))

    first = drawn(4, 0, *names)
    assert first == drawn(4, 0, *reversed(names)) == drawn(4, 0, *names[6:], *names[:6])
    assert set(first) < {content(number) for number in range(12)}
    assert len({tuple(drawn(4, seed, *names)) for seed in range(8)}) > 4
    assert len(drawn(100, 0, *names)) == 11, "what cannot be read is left out"


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
