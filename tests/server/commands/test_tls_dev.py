"""`featsvc keys tls-dev`: certificates for trying."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from featsvc.certificates import CertificateFiles, ServerCertificate
from featsvc.server.commands.cli import main


def test_it_makes_files_that_a_server_and_callers_can_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "tls"
    assert (
        main(["keys", "tls-dev", str(folder), "--host=box.example.com", "--client=alice", "--client=bob"])
        == 0
    )
    told = capsys.readouterr().out
    assert f"--tls-cert {folder}/server.pem --tls-key {folder}/server.key" in told
    assert (
        f"--tls-ca {folder}/ca.pem --tls-cert {folder}/alice.pem --tls-key {folder}/alice.key --api-key smfeats\n"
        in told
    )
    assert 'without --api-key where its file of keys has an entry with certificate = "alice"' in told
    names = ("server", "alice", "bob")
    assert {each.name for each in folder.iterdir()} == {
        "ca.pem", *(f"{name}.{kind}" for name in names for kind in ("pem", "key"))
    }  # fmt: skip
    for name in names:
        assert (folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
        ServerCertificate(CertificateFiles(*(str(folder / f"{name}.{kind}") for kind in ("pem", "key"))))
    assert ssl.create_default_context(cafile=folder / "ca.pem").get_ca_certs()


def test_it_takes_the_place_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "server.pem").write_text("mine")
    assert main(["keys", "tls-dev", str(tmp_path)]) == 2
    assert "server.pem is there already: name another folder" in capsys.readouterr().err
    assert (tmp_path / "server.pem").read_text() == "mine"
