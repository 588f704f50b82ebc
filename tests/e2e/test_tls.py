"""A server with mutual TLS, asked over both transports by all that ships here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from featsvc_client import AsyncFeatsvcClient, FeatsvcClient, Tls, Unavailable, rest
from featsvc_client.bulk.cli import main as bulk
from featsvc_client.clip_client import encode_clip_text_decoded
from featsvc_client.errors import CallError
from featsvc_client.retry import RetryPolicy

from featsvc.server.commands.cli import main
from featsvc.settings.calls import Requests
from tests.authority import Authority, put
from tests.rest.runners import LONG_S, Log, runner, status_of
from tests.servers import KEY, Server, running, stop

DEFAULT_GRACE_S = Requests.grace
ONCE = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Tls:
    """What a caller needs."""
    pair = authority.client("alice")
    return Tls(authority.file, pair.cert, pair.key)


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pair = authority.server()
    flags: tuple[str, ...] = (
        f"--tls-cert={pair.cert}",
        f"--tls-key={pair.key}",
        f"--tls-client-ca={authority.file}",
    )
    keys = authority.folder / "keys.toml"
    keys.write_text('[keys.alice]\ncertificate = "alice"\n')
    flags += (f"--api-key-file={keys}",)
    log: Path = tmp_path_factory.mktemp("tls") / "log"
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            # Without it gRPC says nothing of handshakes.
            patch.setenv("GRPC_VERBOSITY", "INFO")
            found = stack.enter_context(
                running(log, "up", "--profile=demo", "--devices=cpu", "--preload=", *flags)
            )
        yield found
    rest.POOLS.close()


def words(tls: Tls) -> list[str]:
    """The same as flags."""
    return [f"--tls-ca={tls.ca}", f"--tls-cert={tls.cert}", f"--tls-key={tls.key}"]


def test_both_transports_answer_the_same(server: Server, shown: Tls) -> None:
    with FeatsvcClient(server.target, api_key=KEY, credentials=shown) as client:
        over_grpc = client.encode_text("a red circle").array[0]
    over_rest = encode_clip_text_decoded(
        "a red circle",
        base_url=server.url("clip").replace("http://", "https://"),
        api_key=KEY,
        tls_ca=str(shown.ca),
        tls_cert=str(shown.cert),
        tls_key=str(shown.key),
    )
    assert over_grpc.tolist() == over_rest.tolist()


def test_a_certificate_stands_for_a_key_over_both_transports(server: Server, shown: Tls) -> None:
    with FeatsvcClient(server.target, credentials=shown) as client:
        assert client.encode_text("a red circle").array.shape == (1, 128)
    url = server.url("clip").replace("http://", "https://")
    files = {"tls_ca": str(shown.ca), "tls_cert": str(shown.cert), "tls_key": str(shown.key)}
    assert encode_clip_text_decoded("a red circle", base_url=url, **files).shape == (128,)
    with pytest.raises(CallError, match="API key"):
        encode_clip_text_decoded("a red circle", base_url=url, api_key="wrong", **files)


async def test_asyncio_has_the_same_option(server: Server, shown: Tls) -> None:
    async with AsyncFeatsvcClient(f"grpcs://{server.target}", api_key=KEY, credentials=shown) as client:
        assert (await client.status()).workers


def test_who_trusts_others_or_shows_nothing_gets_no_answer_and_the_log_says_why(
    server: Server, shown: Tls
) -> None:
    for credentials in (Tls(), Tls(shown.ca)):
        with (
            FeatsvcClient(server.target, api_key=KEY, credentials=credentials, retry=ONCE) as client,
            pytest.raises(Unavailable),
        ):
            client.status()
    url = server.url("clip").replace("http://", "https://")
    with pytest.raises(CallError, match=url):
        encode_clip_text_decoded("a", base_url=url, api_key=KEY, tls_ca=str(shown.ca))
    said = (
        "Handshake failed with error",
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "a caller has not agreed on TLS",
    )
    # Lines are written by a thread.
    while not all(words in server.log.read_text() for words in said):
        pass


def test_the_bulk_command_has_the_files_as_flags_and_the_key_from_the_environment(
    server: Server, shown: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATSVC_API_KEY", "wrong")
    asked = ["embed", "docs/scene.jpg", "--out", str(tmp_path), "--quiet"]
    target = ["--target", f"grpcs://{server.target}"]
    assert bulk([*asked, *target, *words(shown)]) == 2
    monkeypatch.setenv("FEATSVC_API_KEY", KEY)
    assert bulk([*asked, *target, *words(shown)]) == 0
    with pytest.raises(SystemExit):
        bulk([*asked, *target, f"--tls-key={shown.key}"])


def test_demo_and_verify_have_them_too(
    server: Server, shown: Tls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(tmp_path / "out.png")
    assert main(["demo", picture, "--target", server.target, *words(shown)]) == 0
    assert picture in capsys.readouterr().out
    assert main(["verify", server.target, "--api-key", "wrong", *words(shown)]) == 2
    assert "API key" in capsys.readouterr().err
    assert main(["demo", picture, "--target", server.target, f"--tls-cert={shown.cert}"]) == 2
    assert "--tls-cert, --tls-key: a certificate to show needs its key" in capsys.readouterr().err


async def test_a_port_that_was_started_apart_reaches_the_gateway_by_tls_and_shows_its_certificate(
    server: Server, shown: Tls, authority: Authority, tmp_path: Path
) -> None:
    """What it shows is its own: a caller who has no key is not taken for it, whom the file of keys names.

    A file that has changed is looked at while it runs.
    """
    renewed = tmp_path / "renewed.pem"
    shutil.copyfile(str(shown.cert), renewed)
    files = zip(("ca", "cert", "key"), (shown.ca, renewed, shown.key), strict=True)
    flags = [f"--grpc-tls-{name}={path}" for name, path in files]
    target, log = f"--grpc-target={server.target}", Log(tmp_path / "log")
    pair = authority.server("port")
    own = (f"--tls-cert={pair.cert}", f"--tls-key={pair.key}", f"--tls-client-ca={authority.file}")
    async with (
        runner(log, "run_clip_server", "--port=0", target, *flags, *own, FEATSVC_GRPC_TARGTE="x") as running,
        httpx.AsyncClient(verify=shown.context(), trust_env=False, timeout=LONG_S) as client,
    ):
        url = running.url("clip", "/encode_text").replace("http:", "https:")
        for headers, status in (({"Authorization": f"Bearer {KEY}"}, 200), ({}, 401)):
            answer = await client.post(url, json={"text": "a"}, headers=headers)
            assert answer.status_code == status, answer.text
        put(renewed, b"no certificate")
        while "changed files of TLS for the gateway cannot be used" not in log.content:
            assert (await client.get(running.url("clip", "/health").replace("http:", "https:"))).is_success
    assert log.content.count("FEATSVC_GRPC_TARGTE is no setting") == 1
    stranger = Authority(tmp_path)
    async with runner(
        log, "run_clip_server", "--port=0", target, f"--grpc-tls-ca={stranger.file}"
    ) as running:
        assert await status_of(running.url("clip", "/encode_text"), KEY) == 503


def test_rest_reaches_the_gateway_by_a_socket_that_nobody_else_can_open(server: Server) -> None:
    children = psutil.Process(server.process.pid).children()
    flags = [word for child in children for word in child.cmdline() if word.startswith("--grpc-target=unix:")]
    path = Path(flags[0].partition("unix:")[2])
    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_server_ends_at_once_though_idle_callers_hold_connections(server: Server, shown: Tls) -> None:
    """Behind all others: callers that read no more would have it wait for its whole grace."""
    url = server.url("clip").replace("http://", "https://")
    with httpx.Client(verify=shown.context(), trust_env=False) as client:
        client.get(f"{url}/health").raise_for_status()
        began = time.monotonic()
        assert stop(server.process) == 0
        assert time.monotonic() - began < DEFAULT_GRACE_S
