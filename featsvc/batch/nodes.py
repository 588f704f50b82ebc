"""What actors do on the nodes: answer about the pictures that tasks have read, and write each answer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from featsvc_client.bulk.commands import Question
from featsvc_client.bulk.folder import Stage
from featsvc_client.bulk.store import Writer
from featsvc_client.pictures import Picture
from featsvc_client.results import Beside
from featsvc_client.window import NO_PICTURE
from pydantic import BaseModel

from featsvc.batch.places import PicturePlace, contents
from featsvc.errors import FeatsvcError, InvalidArgument, InvalidFields
from featsvc.pool.contract.messages import Boot
from featsvc.server.services.replies import FACTS, ReplyClass
from featsvc.twin import from_message, in_holders
from featsvc.twin.methods import message_class, method_of, twin_of
from featsvc.work.item import PictureItem, Way, beside_picture
from featsvc.work.operations import OPERATIONS, AnyOperation, models_of
from featsvc.work.results import Result

WRITTEN = pa.schema(
    [
        *(
            pa.field(name, pa.string())
            for name in ("key", "stamp", "old_output", "error", "digest", "staged")
        ),
        *(pa.field(name, pa.int64()) for name in ("position", "nbytes")),
    ]
)
"""Where answers are; neither error nor `staged`: the picture is the one that was answered before."""


MOST_ALONE = 2
"""Of the tries of a picture by itself, after one beside others."""


@dataclass(frozen=True)
class NodeWork:
    """What is asked about every picture, and where answers go."""

    question: Question
    request: bytes
    """The question as a message, about no picture in particular."""
    model: str
    also: tuple[str, ...]
    """Further models that answer together with it, in the order of the operation."""
    boot: Boot
    most_items: int
    """Pictures that may share a batch."""
    max_image_bytes: int
    writer: Writer
    stage: str
    """The folder of what has no name yet, as every node sees it."""

    @property
    def models(self) -> tuple[str, ...]:
        """All that answer, in the order of the operation."""
        return (self.model, *self.also)

    @property
    def told_models(self) -> tuple[str, ...]:
        """Those that answers name, as of a server: not one that only another goes by, which the question names."""
        uses = models_of(self.operation, self.asked)
        return tuple(key for key, use in zip(self.models, uses, strict=True) if not use.option)

    @property
    def operation(self) -> AnyOperation:
        """The line of the table."""
        return operation_of(self.question)

    @property
    def asked(self) -> Any:  # Any: each operation has a class of its own
        """The checked question."""
        method = method_of(self.operation.rpc)
        return from_message(
            message_class(method.input_type).FromString(self.request), twin_of(method.input_type)
        )

    def asking(self, question: Question) -> NodeWork:
        """The same with another question to the same models."""
        return replace(self, question=question, request=question.call(NO_PICTURE).serialised())


def operation_of(question: Question) -> AnyOperation:
    """The line of the table that a question belongs to."""
    return next(each for each in OPERATIONS if each.rpc == question.command.operation.path)


class Answering:
    """Ray makes one in each of its actors, with engines and the model, and hands it pictures."""

    def __init__(self, work: NodeWork) -> None:
        self._work = work
        self._operation = work.operation
        asked = work.asked
        settled = self._operation.settled
        self._params: BaseModel = asked.params if settled is None else settled(asked.params)
        kind: Any = self._operation.item  # Any: mypy takes no dataclass for hashable
        beside = {name: getattr(asked, name) for name in beside_picture(kind)}
        # In pieces: nobody sends it, so it may be as large as it may at all.
        self._item: PictureItem = kind(way=Way(chunked=True), orientation=asked.image.orientation, **beside)
        self._reply = message_class(method_of(self._operation.rpc).output_type)
        self._written = ReplyClass(self._reply, self._operation.result, FACTS)
        self._stage = Stage(Path(work.stage) / uuid.uuid4().hex)
        # Only here: who plans a run needs no torch.
        from featsvc.batch.engines import InProcess

        self._engines = InProcess(work.boot, work.most_items)
        for model in dict.fromkeys(work.models):
            self._engines.load(model)

    def __call__(self, pictures: pa.Table) -> pa.Table:
        """Where the answer about each picture is, or why there is none."""
        rows = pictures.to_pylist()
        # Ray gives an actor that has died its pictures anew, for ever: from then on each is by itself.
        together = f"together-{rows[0]['position']}"
        if self._tries(together) == 1:
            self._answer(rows)
        else:
            for row in rows:
                alone = f"alone-{row['position']}"
                if self._tries(alone) > MOST_ALONE:
                    row["error"] = f"what answered it died each of {MOST_ALONE + 1} times"
                self._answer([row])
                self._ended(alone)
        self._ended(together)
        return pa.Table.from_pylist(
            [{name: row.get(name) for name in WRITTEN.names} for row in rows], WRITTEN
        )

    def basis(self, pictures: Sequence[bytes]) -> str | FeatsvcError:
        """Name of the basis that is fitted over these pictures together, but for those of which there is no answer by
        themselves; or why there is none.
        """
        whole = [each for each in dict.fromkeys(pictures) if not self._refusal(each)]
        items = [replace(self._item, image=each, digest=Picture(each).digest) for each in whole]
        results = self._results(self._params, items)
        known = [
            item for item, each in zip(items, results, strict=True) if not isinstance(each, FeatsvcError)
        ]
        if not known:
            return InvalidArgument("no picture that was drawn has an answer: try another --pca-seed")
        own, *others = known
        fit = self._work.asking(self._work.question.fitting([each.digest for each in others]))
        beside = tuple(PictureItem(each.image, each.digest, each.orientation) for each in others)
        first: Any = own  # Any: the items of what has a basis have a place for these
        (result,) = self._results(fit.asked.params, [replace(first, together=beside)])
        if isinstance(result, InvalidFields):
            return InvalidFields(in_holders(result.violations, self._operation.params))
        return result if isinstance(result, FeatsvcError) else result.pca_basis

    def _results(
        self, params: BaseModel, items: Sequence[PictureItem]
    ) -> list[Any]:  # Any: of each operation its own
        """What comes of each item, or what is wrong with it."""
        return list(self._engines.results(self._operation, self._work.models, params, items))

    def _answer(self, rows: list[dict[str, Any]]) -> None:  # Any: of Arrow
        for row in rows:
            content = row["content"]
            row["error"] = row["error"] or self._refusal(content)
            row["digest"] = "" if row["error"] else Picture(content).digest
        new = [row for row in rows if not row["error"] and row["digest"] != row["known_digest"]]
        items = [replace(self._item, image=row["content"], digest=row["digest"]) for row in new]
        results = self._results(self._params, items)
        for row, result in zip(new, results, strict=True):
            row.update(self._kept(row["content"], row["digest"], result))

    def _tries(self, name: str) -> int:
        """How often this has begun in this run and not ended, with now; known to whichever actor is next."""
        with (Path(self._work.stage) / name).open("ab") as file:
            file.write(b".")
            return file.tell()

    def _ended(self, name: str) -> None:
        (Path(self._work.stage) / name).unlink()

    def _refusal(self, content: bytes) -> str:
        """Why a picture is not looked at; mostly empty."""
        most = self._work.max_image_bytes
        if not content:
            return "the file is empty"
        return f"{len(content)} bytes, at most {most} (--max-image-bytes)" if len(content) > most else ""

    def _kept(self, content: bytes, digest: str, result: Result | FeatsvcError) -> dict[str, object]:
        """What is to be noted of an answer, which is on disk then."""
        try:
            if isinstance(result, FeatsvcError):
                raise result
            facts = {"model": self._work.model, "image_digest": digest}
            # As a server writes it and a client reads it, so that nothing of it can differ.
            reply = self._reply.FromString(self._written.written(result, facts).joined())
            answer = self._work.question.command.operation.read(reply, Beside())
            kept = self._work.question.kept(content, answer)
        except InvalidFields as error:
            told = InvalidFields(in_holders(error.violations, self._operation.params))
            return {"error": told.message}
        except FeatsvcError as error:
            return {"error": error.message}
        written = self._work.writer.written(self._stage.stage, kept)
        return {"staged": str(written.staged), "nbytes": written.nbytes}


def fitted(work: NodeWork, places: Sequence[PicturePlace]) -> str | FeatsvcError:
    """Name of the basis of the pictures there, but for those that cannot be read; or why there is none."""
    return Answering(work).basis([each for each in contents(list(places)) if isinstance(each, bytes)])
