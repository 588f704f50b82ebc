"""clip.json says what the installed open_clip says."""

from __future__ import annotations

import logging
import socket

import open_clip
import pytest

from featsvc.catalog import catalog
from featsvc.catalog.clip import TABLE, entries, refused
from featsvc.catalog.generate_clip import generated
from featsvc.engines.clip.model import tokenizer_of


def test_the_checked_in_table_is_fresh(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert TABLE.read_text() == generated()


def test_every_pair_of_open_clip_is_in_the_catalog_or_refused_by_name() -> None:
    for name, tag in open_clip.list_pretrained():
        assert (f"{name}/{tag}" in catalog()) != (name in refused()), (name, tag)


def test_every_listed_model_has_a_tokenizer_that_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise AssertionError("a tokenizer went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    for entry in {each.model_name: each for each in entries()}.values():
        tokens = tokenizer_of(entry)(["a red circle"])
        context = open_clip.get_model_config(entry.model_name)["text_cfg"].get("context_length", 77)
        assert tokens.shape == (1, context), entry.key
        assert tokens.any(), entry.key


def test_models_whose_tokenizer_is_not_here_are_refused_by_name() -> None:
    reason = "its tokenizer needs the transformers package"
    found = {name for name, why in refused().items() if why == reason}
    wanted = {name for name, _ in open_clip.list_pretrained() if "CLIPA" in name or "worldwide" in name}
    assert found == wanted
    assert wanted


def test_weights_of_meta_clip_say_that_they_are_not_for_commerce() -> None:
    of_meta = [each for each in entries() if "metaclip" in each.pretrained]
    assert of_meta
    assert {each.licence for each in of_meta} == {"CC-BY-NC-4.0"}
    others = {each.licence for each in entries() if "metaclip" not in each.pretrained}
    assert others == {"MIT", "Apple Machine Learning Research Model License"}
