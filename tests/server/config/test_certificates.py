"""The certificate of the server: its files, what is wrong with them, and their change while it runs."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from featsvc.certificates import CertificateFiles, ServerCertificate, server_certificate
from featsvc.children import at_work
from featsvc.errors import InvalidArgument
from tests.authority import Authority, put
from tests.server.conftest import heard


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def read(cert: Path | str, key: Path | str = "", client_ca: Path | str = "") -> ServerCertificate:
    return ServerCertificate(CertificateFiles(str(cert), str(key), str(client_ca)))


def test_certificate_and_key_may_be_one_file(authority: Authority) -> None:
    pair = authority.server()
    both = authority.folder / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
    identity = read(both).now()
    assert identity.key == identity.chain == both.read_bytes()
    assert identity.context.verify_mode is ssl.CERT_NONE


def test_callers_must_show_a_certificate_where_authorities_are_named(authority: Authority) -> None:
    pair = authority.server()
    identity = read(pair.cert, pair.key, authority.file).now()
    assert identity.authorities == authority.file.read_bytes()
    assert identity.context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cert": "missing"}, r"tls_cert: .*missing cannot be read: No such file"),
        ({"cert": "junk"}, r"tls_cert: .*junk holds no certificate in PEM form"),
        ({"cert": "broken"}, r"tls_cert: .*broken and its key cannot be used: "),
        ({"key": ""}, r"tls_cert: .*server.pem holds no private key in PEM form; give its file by --tls-key"),
        ({"key": "missing"}, r"tls_key: .*missing cannot be read: No such file"),
        ({"key": "junk"}, r"tls_key: .*junk holds no private key in PEM form"),
        ({"key": "other.key"}, r"tls_key: .*other.key is not the key of the certificate in .*server.pem"),
        ({"key": "secret"}, r"tls_key: .*secret has a password, .*: write the key without it"),
        ({"client_ca": "missing"}, r"tls_client_ca: .*missing cannot be read: No such file"),
        ({"client_ca": "junk"}, r"tls_client_ca: .*junk holds no certificates in PEM form"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_setting(
    authority: Authority, wrong: dict[str, str], told: str
) -> None:
    folder, pair = authority.folder, authority.server()
    authority.server("other")
    (folder / "junk").write_bytes(b"no PEM")
    (folder / "broken").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    form = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    (folder / "secret").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    files = {"cert": "server.pem", "key": "server.key", "client_ca": "", **wrong}
    with pytest.raises(InvalidArgument, match=told):
        read(**{name: folder / file if file else "" for name, file in files.items()})


@pytest.mark.parametrize("name", ["tls_key", "tls_client_ca"])
def test_a_key_or_authorities_without_a_certificate_are_refused(name: str) -> None:
    settings = {"tls_cert": "", "tls_key": "", "tls_client_ca": ""}
    assert server_certificate(**settings) is None
    with pytest.raises(InvalidArgument, match=f"{name}: a file is of no use without --tls-cert"):
        server_certificate(**{**settings, name: "a file"})


def test_a_new_certificate_is_read_once_and_a_broken_one_is_told_once(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.server()
    certificate = read(pair.cert, pair.key)
    first = certificate.now()
    assert certificate.now() is first
    authority.server()
    second = certificate.now()
    assert second.chain == pair.cert.read_bytes() != first.chain
    for content in (b"no PEM", b"no PEM either"):
        put(pair.cert, content)
        with caplog.at_level(logging.ERROR):
            assert [certificate.now() for _ in range(3)] == [second] * 3
        (record,) = caplog.records
        assert "the old ones stay: tls_cert: " in record.getMessage()
        caplog.clear()
    pair.key.unlink()
    assert certificate.now() is second
    authority.server()
    assert certificate.now().chain == pair.cert.read_bytes()


def test_an_authority_that_is_taken_out_is_trusted_no_more(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "second").mkdir()
    pair, other = authority.server(), Authority(tmp_path / "second")
    certificate = read(pair.cert, pair.key, authority.file)
    assert len(certificate.now().context.get_ca_certs()) == 1
    before = certificate.now().context.get_ca_certs()
    put(authority.file, other.file.read_bytes())
    with caplog.at_level(logging.INFO):
        after = certificate.now().context.get_ca_certs()
    (record,) = caplog.records
    assert vars(record)["tls_client_ca"] == str(authority.file)
    assert "tls_cert" not in vars(record), "it names what has changed alone"
    assert len(after) == 1
    assert after != before


async def test_a_certificate_that_ends_soon_is_warned_of_again_and_a_new_one_at_once(
    authority: Authority,
) -> None:
    now = datetime.now(UTC)
    pair = authority.server(end=now + timedelta(days=15))
    certificate = read(pair.cert, pair.key)
    async with heard("featsvc.certificates") as lines:

        async def told() -> dict[str, Any]:
            """The next line about its end."""
            while "days_left" not in (line := await lines.get()):
                pass
            return line

        async with at_work(certificate.watch(look_s=0.001)):
            authority.server(end=now + timedelta(days=13, hours=12))
            first = await told()
            authority.server(end=now - timedelta(days=1))
            second = await told()
        assert (first["level"], first["message"]) == ("warning", "the certificate expires soon")
        assert (first["tls_cert"], first["days_left"]) == (str(pair.cert), pytest.approx(13.5, abs=0.1))
        assert (second["level"], second["days_left"]) == ("error", pytest.approx(-1, abs=0.1))
        async with at_work(certificate.watch(look_s=0.001, again_s=0.0)):
            assert [(await told())["level"] for _ in range(3)] == ["error"] * 3


def test_of_a_chain_the_first_end_counts(authority: Authority) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    early, late = authority.server("early", end), authority.server()
    put(late.cert, late.cert.read_bytes() + early.cert.read_bytes())
    assert read(late.cert, late.key).ends_at == end.timestamp()
