"""A cache keeps what was used last, within its bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from featsvc.engines.running.cache import ByteCache, CacheStats


def cache(max_bytes: int) -> ByteCache[str, bytes]:
    return ByteCache("pages", max_bytes, len)


def test_a_value_that_was_put_is_found_and_counted() -> None:
    pages = cache(100)
    assert pages.find("one") is None
    pages.put("one", bytes(30))
    assert pages.find("one") == bytes(30)
    assert pages.find("two") is None
    assert pages.stats() == CacheStats("pages", 1, 1, 0, entries=1, nbytes=30, max_bytes=100)


def test_the_least_recently_used_goes_first() -> None:
    pages = cache(100)
    for name in ("one", "two", "three"):
        pages.put(name, bytes(33))
    assert pages.find("one")
    pages.put("four", bytes(34))
    assert [name for name in ("one", "two", "three", "four") if pages.find(name)] == ["one", "three", "four"]
    assert pages.stats().evictions == 1
    assert pages.stats().nbytes == 100


def test_a_large_value_takes_the_place_of_several() -> None:
    pages = cache(100)
    for name in ("one", "two", "three"):
        pages.put(name, bytes(33))
    pages.put("large", bytes(60))
    assert pages.find("three")
    assert (pages.stats().entries, pages.stats().nbytes, pages.stats().evictions) == (2, 93, 2)


def test_a_value_larger_than_the_cache_drives_nothing_out() -> None:
    pages = cache(100)
    pages.put("one", bytes(40))
    pages.put("huge", bytes(101))
    assert pages.find("one")
    assert pages.find("huge") is None
    assert pages.stats().misses == 2


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    pages = cache(0)
    pages.put("one", b"1")
    assert pages.find("one") is None
    assert pages.stats() == CacheStats("pages", 0, 1, 0, entries=0, nbytes=0, max_bytes=0)


def test_a_value_put_twice_counts_its_bytes_once() -> None:
    pages = cache(100)
    pages.put("one", bytes(40))
    pages.put("one", bytes(50))
    assert (pages.stats().entries, pages.stats().nbytes, pages.stats().evictions) == (1, 50, 0)


def test_clearing_says_how_much_it_freed() -> None:
    pages = cache(100)
    pages.put("one", bytes(40))
    pages.put("two", bytes(2))
    assert pages.clear() == 42
    assert pages.clear() == 0
    assert pages.find("one") is None
    assert (pages.stats().nbytes, pages.stats().evictions) == (0, 2)


def test_bytes_stay_right_under_many_threads() -> None:
    pages = cache(1000)

    def work(thread: int) -> None:
        for turn in range(500):
            key = str((thread * 7 + turn) % 60)
            if pages.find(key) is None:
                pages.put(key, bytes(int(key) + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    stats = pages.stats()
    left = [value for value in (pages.find(str(key)) for key in range(60)) if value is not None]
    assert stats.nbytes == sum(map(len, left)) <= 1000
    assert stats.hits + stats.misses == 8 * 500
