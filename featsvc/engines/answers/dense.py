"""The operations that answer dense features, alike for all networks that have some."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from PIL.Image import Image
from torch import Tensor

from featsvc.engines.answers.feature_reply import FeatureParams, Known, feature_reply
from featsvc.engines.answers.feature_size import TOGETHER, FeatureKind, check_features, check_together
from featsvc.engines.answers.joint_basis import BasisCache, JointFit, basis_key, in_order
from featsvc.engines.decoding.pictures import decoded
from featsvc.engines.geometry.sizing import NetworkInput
from featsvc.engines.networks.cost import check_pictures
from featsvc.engines.running.family import Prepared, alone, picture_key
from featsvc.engines.running.homeward import Later, all_of
from featsvc.engines.running.steps import step
from featsvc.errors import InvalidFields, invalid_field
from featsvc.work.item import FeaturesItem, PictureItem
from featsvc.work.options import EngineOptions
from featsvc.work.results import Features, Geometry


class FeaturePass(Protocol):
    """The networks of a request, and what they make of pictures."""

    @property
    def channels(self) -> int:
        """Of each cell."""

    @property
    def space(self) -> str:
        """Name of the space that the features are in."""

    @property
    def identity(self) -> Hashable:
        """Equal for networks that give the same answers."""

    def geometry(self, picture: Image, options: EngineOptions) -> Geometry:
        """How the grid will lie on the picture; raises InvalidFields where that is too large."""

    def flop(self, picture: Image, options: EngineOptions) -> float:
        """What the pass costs; raises InvalidFields where that is too much."""

    def input(self, picture: Image) -> NetworkInput:
        """The picture as the networks see it."""

    def pixels(self, ready: NetworkInput) -> int:
        """What the pass takes of the memory, for the batch budget."""

    def features(self, inputs: Sequence[NetworkInput]) -> Iterable[Tensor]:
        """Features h x w x D, float32, of each of several pictures of one size."""


@dataclass(frozen=True)
class PreparedFeatures(Prepared):
    """A picture whose dense features are wanted."""

    input: NetworkInput
    known: Known
    fit: JointFit | None = None
    """The basis that its components are to be in, where that is fitted over several pictures."""


def prepared_features(
    bases: BasisCache, item: FeaturesItem, params: FeatureParams, dense: FeaturePass, options: EngineOptions
) -> PreparedFeatures:
    """Decodes and fits the picture, and those that its components are taken of with it."""
    picture = decoded(item, options)
    geometry = dense.geometry(picture.pixels, options)
    known = check_features(geometry, FeatureKind(dense.channels, dense.space), params, options, item.way)
    flop, ready = dense.flop(picture.pixels, options), dense.input(picture.pixels)
    # With others no byte may depend on what shares a pass: neither of the basis, nor of the picture in it.
    key = alone() if params.pca_digests else picture_key(ready.shape, options)
    prepared = PreparedFeatures(key, dense.pixels(ready), flop, ready, known, orientation=picture.orientation)
    if not params.pca_digests:
        return prepared
    of_basis = basis_key(item, params, dense.identity)
    fit = bases.fits.get(of_basis)
    if basis := bases.find(of_basis) or (fit and fit.made):
        return replace(prepared, known=known._replace(basis=basis))
    if fit is None:
        made = _Together(params, dense, options)
        inputs = tuple(made.picture(each, prepared if each is item else None) for each in in_order(item))
        fit = JointFit(bases, of_basis, inputs, max(map(dense.pixels, inputs)), made.flop)
        bases.fits[of_basis] = fit
    return replace(prepared, pixels=max(prepared.pixels, fit.pixels), flop=fit.flop, fit=fit)


class _Together:
    """Makes pictures ready one after the other, as long as they are not too much together."""

    def __init__(self, params: FeatureParams, dense: FeaturePass, options: EngineOptions) -> None:
        self._params = params
        self._dense = dense
        self._options = options
        self._geometries: list[Geometry] = []
        self.flop = 0.0

    def picture(self, item: PictureItem, known: PreparedFeatures | None) -> NetworkInput:
        """A picture as the networks see it, which may be known; raises InvalidFields where it is too much."""
        dense, options = self._dense, self._options
        if known is not None:
            self._count(known.known.geometry, known.flop)
            return known.input
        step()
        with _named(item):
            picture = decoded(item, options).pixels
            geometry, flop = dense.geometry(picture, options), dense.flop(picture, options)
        self._count(geometry, flop)
        with _named(item):
            return dense.input(picture)

    def _count(self, geometry: Geometry, flop: float) -> None:
        self._geometries.append(geometry)
        self.flop += flop
        check_together(self._geometries, self._dense.channels, self._params, self._options)
        check_pictures(len(self._geometries), self.flop, TOGETHER, self._options)


@contextmanager
def _named(item: PictureItem) -> Iterator[None]:
    """Within the block what is wrong with a further picture is told of the field that names it."""
    try:
        yield
    except InvalidFields as error:
        told = "; ".join(f"{each.field.removeprefix('params.')} {each.message}" for each in error.violations)
        raise invalid_field(TOGETHER, f"{item.digest}: {told}") from None


def features_of(
    batch: Sequence[PreparedFeatures], params: FeatureParams, dense: FeaturePass
) -> list[Later[Features]]:
    """Dense features of pictures of one size."""
    outputs = dense.features([each.input for each in batch])
    answers = (
        feature_reply(own, _known(item, own, params, dense), params)
        for own, item in zip(outputs, batch, strict=True)
    )
    return all_of(answers)


def _known(item: PreparedFeatures, own: Tensor, params: FeatureParams, dense: FeaturePass) -> Known:
    """What is known of features, now with the basis of several pictures where that is to be fitted."""

    def features(ready: NetworkInput) -> Tensor:
        if ready is item.input:
            return own
        (found,) = dense.features([ready])
        return found

    return item.known if item.fit is None else item.known._replace(basis=item.fit.basis(features, params))
