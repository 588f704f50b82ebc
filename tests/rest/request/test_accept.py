"""Which form a reply has, by the Accept header."""

from __future__ import annotations

import pytest

from rest_shim.errors import HttpError
from rest_shim.request.accept import Form, accepted

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (None, Form.JSON),
        ("", Form.JSON),
        ("*/*", Form.JSON),
        ("application/*", Form.JSON),
        ("application/json", Form.JSON),
        ("text/html", Form.JSON),
        (BROWSER, Form.JSON),
        (JAVA, Form.JSON),
        ("nonsense;;q=x,,", Form.JSON),
        ("application/octet-stream", Form.OCTETS),
        ("Application/Octet-Stream ; q=0.4", Form.OCTETS),
        ("application/x-npy", Form.NPY),
        ("application/x-npy, */*", Form.NPY),
        ("application/octet-stream, */*;q=0.1", Form.OCTETS),
        ("application/octet-stream;q=0.5, application/x-npy;q=0.9", Form.NPY),
        ("application/json;q=0.5, application/octet-stream", Form.OCTETS),
        ("application/json, application/octet-stream;q=0.9", Form.JSON),
        ("application/json, application/octet-stream", Form.JSON),
        ("application/octet-stream;q=0", Form.JSON),
        ("application/octet-stream;q=0.0, */*", Form.JSON),
        ("application/octet-stream;charset=binary;q=1.000", Form.OCTETS),
    ],
)
def test_json_is_answered_unless_bytes_are_asked_for_by_name(header: str | None, form: Form) -> None:
    assert accepted(header, raw=True) is form


@pytest.mark.parametrize(
    "header", ["application/octet-stream", "application/x-npy", "application/x-npy, text/html"]
)
def test_bytes_alone_are_refused_where_a_reply_is_more_than_one_tensor(header: str) -> None:
    with pytest.raises(HttpError) as refused:
        accepted(header, raw=False)
    assert refused.value.status == 406
    assert "application/json" in str(refused.value.detail)


@pytest.mark.parametrize("others", ["*/*", "application/json;q=0.1", "application/*;q=0.2", BROWSER])
def test_who_would_also_take_json_gets_it_there(others: str) -> None:
    assert accepted(f"application/octet-stream, {others}", raw=False) is Form.JSON
