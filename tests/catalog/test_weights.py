"""Where weights are looked for, in which order, and what is said when they are nowhere."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from featsvc.catalog import (
    Entry,
    WeightsStatus,
    caches,
    catalog,
    check,
    download,
    entry_of,
    find_weights,
    weights,
)
from featsvc.catalog.download import from_url
from featsvc.catalog.entry import HubFile
from featsvc.errors import WeightsMissing


@dataclass(frozen=True)
class Place:
    """What EngineOptions has of it."""

    weights_dir: str | None = None
    offline: bool = True


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(caches, "TORCH_HUB", tmp_path / "torch")
    monkeypatch.setattr(caches, "CLIP", tmp_path / "clip")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def in_hub(folder: Path, repository: str, name: str) -> Path:
    """A file as huggingface_hub keeps it."""
    model = folder / "hub" / f"models--{repository.replace('/', '--')}"
    put(model / "refs" / "main").write_text("0" * 40)
    return put(model / "snapshots" / ("0" * 40) / name)


PUBLISHED = {
    "sam2.1_hiera_tiny": "sam2.1_hiera_tiny.pt",
    "sam2_hiera_base_plus": "sam2_hiera_base_plus.pt",
    "dinov2_vits14": "dinov2_vits14_pretrain.pth",
    "dinov2_vitg14_reg": "dinov2_vitg14_reg4_pretrain.pth",
    "dino_vits8": "dino_deitsmall8_pretrain.pth",
    "dino_vitb16": "dino_vitbase16_pretrain.pth",
    "vit_base_patch8_224": "vit_base_patch8_224.safetensors",
    "ViT-B-16-quickgelu/openai": "ViT-B-16-quickgelu_openai.pt",
    "ViT-L-14/datacomp_xl_s13b_b90k": "ViT-L-14_datacomp_xl_s13b_b90k.safetensors",
}


@pytest.mark.parametrize("key", list(PUBLISHED))
def test_files_are_found_under_their_publishers_names(tmp_path: Path, key: str) -> None:
    file = put(tmp_path / "weights" / PUBLISHED[key])
    place = Place(str(file.parent))
    assert check(entry_of(key), place) == WeightsStatus(file, "")
    assert find_weights(entry_of(key), place) == file
    other = next(entry for entry in catalog().values() if entry.key not in (key, "demo-clip"))
    assert check(other, Place(str(tmp_path))).file is None or other.weights.bundled


def test_the_folder_comes_before_the_hub_and_the_hub_before_other_caches(tmp_path: Path) -> None:
    entry = entry_of("dinov2_vits14")
    cached = put(tmp_path / "torch" / "dinov2_vits14_pretrain.pth")
    assert check(entry, Place()).file == cached
    hub = in_hub(tmp_path, "timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")
    assert check(entry, Place()).file == hub
    given = put(tmp_path / "weights" / "dinov2_vits14_pretrain.pth")
    assert check(entry, Place(str(given.parent))).file == given


def test_a_file_of_open_clips_own_cache_is_found(tmp_path: Path) -> None:
    entry = entry_of("ViT-B-32/laion400m_e32")
    file = put(tmp_path / "clip" / "vit_b_32-quickgelu-laion400m_e32-46683a32.pt")
    assert check(entry, Place()).file == file
    hub = in_hub(tmp_path, "timm/vit_base_patch32_clip_224.laion400m_e32", "open_clip_model.safetensors")
    assert check(entry, Place()).file == hub


def test_demo_weights_are_there_at_once() -> None:
    for name in ("demo-clip", "demo-dino", "demo-sam2"):
        assert check(entry_of(name), Place()).file


def test_who_looks_again_makes_no_names_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, place = list(catalog().values()), Place(str(tmp_path))
    of_url, of_hub, in_folder = (entry_of(key) for key in ("dino_vits8", "dino_vitb16", "dinov2_vitb14"))
    files = [
        put(tmp_path / in_folder.weights.file_names[0]),
        put(tmp_path / "torch" / of_url.weights.url.rpartition("/")[2]),
        in_hub(tmp_path, of_hub.weights.hub[0].repository, of_hub.weights.hub[0].name),
    ]
    found = [check(entry, place).file for entry in entries]
    assert {*files} <= {*found}
    made, kept = list[str](), {file.name for entry in entries for file in entry.weights.hub}
    assert all(sys.intern(name) is name for name in kept)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "intern", lambda name: made.append(name) or name)  # pathlib's, for each name
        again = [check(entry, place).file for entry in entries]
    assert again == found
    assert {*made} <= kept


def test_missing_weights_name_the_file_and_the_download_and_no_path(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "secret"))
    for key in PUBLISHED:
        entry = entry_of(key)
        with pytest.raises(WeightsMissing) as caught:
            find_weights(entry, place)
        message = caught.value.message
        assert entry.weights.file_names[0] in message
        assert f"featsvc models pull {key}" in message
        assert "hf.co/" in message
        assert str(tmp_path) not in message
        assert check(entry, place).missing in message


def test_a_download_is_tried_only_where_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(entry: Entry) -> Path:
        asked.append(entry.key)
        return put(tmp_path / "fetched")

    monkeypatch.setattr(weights, "download", fetch)
    with pytest.raises(WeightsMissing):
        find_weights(entry_of("dino_vits16"), Place(offline=True))
    assert asked == []
    assert find_weights(entry_of("dino_vits16"), Place(offline=False)) == tmp_path / "fetched"
    assert asked == ["dino_vits16"]


@pytest.mark.parametrize("is_right", [True, False])
def test_a_file_of_the_hub_has_the_checksum_by_which_the_hub_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_right: bool
) -> None:
    content = BODY if is_right else BODY[:-1] + b"?"
    blob = tmp_path / "blobs" / hashlib.sha256(BODY).hexdigest()
    named = tmp_path / "snapshots" / "model.safetensors"
    for path in (blob, named):
        path.parent.mkdir()
    blob.write_bytes(content)
    named.symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(named))
    if is_right:
        assert download.from_hub(HubFile("a/b", named.name)) == named
        return
    with pytest.raises(download.BadDownload, match="checksum"):
        download.from_hub(HubFile("a/b", named.name))
    assert not blob.exists()
    assert not named.is_symlink(), "it is fetched again next time"


def test_a_full_disk_is_told_as_one_and_without_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/weights")

    monkeypatch.setattr(download, "hub_answers", lambda: True)
    monkeypatch.setattr(download, "from_hub", full)
    monkeypatch.setattr(download, "from_url", full)
    for key in ("dinov2_vits14", "sam2.1_hiera_tiny"):
        with pytest.raises(WeightsMissing, match="No space left on device") as caught:
            download.download(entry_of(key))
        assert "/secret" not in caught.value.message


BODY = bytes(range(256)) * 5000


class Files(http.server.BaseHTTPRequestHandler):
    """Serves BODY; /short announces more than it sends."""

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) + (10 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_whole_download_takes_its_name(site: str, tmp_path: Path) -> None:
    checksum = hashlib.sha256(BODY).hexdigest()
    for sha256 in ("", checksum[:8], checksum):
        file = from_url(f"{site}/net.pth", sha256, tmp_path / "new")
        assert file.read_bytes() == BODY
        assert [each.name for each in file.parent.iterdir()] == ["net.pth"]


@pytest.mark.parametrize(("path", "sha256"), [("net.pth", "0" * 8), ("short", ""), ("missing", "")])
def test_a_bad_download_leaves_nothing_behind(site: str, tmp_path: Path, path: str, sha256: str) -> None:
    with pytest.raises((OSError, download.BadDownload)):
        from_url(f"{site}/{path}", sha256, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "sha256", "told"),
    [
        ("net.pth", "0" * 8, "the checksum of what came begins with [0-9a-f]{8}, not 00000000"),
        ("short", "", f"the download ended after {len(BODY)} of {len(BODY) + 10} bytes"),
        ("missing", "", "status 404"),
    ],
)
def test_a_caller_hears_what_was_wrong_with_a_download(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, sha256: str, told: str
) -> None:
    monkeypatch.setattr(caches, "TORCH_HUB", tmp_path)
    monkeypatch.setattr(download, "hub_answers", lambda: False)
    entry = entry_of("sam2.1_hiera_tiny")
    changed = replace(entry, weights=replace(entry.weights, url=f"{site}/{path}", sha256=sha256))
    with pytest.raises(WeightsMissing, match=f"/{path}: {told}") as caught:
        download.download(changed)
    assert str(tmp_path) not in caught.value.message


def test_of_several_that_want_a_file_at_once_one_fetches_it(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    real, began = download._fetched, threading.Barrier(4)

    def counted(url: str, sha256: str, target: Path) -> Path:
        fetched.append(url)
        return real(url, sha256, target)

    monkeypatch.setattr(download, "_fetched", counted)

    def fetch(_: int) -> Path:
        began.wait()
        return from_url(f"{site}/net.pth", "", tmp_path)

    with ThreadPoolExecutor(3) as threads, download._alone(tmp_path / ".net.pth.lock"):
        files = [threads.submit(fetch, number) for number in range(3)]
        began.wait()  # all are on their way while the lock is held
    assert {each.result().read_bytes() == BODY for each in files} == {True}
    assert len(fetched) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["net.pth"]
