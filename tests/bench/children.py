"""Programs that the benchmark starts: they announce themselves, and answer, in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.servers import ROOT, START_S

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
END_S = 30


def environment(threads: int, **more: str) -> dict[str, str]:
    """The caller's environment without featsvc's settings, with fixed thread counts and no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEATSVC_")}
    return {
        **kept,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
        **more,
    }


class Child:
    """`python -m MODULE ARGUMENTS`; standard output is its side of the conversation, the log gets the rest."""

    def __init__(self, module: str, *arguments: str, log: Path, env: dict[str, str]) -> None:
        words = [sys.executable, "-m", module, *arguments]
        self._log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=env,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # what it starts in turn ends with it
            )
        try:
            self.about = self.line()
        except BaseException:
            self.close()
            raise

    def await_port(self) -> int:
        """Its port, once something accepts connections there: what announces a port may not listen yet."""
        port, until = int(self.about["port"]), time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    # Any: JSON of the child's own making.
    def ask(self, **command: Any) -> dict[str, Any]:
        """Its answer to a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.line()

    def line(self) -> dict[str, Any]:
        """The next thing it says."""
        assert self.process.stdout is not None
        # Libraries print to standard output too; what is meant for us begins as JSON does.
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                if "error" in answer:
                    raise RuntimeError(f"{self._log.stem}: {answer['error']}")
                return answer
        raise RuntimeError(f"{self._log.stem} has ended; its log: {self._log.read_text()[-3000:]}")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """For the time of a with statement it does nothing, nor does what it has started in its process group."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, and then what is left of what it has started."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def answer_commands(table: dict[str, Any]) -> None:
    """The child's side: run the function that each line names, until the caller is gone."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            reply = table[command.pop("do")](**command)
        except Exception as error:  # the process boundary: the caller learns what went wrong
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
