"""`featsvc keys tls-dev`: certificates for trying."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

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
    names = ("ca", "server", "alice", "bob")
    assert {each.name for each in folder.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("pem", "key")
    }
    for name in names:
        assert (folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
        ServerCertificate(CertificateFiles(*(str(folder / f"{name}.{kind}") for kind in ("pem", "key"))))
    assert ssl.create_default_context(cafile=folder / "ca.pem").get_ca_certs()


def test_it_takes_the_place_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "server.pem").write_text("mine")
    assert main(["keys", "tls-dev", str(tmp_path)]) == 2
    assert "server.pem is there already: take another name, or another folder" in capsys.readouterr().err
    assert [each.read_text() for each in tmp_path.iterdir()] == ["mine"]


def test_a_further_caller_has_a_certificate_of_the_authority_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(*words: str) -> tuple[int, str]:
        code, told = main(["keys", "tls-dev", str(tmp_path), *words]), capsys.readouterr()
        return code, told.out + told.err

    assert made("--client=alice")[0] == 0
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert made("--client=bob") == (0, f"{tmp_path} has certificates for bob now, for 365 days.\n")
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert after.keys() - before.keys() == {"bob.pem", "bob.key"}
    assert after | before == after
    authority = x509.load_pem_x509_certificate(after["ca.pem"])
    x509.load_pem_x509_certificate(after["bob.pem"]).verify_directly_issued_by(authority)
    for words, told in (
        (("--client=bob",), "bob.pem is there already"),
        (("--client=ca",), "ca.pem is there already"),
        (("--client=carol", "--host=box"), "name another folder for --host"),
    ):
        code, said = made(*words)
        assert (code, told in said) == (2, True), said
    (tmp_path / "ca.key").unlink()
    code, said = made("--client=carol")
    assert (code, "its key, ca.key, cannot be used" in said) == (2, True), said
    assert {each.name for each in tmp_path.iterdir()} == after.keys() - {"ca.key"}


@pytest.mark.parametrize("name", ["ca", "server"])
def test_a_caller_does_not_take_the_name_of_another_file(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "tls-dev", str(tmp_path), f"--client={name}"]) == 2
    assert f"--client {name}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
