"""What every process of ours asks of the system: memory, open files, signals."""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
import threading
from contextlib import suppress

# glibc's malloc.h, and what we set.
M_ARENA_MAX, ARENAS = -8, 2
M_TRIM_THRESHOLD, MOST_UNUSED_BYTES = -1, 256 * 1024 * 1024
M_TOP_PAD, FURTHER_BYTES = -2, 64 * 1024 * 1024
M_MMAP_THRESHOLD, LARGE_BYTES, LARGEST_BYTES = -3, 4 * 1024 * 1024, 1024 * 1024 * 1024
OLD_LARGEST_BYTES = 32 * 1024 * 1024  # glibc before 2.35 takes no more
DEFAULT_BYTES = 128 * 1024  # of M_TRIM_THRESHOLD and M_TOP_PAD
OPEN_MAX = 10_240  # macOS' sys/syslimits.h: where the hard limit is infinity, it takes no more
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15  # linux/prctl.h
SWITCH_S = 0.0005
YOUNG_OBJECTS = 1_000  # what is frozen does not count, so going through the rest takes microseconds


def raise_limit() -> None:
    """Let this process open as many files as it may: shells and supervisors often set the soft limit to 1,024."""
    try:
        import resource
    except ImportError:  # no Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        for limit in (hard, OPEN_MAX):
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                return


def most_files() -> int | None:
    """How many files this process may have open, once its limit is raised; None without a limit."""
    hard = _limit("RLIMIT_NOFILE", hard=True)
    return _limit("RLIMIT_NOFILE", hard=False) if hard is None else hard


def connections_within_files(most: int, ports: int = 1) -> int:
    """How many connections one of so many ports may have: all of them together take half of the files at most.

    The rest is for what a process has by itself; one that cannot open another file answers nobody.
    """
    files = most_files()
    return most if files is None else max(1, min(most, files // 2 // ports))


def address_space() -> int | None:
    """How many bytes of addresses this process may have; None without a limit."""
    return _limit("RLIMIT_AS", hard=False)


def _limit(name: str, *, hard: bool) -> int | None:
    try:
        import resource
    except ImportError:  # no Unix
        return None
    found = resource.getrlimit(getattr(resource, name))[hard]
    return None if found == resource.RLIM_INFINITY else found


def tune() -> None:
    """Lets no thread hold the one event loop up for long, and keeps memory from spreading over threads."""
    # A thread that computes would keep the interpreter for Python's 5 ms.
    sys.setswitchinterval(SWITCH_S)
    # What has been made by now stays: going through all of it again and again takes tens of milliseconds each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    keep_few_arenas()
    keep_large_blocks()


def keep_few_arenas() -> None:
    """Keep memory from spreading: glibc gives each thread some of its own, which grows where threads take turns.

    Before there are threads: what they have by then stays theirs.
    """
    _mallopt(M_ARENA_MAX, ARENAS)


def give_large_blocks_back() -> None:
    """Let large blocks go back to the system when they are freed: glibc would keep those that it has seen before."""
    keep_few_arenas()
    _mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    _mallopt(M_TRIM_THRESHOLD, DEFAULT_BYTES)
    _mallopt(M_TOP_PAD, DEFAULT_BYTES)


def keep_large_blocks() -> None:
    """Use the memory of large messages again: fresh pages take several times as long as the copy that fills them.

    What is not in use then goes back by malloc_trim, and without it beyond MOST_UNUSED_BYTES.
    """
    if not _mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES):
        # The others switch off that it rises by itself: each large block would be fresh pages.
        _mallopt(M_MMAP_THRESHOLD, OLD_LARGEST_BYTES)
    _mallopt(M_TRIM_THRESHOLD, MOST_UNUSED_BYTES)
    _mallopt(M_TOP_PAD, FURTHER_BYTES)


def keep_all_blocks() -> None:
    """Keep all freed memory, as workers do from their start (`HOST_ENVIRONMENT`)."""
    _mallopt(M_TRIM_THRESHOLD, -1)
    _mallopt(M_TOP_PAD, FURTHER_BYTES)


def give_ends_back() -> None:
    """Let what is free at the ends of arenas go, and keep nothing there from now on.

    malloc_trim passes over all ends but the first arena's; the others' go when a thread of theirs frees something.
    """
    _mallopt(M_TRIM_THRESHOLD, 0)
    _mallopt(M_TOP_PAD, 0)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    # Threads that begin while others are there are given to arenas in turns.
    all_there = threading.Barrier(2 * ARENAS)

    def free_some() -> None:
        with suppress(threading.BrokenBarrierError):
            all_there.wait()
        libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(DEFAULT_BYTES))))

    threads = [threading.Thread(target=free_some, daemon=True) for _ in range(2 * ARENAS)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # there may be no more threads: those that there are do what they can
        all_there.abort()
    for thread in threads:
        if thread.ident is not None:
            thread.join()


def _mallopt(option: int, value: int) -> bool:
    """Whether the C library has taken it."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            return bool(ctypes.CDLL(None).mallopt(option, value))
    return False


def leave_signals_to_parent() -> None:
    """Ctrl-C, `systemctl stop` and a terminal that closes reach the whole group; the parent decides when this ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def die_with_parent() -> None:
    """Have the kernel kill this process with its parent, even while it hangs in native code.

    That is with the thread of the parent that started it. A parent that had gone already is not noticed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def name_process(name: str) -> None:
    """What `ps -e` and `top` call this process: 15 letters at most."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())
