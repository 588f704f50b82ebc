"""Which key the Python client sends where its caller says nothing of it."""

from __future__ import annotations

import pytest
from featsvc_client import Tls, channel
from featsvc_client.bulk.cli import main

BY_DEFAULT = channel.ByDefault.KEY
SHOWN = Tls(cert="client.pem", key="client.key")


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATSVC_API_KEY", raising=False)


def test_the_key_is_that_of_the_call_or_of_the_environment_or_none_beside_a_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keys() -> list[str | None]:
        asked = (("mine", None), (BY_DEFAULT, None), (BY_DEFAULT, SHOWN), (None, None))
        return [channel.chosen(given, credentials) for given, credentials in asked]

    assert keys() == ["mine", "smfeats", None, None]
    monkeypatch.setenv("FEATSVC_API_KEY", "ours,others")
    assert keys() == ["mine", "ours", "ours", None]
    monkeypatch.setenv("FEATSVC_API_KEY", "")
    assert keys() == ["mine", "smfeats", None, None]


def test_the_command_names_a_variable_that_only_looks_like_that_of_the_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Those of servers are none of its business.
    monkeypatch.setenv("FEATSVC_API_KEY_FILE", "keys.toml")
    monkeypatch.setenv("FEATSVC_APIKEY", "a-secret")
    assert main(["embed", "missing.jpg", "--out=out", "--target=http://localhost:1"]) == 2
    told = capsys.readouterr().err
    assert "FEATSVC_APIKEY is not read: did you mean FEATSVC_API_KEY?" in told
    assert "keys.toml" not in told
    assert "a-secret" not in told
