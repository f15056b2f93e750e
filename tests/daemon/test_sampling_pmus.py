"""Events of PMUs, by the terms of sysfs, and counters that are read along."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sampledselectors import SamplingKernel, find, refused

from ptraced.errors import NotFound, TraceError, Unavailable
from ptraced.sampling import origins
from ptraced.sampling.selector import is_sampled, names

pytestmark = pytest.mark.usefixtures("sampling_kernel")


@pytest.fixture
def pmus(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A host with a PMU called cpu, as sysfs describes it, and one that is not ours."""
    files = {
        "cpu/type": "4\n",
        "cpu/format/event": "config:0-7,32-35\n",
        "cpu/format/umask": "config:8-15\n",
        "cpu/format/edge": "config:18\n",
        "cpu/format/ldlat": "config1:0-15\n",
        "cpu/format/strange": "config9:0-7\n",
        "cpu/events/mem-loads": "event=0xcd,umask=0x1,ldlat=3\n",
        "cpu/events/mem-loads.unit": "Bytes\n",
        "uprobe/type": "8\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(origins.pmu, "DEVICES", tmp_path)


@pytest.mark.usefixtures("pmus")
@pytest.mark.parametrize(
    ("terms", "config", "config1"),
    [
        ("event=0x3c,umask=1", 0x13C, 0),
        # Twelve bits in two places.
        ("event=0xabc", 0xA_0000_00BC, 0),
        ("event=0x3c,edge", 0x4003C, 0),
        ("mem-loads", 0x1CD, 3),
        ("mem-loads,ldlat=30", 0x1CD, 31),
        ("config=0x1a8,config1=7", 0x1A8, 7),
        ("r1a8", 0x1A8, 0),
    ],
)
def test_events_of_pmus_by_the_terms_of_sysfs(terms: str, config: int, config1: int) -> None:
    name, origin, _ = find("cpu", terms)

    assert name == f"cpu/{terms}/"
    assert (origin.type, origin.config, origin.config1) == (4, config, config1)
    assert origin.frequency == 99


@pytest.mark.usefixtures("pmus")
def test_options_behind_a_pmus_terms() -> None:
    name, origin, options = find("cpu", "event=0x3c,period=1000 -g")

    assert (name, origin.period, origin.frequency) == ("cpu/event=0x3c,period=1000/", 1000, 0)
    assert options.user


@pytest.mark.usefixtures("pmus")
@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            "evnt=1",
            "error: cpu has no event or term 'evnt' (did you mean 'event'?)\n"
            "  cpu/evnt=1/\n"
            "      ^~~~~~",
        ),
        (
            "event=1, umask=1",
            "error: 'umask=1' is no option; options begin with '-'\n"
            "  cpu/event=1, umask=1/\n"
            "               ^~~~~~~",
        ),
        (
            "event=1,umask=0x100",
            "error: 0x100 does not fit into 'umask' (config:8-15)\n"
            "  cpu/event=1,umask=0x100/\n"
            "              ^~~~~~~~~~~",
        ),
        (
            "event=?",
            "error: '?' is no number; 0x3c and 60 are\n  cpu/event=?/\n      ^~~~~~~",
        ),
        (
            "config=99999999999999999999",
            "error: 99999999999999999999 has more than 64 bits\n"
            "  cpu/config=99999999999999999999/\n"
            "      ^~~~~~~~~~~~~~~~~~~~~~~~~~~",
        ),
        (
            "strange=1",
            "error: sysfs describes 'strange' in an unknown way: config9:0-7\n"
            "  cpu/strange=1/\n"
            "      ^~~~~~~~~",
        ),
        (
            "../type",
            "error: cpu/.../ takes terms such as event=0x3c\n  cpu/../type/\n      ^~~~~~~",
        ),
        (
            "event=1,freq=200000",
            "error: a frequency of 200000 Hz: at most 100000 are possible "
            "(sysctl kernel.perf_event_max_sample_rate)\n"
            "  cpu/event=1,freq=200000/\n"
            "      ^~~~~~~~~~~~~~~~~~~",
        ),
    ],
)
def test_wrong_terms(terms: str, message: str) -> None:
    assert refused("cpu", terms) == message


