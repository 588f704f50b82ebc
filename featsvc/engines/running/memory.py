"""The several ways in which torch says that memory has run out, as one error."""

from __future__ import annotations

from types import TracebackType

from featsvc.errors import OutOfMemory, is_out_of_memory


class out_of_memory_as:
    """Within the block any lack of memory is OutOfMemory with this message.

    A class, because from Python 3.12 on a generator's frame would be in a cycle with the error, and with it everything
    that the failed pass has taken, until the garbage collector runs.
    """

    def __init__(self, message: str) -> None:
        self._message = message

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Raises OutOfMemory where the block ended for lack of memory."""
        # What was told better further in stays so.
        if error is not None and is_out_of_memory(error) and not isinstance(error, OutOfMemory):
            raise OutOfMemory(self._message) from error
