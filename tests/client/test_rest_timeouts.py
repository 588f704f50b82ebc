"""How long a caller of the REST functions waits, and the server with it."""

from __future__ import annotations

import base64

import pytest
from featsvc_client import clip_client, errors

from tests.client.rest_service import serving

TEXT = {"text_embedding": base64.b64encode(bytes(16)).decode(), "shape": [4]}


def test_a_silent_service_runs_into_the_timeout() -> None:
    with serving(TEXT) as service:
        service.answer.clear()
        with pytest.raises(errors.DeadlineExceeded, match=r"no answer within 0\.05 s"):
            clip_client.encode_clip_text("a", base_url=service.url, timeout=0.05)


@pytest.mark.parametrize(
    ("timeout", "sent"), [({}, "300.000"), ({"timeout": 900}, "900.000"), ({"timeout": 2.5}, "2.500")]
)
def test_the_server_may_take_as_long_as_the_caller_waits(timeout: dict[str, float], sent: str) -> None:
    with serving(TEXT) as service:
        clip_client.encode_clip_text("a", base_url=service.url, **timeout)
    assert service.timeouts == [sent]
