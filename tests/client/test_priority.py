"""The clients say how urgent a call is, and nothing where it is as usual."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from featsvc_client import clip_client, errors

from featsvc.codec.priority import HEADER
from tests.client.conftest import Ask
from tests.client.gateway import answering
from tests.client.rest_service import serving
from tests.client.samples import TEXTS
from tests.client.streaming import Streamed, echo, picture


@pytest.mark.parametrize(("said", "sent"), [({}, None), ({"priority": 0}, None), ({"priority": -9}, "-9")])
def test_a_call_says_it(asked: Ask, said: dict[str, Any], sent: str | None) -> None:
    with answering(TEXTS) as script:
        asked(script.target, "encode_text", "a", **said)
    assert script.metadata[0].get(HEADER) == sent


def test_a_stream_says_it_for_all_its_questions(streamed: Streamed) -> None:
    with answering(echo) as script:
        assert len(streamed(script.target, "stream_clip_features", [picture(1)], priority=3)) == 1
    assert script.metadata[0][HEADER] == "3"


@pytest.mark.parametrize("wrong", [10, -10, 1.5, "high"])
def test_what_is_none_is_refused_before_anything_is_sent(asked: Ask, wrong: Any) -> None:
    with answering(TEXTS) as script:
        with pytest.raises(errors.InvalidRequest, match=r"priority: .* whole number from -9 to 9"):
            asked(script.target, "encode_text", "a", priority=wrong)
        assert script.requests == []


@pytest.mark.parametrize(("said", "sent"), [({}, None), ({"priority": 7}, "7")])
def test_the_documented_functions_say_it_too(said: dict[str, int], sent: str | None) -> None:
    with serving({"text_embedding": base64.b64encode(bytes(16)).decode(), "shape": [4]}) as service:
        clip_client.encode_clip_text("a", base_url=service.url, **said)
    assert service.priorities == [sent]
