"""Which pictures are still to be asked about. Reads only those."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from featsvc_client.bulk.folder import Folder
from featsvc_client.bulk.inputs import Inputs
from featsvc_client.bulk.items import Item
from featsvc_client.bulk.manifest import Manifest
from featsvc_client.bulk.progress import Progress
from featsvc_client.bulk.records import Known
from featsvc_client.bulk.store import Todo
from featsvc_client.pictures import Picture


@dataclass(frozen=True)
class Selection:
    """Compares the pictures with the manifest."""

    inputs: Inputs
    folder: Folder
    manifest: Manifest
    progress: Progress
    retry_failed: bool
    stop: threading.Event
    """Set where nobody waits for more."""

    def todos(self) -> Iterator[Todo]:
        """The pictures to ask about, read; what need not or cannot be asked is counted and left out."""
        for source in self.inputs.sources():
            for item in source.items():
                if self.stop.is_set():
                    return
                known = self.unsettled(item.key, item.stamp)
                todo = None if known is None else self._todo(item, known)
                if todo is not None:
                    yield todo

    def unsettled(self, key: str, stamp: str) -> Known | None:
        """What is known of a picture that must be looked at; None for another, which is counted."""
        known = self.manifest.see(key)
        if known.seen_by == self.manifest.run:
            self.progress.fail(key, "another picture of this run has the same name: use another folder")
            return None
        return None if known.stamp == stamp and self._is_settled(known) else known

    def has_result(self, known: Known) -> bool:
        """Whether there is a result of the picture as it was."""
        return known.state == "done" and self.folder.has(known.output)

    def _todo(self, item: Item, known: Known) -> Todo | None:
        try:
            content = item.read()
        except (OSError, ValueError) as error:
            self.manifest.fail(known.position, item.stamp, "", str(error))
            self.progress.fail(item.key, str(error))
            return None
        digest = Picture(content).digest
        if known.digest == digest and self._is_settled(known):
            self.manifest.restamp(known.position, item.stamp)
            return None
        return Todo(known.position, item.key, item.stamp, digest, content, known.output)

    def _is_settled(self, known: Known) -> bool:
        """Whether the picture, if it is the same, needs no question; counts it if so."""
        if self.has_result(known):
            self.progress.skip()
            return True
        if known.state == "failed" and not self.retry_failed:
            self.progress.fail_again()
            return True
        return False
