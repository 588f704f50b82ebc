"""clip.json says what the installed open_clip says."""

from __future__ import annotations

import logging

import open_clip
import pytest

from featsvc.catalog import catalog
from featsvc.catalog.clip import TABLE, refused
from featsvc.catalog.generate_clip import generated


def test_the_checked_in_table_is_fresh(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert TABLE.read_text() == generated()


def test_every_pair_of_open_clip_is_in_the_catalog_or_refused_by_name() -> None:
    for name, tag in open_clip.list_pretrained():
        assert (f"{name}/{tag}" in catalog()) != (name in refused()), (name, tag)
