"""A basis of principal components that is fitted over several pictures, the same whichever of them is asked about."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from torch import Tensor

from featsvc.engines.answers.basis import Basis
from featsvc.engines.answers.feature_reply import FeatureParams, scaled_by, target_of
from featsvc.engines.answers.pca import Cells, fitted_together
from featsvc.engines.geometry.sizing import NetworkInput
from featsvc.engines.running.cache import ByteCache
from featsvc.work.item import FeaturesItem, PictureItem
from featsvc.work.operations import pictures_of_basis

ENTRY_BYTES = 1 << 12
"""What an entry of the cache takes beside its basis: its key, which holds the parameters, and objects around both."""


class BasisCache(ByteCache[Hashable, Basis]):
    """Bases by network, parameters and pictures, and those that are still to be fitted."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__("pca_bases", max_bytes, lambda basis: basis.nbytes + ENTRY_BYTES, is_on_host=True)
        self.fits: WeakValueDictionary[Hashable, JointFit] = WeakValueDictionary()
        """As long as somebody waits for one: of several that ask together one brings the pictures to the network."""


def in_order(item: FeaturesItem) -> list[PictureItem]:
    """The pictures of a basis, of which the item is one: sums in another order have other last bits."""
    return sorted((item, *item.together), key=lambda each: each.digest)


def basis_key(item: FeaturesItem, params: FeatureParams, network: Hashable) -> Hashable:
    """Equal for questions whose basis is the same."""
    # One without a name is like no other.
    digests = tuple(each.digest or object() for each in in_order(item))
    return network, digests, item.orientation, pictures_of_basis(params).of_basis


@dataclass(eq=False)
class JointFit:
    """A basis that is still to be fitted, or was for another of those who wait for it."""

    bases: BasisCache
    key: Hashable
    inputs: tuple[NetworkInput, ...]
    """The pictures, in their order."""
    pixels: int
    """What the largest pass takes of the memory."""
    flop: float
    """Of all passes."""
    made: Basis | None = None
    """Known to all who hold this, however little is kept for others."""

    def basis(self, features: Callable[[NetworkInput], Tensor], params: FeatureParams) -> Basis:
        """As its name carries it, and kept; `features` makes a picture's, h x w x D."""
        # Another request may have fitted it since this one was prepared.
        known = self.bases.find(self.key) or self.made
        if known is not None:
            return known
        cells = (Cells(features(each), target_of(each.geometry, params)) for each in self.inputs)
        basis = fitted_together(cells, scaled_by(params)).rounded()
        self.bases.put(self.key, basis)
        self.made = basis
        return basis
