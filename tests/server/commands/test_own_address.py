"""Where the gateway lets its own REST shim in."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from featsvc.server.commands.own_address import LOOPBACK, own_address


def test_it_is_a_socket_in_a_folder_of_its_own_which_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with own_address() as address:
        folder = Path(address.removeprefix("unix:")).parent
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address.removeprefix("unix:"))
    assert list(tmp_path.iterdir()) == []


def test_it_is_loopback_where_a_socket_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deep = tmp_path / ("a" * 90)
    deep.mkdir()
    for folder in (deep, tmp_path / "missing"):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(folder))
            with own_address() as address:
                assert address == LOOPBACK
    assert list(deep.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.delattr(socket, "AF_UNIX")
        with own_address() as address:
            assert address == LOOPBACK
    assert caplog.text.count("addresses and certificates of its callers are not known to gRPC") == 3
