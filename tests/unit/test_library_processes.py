"""Several processes on one library, processes that are killed, and disks that are full: nothing committed is lost.

``LEVER_RAY_FAULT_SECONDS`` and ``LEVER_RAY_FAULT_KILLS`` make the tests longer.
"""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.repair.mending import repair
from lever_ray.library.writing import change as writing
from tests.library_files import LETTERS, make_library, on_disk, opened, record
from tests.library_workers import compact, fill, policy, read, start, told_by, write

SECONDS = float(os.environ.get("LEVER_RAY_FAULT_SECONDS", "30"))
KILLS = int(os.environ.get("LEVER_RAY_FAULT_KILLS", "50"))


def test_two_writers_five_readers_and_compactions_at_once_lose_nothing(tmp_path):
    path = PolicyLibrary.create(tmp_path / "library", encoder=LETTERS).path
    written = [tmp_path / f"writer-{number}" for number in range(2)]
    outputs = [*written, *(tmp_path / f"reader-{number}" for number in range(5)), tmp_path / "compactor"]
    running = [start(write, path, number, SECONDS, output=file) for number, file in enumerate(written)]
    running += [start(read, path, number, SECONDS, *written, output=outputs[2 + number]) for number in range(5)]
    running += [start(compact, path, 0, SECONDS, output=outputs[-1])]
    for process in running:
        process.join(timeout=60 + 5 * SECONDS)
    codes = [process.exitcode for process in running]
    assert codes == [0] * 8, [file.with_suffix(".errors").read_text()[-2000:] for file in outputs]
    assert all(int(file.read_text()) > 0 for file in outputs[2:])
    seeds = told_by(written)
    library = opened(path)
    assert not library.verify()
    assert sorted(one.seed for one in library.select()) == sorted(seeds)
    assert {seed // 10**6 for seed in seeds} == {0, 1}
    library.compact()
    assert len(opened(path)) == len(seeds)
    print(f"{len(seeds)} policies written, {[int(file.read_text()) for file in outputs[2:]]} read and compacted")


def killed(path, number, seconds, output):
    """Seeds that a writer told to be committed, which was killed some time after the first."""
    writer = start(write, path, number, 600, output=output)
    while not told_by([output]) and writer.is_alive():
        time.sleep(0.002)
    time.sleep(seconds)
    writer.kill()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL, output.with_suffix(".errors").read_text()[-2000:]
    return set(told_by([output]))


def test_a_writer_that_is_killed_at_any_instant_loses_nothing_it_told(tmp_path):
    path = PolicyLibrary.create(tmp_path / "library", encoder=LETTERS).path
    rng, safe, orphans = np.random.default_rng(KILLS), set(), 0
    for kill in range(KILLS):
        told = killed(path, kill, float(rng.uniform(0, 0.1)), tmp_path / f"writer-{kill}")
        library = opened(path)
        held = {one.seed for one in library.select()}
        assert held >= safe | told
        assert len(held) <= len(safe | told) + 3
        assert all(np.array_equal(library.q(policy(seed).id), policy(seed).q) for seed in told)
        assert library.add([record(seed=10**9 + kill)]) == 1
        report = repair(path, encoder=LETTERS)
        assert not report.damages
        orphans += report.orphans
        safe = held | {10**9 + kill}
        if kill % 5 == 4:
            library.compact()
    library = opened(path)
    library.compact()
    assert set(on_disk(path)) == {file.name for file in library.manifest.files} | {MANIFEST, ".lock"}
    assert not library.verify()
    print(f"{KILLS} kills, {len(library)} policies, {orphans} orphans removed")


@pytest.mark.parametrize("late", [False, True])
def test_a_change_that_is_cut_short_leaves_every_file_that_its_manifest_lists(tmp_path, monkeypatch, late):
    library = make_library(tmp_path / "library", [record(seed=seed) for seed in range(3)], 3)
    before, write = on_disk(library.path), writing.write_manifest

    def cut(path, manifest):
        if late:
            write(path, manifest)
        raise KeyboardInterrupt

    for change, rows in ((lambda: library.add([record(seed=9)]), 4), (library.compact, 4)):
        with monkeypatch.context() as broken:
            broken.setattr(writing, "write_manifest", cut)
            with pytest.raises(KeyboardInterrupt):
                change()
        assert not opened(library).verify()
        assert len(opened(library)) == (rows if late else 3)
    assert late or on_disk(library.path) == before
    library.compact()
    assert set(on_disk(library.path)) == {file.name for file in library.manifest.files} | {MANIFEST, ".lock"}


# Full disks.


def filled(path, limit, tmp_path):
    """Append in another process until there is no room: how many policies were committed, and what was said."""
    filler = start(fill, path, limit, 0, output=tmp_path / "filler")
    filler.join(timeout=120)
    assert filler.exitcode == 0, (tmp_path / "filler.errors").read_text()
    *counts, said = (tmp_path / "filler").read_text().splitlines()
    return int(counts[-1]) if counts else 0, said


def assert_still_sound(path, count, said):
    assert f"{path}/" in said
    assert "Make room or check permissions, and try again" in said
    library = opened(path)
    assert not library.verify()
    assert {one.seed for one in library.select()} == set(range(count))
    assert set(on_disk(path)) == {file.name for file in library.manifest.files} | {MANIFEST, ".lock"}
    return library


@pytest.mark.parametrize("limit", [1000, 9000, 14_000, 21_000])
def test_a_file_that_may_not_grow_leaves_the_library_as_it_was(tmp_path, limit):
    path = PolicyLibrary.create(tmp_path / "library", encoder=LETTERS).path
    count, said = filled(path, limit, tmp_path)
    assert "File too large" in said
    assert assert_still_sound(path, count, said).add([record(seed=10**9)]) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if mount is None or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_library_as_it_was(small_disk, tmp_path):
    path = PolicyLibrary.create(small_disk / "library", encoder=LETTERS).path
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 300_000)
    count, said = filled(path, 0, tmp_path)
    assert count
    assert "No space left on device" in said
    library = assert_still_sound(path, count, said)
    filler.unlink()
    assert library.add([record(seed=10**9)]) == 1
    assert not opened(path).verify()
