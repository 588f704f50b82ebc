"""How the tests are shared out where several processes run them: what stays together, and what comes first."""

from __future__ import annotations

from collections import Counter

DOCUMENTED_PORTS = "documented ports"
# These want them, and have one `make serve` for all.
AT_DOCUMENTED_PORTS = ("tests/conformance/test_printed_commands.py", "tests/conformance/test_readmes.py")
# Each has fixtures of the session that take long: models, or a server that nobody else asks.
FOLDERS = ("tests/engines/clip", "tests/engines/dino", "tests/engines/sam2", "tests/web")
# Those of one parameter, the language of a client, need nothing of the others.
BY_PARAMETER = ("tests/conformance/test_conformance.py",)
# Each of these is a share of its own: it takes long, and needs nothing of its neighbours.
BY_TEST = ("tests/chaos/test_trials.py", "tests/engines/test_processors.py", "tests/gpu/test_check.py")
# What takes minutes comes first: begun as the last one, it would keep one process alone.
FIRST = (
    "tests/cluster/test_over_ray.py",
    "tests/engines/pretended/test_faults.py",
    "tests/gpu/test_check.py",
    "tests/e2e/test_documented_defaults.py",
    "tests/engines/test_processors.py",
    "tests/chaos/test_trials.py",
    "tests/bench/test_peers.py",
    DOCUMENTED_PORTS,
    "tests/conformance/test_foreign_clients.py",
    "tests/web",
    "tests/e2e/test_processes.py",
    "tests/rest/processes/test_runners.py",
)


def share(test: str) -> str:
    """The share of a test, by its id: tests of one share run in one process, one after the other."""
    file = test.partition("::")[0]
    if file in AT_DOCUMENTED_PORTS:
        return DOCUMENTED_PORTS
    if file in BY_PARAMETER:
        return f"{file} {test.rpartition('[')[2]}"
    if file in BY_TEST:
        return test
    return next((folder for folder in FOLDERS if file.startswith(f"{folder}/")), file)


def order(tests: list[str]) -> list[int]:
    """Where in the list those stand that come first, second, …: the shares that take long, then those of most tests."""
    shares = [share(test) for test in tests]
    ranks = {name: rank for rank, name in enumerate(FIRST)}
    sizes, begins = Counter(shares), {name: at for at, name in reversed(list(enumerate(shares)))}

    def place(at: int) -> tuple[int, int, int]:
        name = shares[at]
        rank = ranks.get(name, ranks.get(name.partition("::")[0], len(FIRST)))
        return rank, -sizes[name], begins[name]

    return sorted(range(len(tests)), key=place)
