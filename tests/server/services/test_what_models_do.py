"""A model may answer less than its family is asked."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from featsvc.catalog import catalog
from featsvc.v1 import clip_pb2
from featsvc.work.operations import ENCODE_TEXT
from tests.server.asking import asking, refusal, violations
from tests.server.conftest import AUTHORISED, Running


async def test_a_model_is_asked_only_what_its_entry_names(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts_alone = {**catalog(), "demo-clip": replace(catalog()["demo-clip"], operations=(ENCODE_TEXT,))}
    monkeypatch.setattr("featsvc.catalog.choice.catalog", lambda: texts_alone)
    texts = clip_pb2.EncodeTextRequest(texts=clip_pb2.Texts(text=["a"]))
    assert (await served.clip.EncodeText(texts, metadata=AUTHORISED)).model == "demo-clip"
    error = await refusal(served.clip.ExtractFeatures(asking(b"say 1"), metadata=AUTHORISED))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    message = (
        "demo-clip answers EncodeText, and not ExtractFeatures: name another model (ListModels shows them)"
    )
    assert violations(error) == {"model.model_name": message}
