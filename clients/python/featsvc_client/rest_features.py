"""Features that a REST service sent, in whatever form, as an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from featsvc_client import tensors
from featsvc_client.arguments import channels_first
from featsvc_client.errors import damaged
from featsvc_client.rest import Raw


def rest_features(reply: Raw | dict[str, object], arguments: Mapping[str, object]) -> NDArray[np.float32]:
    """The features as float32, of an answer to these arguments."""
    try:
        sent, rounding = (
            _of_bytes(reply) if isinstance(reply, Raw) else _of_json(cast("dict[str, Any]", reply))
        )
    except (KeyError, TypeError) as error:
        raise damaged(f"no features: {error!r}") from error
    return tensors.features(sent, rounding, channels_first=channels_first(arguments))


# Any: JSON.
def _of_bytes(reply: Raw) -> tuple[NDArray[np.generic], Mapping[str, Any] | None]:
    headers = reply.headers
    shape = tensors.from_json(headers["x-featsvc-shape"])
    sent = tensors.elements(reply.data, shape, headers["x-featsvc-dtype"])
    rounding = headers.get("x-featsvc-rounding")
    return sent, None if rounding is None else tensors.from_json(rounding)


def _of_json(reply: Mapping[str, Any]) -> tuple[NDArray[np.generic], Mapping[str, Any] | None]:
    data = tensors.content(reply["features"])
    return tensors.elements(data, reply["shape"], reply.get("dtype", "float32")), reply.get("rounding")
