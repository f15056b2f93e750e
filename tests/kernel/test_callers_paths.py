"""Whether paths and files are open to a user: ours against the kernel's answer."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import effective

from ptraced.errors import PermissionRefused
from ptraced.identity import Caller
from ptraced.policy.file_permissions import READ, SEARCH, may
from ptraced.probes import path_walk
from ptraced.probes.path_walk import Walk

UID = 65532
OTHERS = (0, 65531, 65530)
LIST = "system.posix_acl_access"
OWNER, USER, OWN_GROUP, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NO_ID = 0xFFFFFFFF


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users may enter."""
    made = Path(tempfile.mkdtemp(prefix="ptraced-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def access_list(chance: random.Random) -> bytes:
    """An access control list, valid and otherwise by chance."""
    ids = [UID, *OTHERS]
    users = chance.sample(ids, chance.randint(0, 2))
    groups = chance.sample(ids, chance.randint(0, 3))
    entries = [
        (OWNER, NO_ID),
        *((USER, number) for number in sorted(users)),
        (OWN_GROUP, NO_ID),
        *((GROUP, number) for number in sorted(groups)),
        *([(MASK, NO_ID)] if users or groups or chance.random() < 0.3 else []),
        (OTHER, NO_ID),
    ]
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, chance.randint(0, 7), number) for tag, number in entries
    )


def opened_by_kernel(path: Path, groups: list[int], *, search: bool) -> bool:
    with effective(UID):
        os.seteuid(0)
        os.setgroups(groups)
        os.seteuid(UID)
        try:
            if search:
                os.stat(f"{path}/.")
            else:
                os.close(os.open(path, os.O_RDONLY))
        except PermissionError:
            return False
        return True


@pytest.mark.parametrize("seed", range(4))
def test_modes_and_lists_mean_what_they_mean_to_the_kernel(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    wrong = []
    granted = 0
    for number in range(250):
        path = folder / str(number)
        search = chance.random() < 0.5
        path.mkdir() if search else path.touch()
        os.chown(path, chance.choice([UID, *OTHERS]), chance.choice([UID, *OTHERS]))
        path.chmod(chance.randint(0, 0o777))
        if chance.random() < 0.7:
            os.setxattr(path, LIST, access_list(chance))
        groups = chance.sample([65530, 65531, 65529], chance.randint(0, 2))

        handle = os.open(path, os.O_PATH)
        caller = Caller(UID, UID, gids=frozenset(groups))
        ours = may(caller, handle, SEARCH if search else READ)
        os.close(handle)

        expected = opened_by_kernel(path, groups, search=search)
        granted += expected
        if ours != expected:
            wrong.append((path.stat(), groups, os.listxattr(path)))

    assert not wrong
    assert 50 < granted < 200


def outcome_of_kernel(path: str) -> object:
    """The file that a path leads UID to, or the error."""
    with effective(UID):
        try:
            handle = os.open(path, os.O_PATH)
        except OSError as error:
            return error.errno
    status = os.fstat(handle)
    os.close(handle)
    return status.st_ino


def outcome_of_walk(path: str) -> object:
    root = os.open("/", os.O_PATH)
    try:
        handle, _ = Walk(Caller(UID, UID), root).open(path)
    except OSError as error:
        return error.errno
    finally:
        os.close(root)
    status = os.fstat(handle)
    os.close(handle)
    return status.st_ino


def grown(folder: Path, chance: random.Random) -> None:
    """Fill a folder with folders, files and links that lead anywhere, some closed to UID."""
    folders = [folder]
    names = [f"{number}" for number in range(6)]
    for _ in range(60):
        parent = chance.choice(folders)
        path = parent / chance.choice(names)
        if path.exists() or path.is_symlink():
            continue
        kind = chance.random()
        if kind < 0.4:
            path.mkdir(mode=chance.choice([0o755, 0o755, 0o711, 0o700, 0o1777]))
            folders.append(path)
        elif kind < 0.6:
            path.touch(mode=chance.choice([0o644, 0o600]))
        else:
            steps = chance.choices([*names, "..", "."], k=chance.randint(1, 4))
            start = chance.choice(["", "", f"{chance.choice(folders)}/"])
            path.symlink_to(start + "/".join(steps) + chance.choice(["", "", "/"]))
        os.chown(path, chance.choice([UID, 0, 65531]), 0, follow_symlinks=False)


@pytest.mark.parametrize("seed", range(6))
def test_paths_lead_where_the_kernel_leads_the_user(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    grown(folder, chance)
    steps = [*(f"{number}" for number in range(6)), "..", ".", ""]
    paths = [
        f"{folder}/{'/'.join(chance.choices(steps, k=chance.randint(1, 5)))}" for _ in range(300)
    ]
    found = {path: (outcome_of_walk(path), outcome_of_kernel(path)) for path in paths}

    assert {path: both for path, both in found.items() if both[0] != both[1]} == {}
    assert len({both[0] for both in found.values()}) > 5


def test_links_of_others_in_shared_folders_are_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a folder like /tmp with links of three users
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    target = folder / "target"
    target.mkdir()
    (target / "file").touch()
    for owner in (0, UID, 65531):
        (shared / f"{owner}").symlink_to(target / "file")
        (shared / f"folder-{owner}").symlink_to(target)
        os.chown(shared / f"{owner}", owner, owner, follow_symlinks=False)
        os.chown(shared / f"folder-{owner}", owner, owner, follow_symlinks=False)

    def outcomes(setting: str) -> list[object]:
        file = folder / "setting"
        file.write_text(setting)
        monkeypatch.setattr(path_walk, "_PROTECTED_SYMLINKS", file)
        names = ("0", f"{UID}", "65531", "folder-65531/file")
        return [outcome_of_walk(f"{shared}/{name}") for name in names]

    inode = (target / "file").stat().st_ino
    assert outcomes("0\n") == [inode] * 4
    # Only a path's last link counts (proc_sys_fs(5)).
    assert outcomes("1\n") == [inode, inode, errno.EACCES, inode]


def test_ends_of_endless_paths(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "deep").symlink_to("deep/deep")
    before = os.listdir("/proc/self/fd")

    assert outcome_of_walk(f"{folder}/loop") == errno.ELOOP
    assert outcome_of_walk(f"{folder}/deep") == errno.ELOOP
    assert outcome_of_walk(f"{folder}/" + "./" * 1000) == folder.stat().st_ino
    (folder / ("a/" * 70)).mkdir(parents=True)
    assert outcome_of_walk(f"{folder}/" + "a/" * 70) == errno.ENAMETOOLONG
    assert os.listdir("/proc/self/fd") == before


def test_nothing_is_looked_for_in_proc() -> None:
    for path in ("/proc/self/exe", "/proc/1/root/etc/passwd", "/dev/fd/0"):
        with pytest.raises(PermissionRefused, match="leads into a file system of type proc"):
            outcome_of_walk(path)


def test_a_directory_above_the_root_is_the_root(folder: Path) -> None:
    # GIVEN a root that is not the daemon's
    (folder / "inside").touch()
    (folder / "up").symlink_to("../../../../inside")
    (folder / "top").symlink_to("/inside")
    root = os.open(folder, os.O_PATH)

    for path in ("/up", "/top", "/../inside", "/inside"):
        handle, _ = Walk(Caller(UID, UID), root).open(path)
        assert os.fstat(handle).st_ino == (folder / "inside").stat().st_ino
        assert stat.S_ISREG(os.fstat(handle).st_mode)
        os.close(handle)
    os.close(root)
