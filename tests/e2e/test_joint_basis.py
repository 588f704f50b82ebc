"""Components of several pictures together, over both transports: the same colours whichever is asked about."""

from __future__ import annotations

import numpy as np
import pytest
from featsvc_client import clip_client, dino_client, errors
from featsvc_client.pictures import Picture
from featsvc_client.tensors import decoded

from tests.e2e.transports import Grpc, Rest, Transport

ASKED = {"load_size": 98, "ret_pca": True}
NOBODY = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("family", ["clip", "dino"])
def test_two_pictures_have_one_basis_over_both_transports(
    family: str, picture: bytes, other_picture: bytes, over_rest: Rest, over_grpc: Grpc
) -> None:
    functions = {"clip": clip_client.extract_clip_features, "dino": dino_client.extract_dino_features}
    operation, names = f"{family}_features", [Picture(each).digest for each in (picture, other_picture)]
    alone = [over_grpc.ask(operation, each, ASKED)["array"] for each in (picture, other_picture)]
    first = functions[family](
        picture, **ASKED, pca_digests=names[1:], ret_pca_basis=True, **over_rest.at(family)
    )
    own = decoded(first["features"], first["shape"])
    assert np.abs(own - alone[0]).max() > 0.05
    both = {**ASKED, "pca_digests": names}
    np.testing.assert_array_equal(over_grpc.ask(operation, picture, both)["array"], own)
    second = over_grpc.ask(operation, other_picture, both)["array"]
    by_name = {**ASKED, "pca_basis": first["pca_basis"]}
    np.testing.assert_array_equal(over_rest.ask(operation, other_picture, by_name)["array"], second)


def test_all_pictures_that_are_gone_are_named_by_their_fields(picture: bytes, transport: Transport) -> None:
    gone = [f"sha256:{each:064}" for each in range(8, 0, -1)]
    named = [gone[0], Picture(picture).digest, *gone[1:]]
    with pytest.raises(errors.PictureNotFound, match=gone[0]) as caught:
        transport.ask("dino_features", picture, {**ASKED, "pca_digests": named})
    violations = caught.value.violations
    fields = [f"pca_digests[{each}]" for each in (0, *range(2, 9))]
    assert [each.field.removeprefix("features.") for each in violations] == fields
    assert [each.message.split()[0] for each in violations] == gone


def test_what_is_wrong_is_told_in_the_names_of_rest(picture: bytes, over_rest: Rest) -> None:
    many = {**ASKED, "pca_digests": [f"sha256:{each:064}" for each in range(16)]}
    with pytest.raises(errors.InvalidRequest, match="--max-basis-pictures") as caught:
        over_rest.ask("dino_features", picture, many)
    assert [each.field for each in caught.value.violations] == ["pca_digests"]
    with pytest.raises(errors.InvalidRequest, match="exclude each other"):
        over_rest.ask("dino_features", picture, {**ASKED, "pca_digests": [NOBODY], "pca_basis": "x"})
