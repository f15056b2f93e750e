"""Mappings cut each other as they do in a process."""

from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Dso, Map


def _map(start: int, end: int, pgoff: int = 0, name: str = "/file") -> Map:
    return Map(start, end, pgoff, Dso(name, name, name, b""))


def _ranges(maps: Maps) -> list[tuple[int, int, int, str]]:
    return [(one.start, one.end, one.pgoff, one.dso.name) for one in maps]


def test_an_address_is_found_in_its_mapping() -> None:
    maps = Maps()
    maps.replace(_map(100, 200, 40))

    found = maps.find(199)

    assert found is not None
    assert found.to_file(150) == 90
    assert maps.find(99) is None
    assert maps.find(200) is None


def test_a_mapping_amid_another_leaves_its_ends() -> None:
    maps = Maps()
    maps.replace(_map(100, 500, 1000, "/old"))

    maps.replace(_map(200, 300, 7, "/new"))

    assert _ranges(maps) == [
        (100, 200, 1000, "/old"),
        (200, 300, 7, "/new"),
        (300, 500, 1200, "/old"),
    ]


def test_a_mapping_over_others_replaces_them() -> None:
    maps = Maps()
    for start in (100, 200, 300, 400):
        maps.replace(_map(start, start + 100, start, f"/{start}"))

    maps.replace(_map(150, 350, 0, "/new"))

    assert _ranges(maps) == [
        (100, 150, 100, "/100"),
        (150, 350, 0, "/new"),
        (350, 400, 350, "/300"),
        (400, 500, 400, "/400"),
    ]


def test_a_copy_goes_its_own_way() -> None:
    maps = Maps()
    maps.replace(_map(100, 200))
    copy = maps.copy()

    copy.replace(_map(100, 200, 0, "/other"))

    assert _ranges(maps) == [(100, 200, 0, "/file")]


def test_what_was_worked_out_is_forgotten_when_mappings_change() -> None:
    maps = Maps()
    maps.frames[5] = object()

    maps.replace(_map(1, 2))

    assert not maps.frames


def test_a_mapping_around_the_end_of_memory_harms_nothing() -> None:
    maps = Maps()
    maps.replace(_map(100, 200))

    maps.replace(_map((1 << 64) - 16, (1 << 64) + 16))
    maps.replace(_map(150, 150))

    assert maps.find(120) is not None
    assert maps.find((1 << 64) - 1) is not None
