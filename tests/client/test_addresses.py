"""Addresses that people give the clients by mistake are told with what would be right."""

from __future__ import annotations

import pytest
from featsvc_client import FeatsvcClient, Tls, clip_client, errors
from featsvc_client.bulk.cli import main
from featsvc_client.channel import checked

from tests.client.gateway import answering
from tests.client.rest_service import serving


@pytest.mark.parametrize(
    ("target", "suggested"),
    [
        ("http://localhost:50051", "'localhost:50051'"),
        ("https://example.com/", "'example.com:50051'"),
        ("HTTP://[::1]:8096/docs", "'[::1]:8096'"),
        ("localhost", "'localhost:50051'"),
        ("[::1]", "'[::1]:50051'"),
    ],
)
def test_what_is_no_address_of_a_grpc_server_is_refused_with_one(target: str, suggested: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="HOST:PORT") as caught:
        FeatsvcClient(target)
    assert suggested in caught.value.message


@pytest.mark.parametrize("target", ["localhost:1", "[::1]:1", "dns:///example.com", "unix:/tmp/socket"])
def test_other_addresses_are_left_to_grpc(target: str) -> None:
    assert checked(target) == target
    assert checked("example.com", has_tls=True) == "example.com", "TLS has a port of its own"


def test_an_address_may_say_whether_it_is_tls() -> None:
    for target in ("grpc://127.0.0.1:1", "grpcs://127.0.0.1:1/", "GRPCS://example.com"):
        FeatsvcClient(target).close()
    FeatsvcClient("grpcs://127.0.0.1:1", credentials=Tls()).close()
    with pytest.raises(errors.InvalidRequest, match="without TLS: write it with grpcs://"):
        FeatsvcClient("grpc://127.0.0.1:1", credentials=Tls())
    with pytest.raises(errors.InvalidRequest, match="has no port"):
        FeatsvcClient("grpc://localhost")
    with pytest.raises(FileNotFoundError):
        FeatsvcClient("127.0.0.1:1", credentials=Tls(ca="missing.pem"))
    with pytest.raises(ValueError, match="give both files"):
        Tls(cert="client.pem")


def test_a_rest_port_is_told_from_a_grpc_server_at_once() -> None:
    with (
        serving({"status": "healthy"}) as service,
        FeatsvcClient(service.url.removeprefix("http://")) as client,
        pytest.raises(errors.Unavailable, match="give the gRPC port") as caught,
    ):
        client.status()
    assert caught.value.reason, "another try would end alike"


def test_the_bulk_command_ends_at_once_at_a_rest_port(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("bulk")
    (folder / "a.png").write_bytes(b"x" * 99)
    with serving({"status": "healthy"}) as service:
        target = service.url.removeprefix("http://")
        words = ["embed", str(folder / "a.png"), "--out", str(folder / "out"), "--target", target]
        assert main(words) == 2
    assert "give the gRPC port" in capsys.readouterr().err


def test_a_grpc_port_is_told_from_a_rest_service() -> None:
    with answering() as script, pytest.raises(errors.CallError, match="is it the gRPC port"):
        clip_client.encode_clip_text("a", base_url=f"http://{script.target}")