@pytest.mark.usefixtures("pmus")
def test_counters_that_are_read_along() -> None:
    origin = find("profile", "--group (cs,cpu/event=1,umask=2/,r1a8, faults) -g")[1]

    assert [(counter.type, counter.config, counter.counter) for counter in origin.group] == [
        (1, 3, "context-switches"),
        (4, 0x201, "cpu/event=1,umask=2/"),
        (4, 0x1A8, "r1a8"),
        (1, 2, "page-faults"),
    ]


@pytest.mark.usefixtures("pmus")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--group page-faults,cycels",
            "error: no counter 'cycels' (did you mean 'cycles'?)\n"
            "  profile/--group page-faults,cycels/\n"
            "                              ^~~~~~",
        ),
        (
            "--group (cpu/evnt=1/)",
            "error: cpu has no event or term 'evnt' (did you mean 'event'?)\n"
            "  profile/--group (cpu/evnt=1/)/\n"
            "                       ^~~~~~",
        ),
        (
            "--group ()",
            "error: a group counts 1 to 16 other events: --group page-faults,cpu-clock\n"
            "  profile/--group ()/\n"
            "                   ^",
        ),
    ],
)
def test_wrong_counters(options: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        find("profile", options)

    assert str(error.value) == message


def test_a_counter_that_this_host_does_not_have(sampling_kernel: SamplingKernel) -> None:
    sampling_kernel.count_refusal = errno.ENOENT

    assert refused("profile", "--group instructions", Unavailable) == (
        "error: instructions needs a PMU (hardware counters) that has it, and this host has none; "
        "cpu-clock samples by a timer instead\n"
        "  profile/--group instructions/\n"
        "                  ^~~~~~~~~~~~"
    )


@pytest.mark.parametrize("name", ["cpu", "cpu_core", "intel_pt", "uncore_imc_0", "power"])
def test_a_pmu_that_other_hosts_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(origins.pmu, "DEVICES", tmp_path)
    message = (
        f"error: this host has no PMU '{name}' (hardware counters); cpu-clock samples by a timer "
        "instead\n"
    )

    assert is_sampled(name)
    assert refused(name, "event=0x3c", Unavailable) == (
        f"{message}  {name}/event=0x3c/\n  ^{'~' * (len(name) - 1)}"
    )
    assert refused("profile", f"--group ({name}/event=0x3c/)", Unavailable) == (
        f"{message}  profile/--group ({name}/event=0x3c/)/\n  {' ' * 17}^{'~' * (len(name) - 1)}"
    )


@pytest.mark.usefixtures("pmus")
def test_a_pmu_alone_is_no_event() -> None:
    assert refused("cpu", error=NotFound) == (
        "error: 'cpu' is a PMU: it takes an event, such as cpu/mem-loads/\n  cpu\n  ^~~"
    )


def test_a_pmu_that_cannot_sample(sampling_kernel: SamplingKernel, pmus: None) -> None:
    sampling_kernel.refusal = errno.EINVAL
    (origins.pmu.DEVICES / "cpu" / "type").write_text("9\n")

    assert refused("cpu", "event=1", Unavailable) == (
        "error: cpu/event=1/ counts but cannot sample: its PMU has no interrupt, or not this "
        "event; profile/--group (cpu/event=1/)/ reads it with each sample\n"
        "  cpu/event=1/\n"
        "  ^~~"
    )


@pytest.mark.usefixtures("pmus")
def test_names_for_suggestions() -> None:
    found = names()

    assert found == sorted(found)
    assert {"profile", "breakpoint", "page-faults", "cpu/mem-loads/"} <= set(found)
    assert "cpu/mem-loads.unit/" not in found
    assert "cpu-cycles" not in found
