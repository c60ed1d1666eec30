"""Runs of `ase.md` and `ase.optimize` in a depot, killed and restarted."""

from __future__ import annotations

import gc
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ase.build", reason="needs the package ase")

import ase.io
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase_checks import assert_same_atoms
from ase_runs import INTERVAL, Springs, argon, heat, made

import vldepot
from vldepot.ase import DepotWriter, OtherSystem, restart


def steps(path: Path) -> list[int | None]:
    with vldepot.open(path, "atomic_frame") as depot:
        return [frame.step for frame in depot.values()]


def moving(n: int = 2, seed: int = 2) -> ase.Atoms:
    atoms = argon(n)
    heat(atoms, seed)
    return atoms


class Copies:
    """What a run had, at the steps that the writer stored."""

    def __init__(self, dyn: Any) -> None:
        self.dyn = dyn
        self.images: list[ase.Atoms] = []
        self.times: list[float] = []

    def __call__(self) -> None:
        atoms = self.dyn.atoms.copy()
        atoms.calc = self.dyn.atoms.calc
        self.images.append(atoms)
        self.times.append(self.dyn.get_time() if hasattr(self.dyn, "get_time") else 0.0)
        self.results = dict(self.dyn.atoms.calc.results)


@pytest.mark.parametrize("kind", ["verlet", "langevin"])
def test_frames_are_those_of_the_run(path: Path, kind: str) -> None:
    atoms = moving()
    atoms.set_constraint(FixAtoms([0]))
    dyn = made(kind, atoms)
    copies = Copies(dyn)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.attach(copies, interval=10)
        dyn.attach(frames, interval=10)
        dyn.run(34)
        assert len(frames) == 4 and frames and repr(frames) == f"<vldepot.ase.DepotWriter {path}>"
    assert steps(path) == [0, 10, 20, 30]
    with vldepot.open(path, "atomic_frame") as depot:
        assert list(depot) == [f"frame_{step:010}" for step in (0, 10, 20, 30)]
        for frame, image, time in zip(depot.values(), copies.images, copies.times, strict=True):
            assert frame.time == time == frame.step * 2 * units.fs
            assert np.array_equal(frame.positions, image.positions)
            assert np.array_equal(frame.velocities, image.get_velocities())
            assert frame.forces.any() and frame.energy < 0 and frame.stress.any()
        assert np.array_equal(frame.forces, copies.results["forces"])
        assert frame.energy == copies.results["energy"]
    for read, image in zip(ase.io.read(path, ":"), copies.images, strict=True):
        read.info.clear()
        assert_same_atoms(image, read, results=False)
    assert ase.io.read(path, -1).info["time_fs"] == pytest.approx(60)


def test_the_time_is_in_the_unit_of_the_depot(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, 2 * units.fs)
    with DepotWriter(path, atoms, dyn=dyn, units="gromacs", precision="float32", preset="compact") as frames:
        dyn.attach(frames, interval=5)
        dyn.run(10)
        velocities = atoms.get_velocities()
    with vldepot.open(path, "atomic_frame") as depot:
        frame = depot.at(-1)
        assert frame.time == pytest.approx(0.02), "10 steps of 2 fs, in ps"
        assert np.allclose(frame.positions, atoms.positions / 10, rtol=1e-6)
        assert np.allclose(frame.velocities, velocities / (10 / (1000 * units.fs)), rtol=1e-6)
        assert frame.energy == pytest.approx(atoms.get_potential_energy() / (units.kJ / units.mol))
    read = ase.io.read(path)
    assert np.allclose(read.get_momenta(), atoms.get_momenta(), rtol=1e-6) and read.info[
        "time_fs"
    ] == pytest.approx(20)


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
@pytest.mark.parametrize("with_cell", [False, True])
def test_an_optimizer_is_stored(path: Path, optimizer: type, with_cell: bool) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.calc = EMT()
    target = FrechetCellFilter(atoms) if with_cell else atoms
    opt = optimizer(target, logfile=None)
    with DepotWriter(path, target, dyn=opt) as frames:
        opt.attach(frames, interval=1)
        opt.run(fmax=0.05)
    assert steps(path) == list(range(opt.nsteps + 1)) and opt.nsteps > 1
    with vldepot.open(path, "atomic_frame") as depot:
        assert depot.at(-1).time is None
    last = ase.io.read(path)
    assert last.info.pop("step") == opt.nsteps
    assert_same_atoms(atoms, last)


def test_atoms_are_those_of_dyn_by_default(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, dyn=dyn) as frames:
        dyn.attach(frames.write, interval=2)
        dyn.run(4)
    assert steps(path) == [0, 2, 4]


def test_results_are_computed_if_they_are_asked_for(path: Path) -> None:
    class Few(EMT):
        """Computes no stress unless it is asked for."""

        implemented_properties = ["energy", "forces", "stress"]

        def calculate(self, atoms: Any = None, properties: Any = ("energy",), changes: Any = ()) -> None:
            super().calculate(atoms, properties, changes)
            self.results = {k: v for k, v in self.results.items() if k in (*properties, "energy", "forces")}

    for properties, expected in ((None, False), (["energy", "stress"], True)):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=3)
        atoms.calc = Few()
        dyn = VelocityVerlet(atoms, units.fs)
        with DepotWriter(path, atoms, dyn=dyn, properties=properties) as frames:
            dyn.attach(frames, interval=1)
            dyn.run(2)
        with vldepot.open(path, "atomic_frame") as depot:
            for frame in depot.values():
                assert (frame.stress is not None) is expected and (frame.forces is None) is expected
                assert frame.energy is not None
        path.unlink()
    with (
        DepotWriter(path, atoms, dyn=dyn, properties=["dipole"]) as frames,
        pytest.raises(Exception, match="dipole"),
    ):
        frames.write()


def test_atoms_without_a_calculator(path: Path) -> None:
    with DepotWriter(path, molecule("H2O")) as frames:
        frames.write()
    with DepotWriter(path, molecule("H2O"), append=True, properties=["energy"]) as frames:
        with pytest.raises(ValueError, match="no calculator to compute 'energy'"):
            frames.write()
    assert steps(path) == [None]


def test_a_run_goes_on_where_it_was(path: Path) -> None:
    """A restarted run of Verlet is the run that was never stopped, to the last bit."""
    whole = moving()
    whole.calc = Springs()
    VelocityVerlet(whole, 2 * units.fs).run(40)
    for last in (17, 23, 40):
        atoms = argon()
        step = restart(path, atoms)
        if step == 0:
            heat(atoms)
        atoms.calc = Springs()
        dyn = VelocityVerlet(atoms, 2 * units.fs)
        dyn.nsteps = step
        with DepotWriter(path, atoms, dyn=dyn, append=True) as frames:
            dyn.attach(frames, interval=5)
            dyn.run(last - step)
    assert steps(path) == list(range(0, 41, 5))
    assert np.array_equal(whole.positions, ase.io.read(path).positions)
    assert np.array_equal(whole.get_momenta(), ase.io.read(path).get_momenta())
    with vldepot.open(path, "atomic_frame") as depot:
        assert [frame.time for frame in depot.values()] == [step * (2 * units.fs) for step in range(0, 41, 5)]


def test_another_time_step_after_a_restart(path: Path) -> None:
    for last, fs, interval in ((20, 2, 10), (40, 1, 10), (54, 0.5, 7)):
        atoms = moving()
        step = restart(path, atoms)
        dyn = VelocityVerlet(atoms, fs * units.fs)
        dyn.nsteps = step
        with DepotWriter(path, atoms, dyn=dyn, append=True) as frames:
            dyn.attach(frames, interval=interval)
            dyn.run(last - step)
    assert steps(path) == [0, 10, 20, 30, 40, 42, 49]
    times = [a.info["time_fs"] for a in ase.io.read(path, ":")]
    assert times == pytest.approx([0, 20, 40, 50, 60, 61, 64.5])
    with vldepot.open(path) as depot:
        assert depot.metadata["ase"]["runs"] == [[-1, 10], [41, 7]]


def test_a_checkpoint_of_ones_own(path: Path) -> None:
    """Frames after it are removed, and those before it must be there."""
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.attach(frames, interval=10)
        dyn.run(25)
        checkpoint = atoms.copy()
        dyn.run(27)
    assert steps(path) == [0, 10, 20, 30, 40, 50]
    checkpoint.calc = atoms.calc
    dyn = VelocityVerlet(checkpoint, units.fs)
    dyn.nsteps = 25
    with DepotWriter(path, checkpoint, dyn=dyn, append=True) as frames:
        assert len(frames) == 3
        dyn.attach(frames, interval=10)
        dyn.run(10)
    assert steps(path) == [0, 10, 20, 30]
    dyn = VelocityVerlet(checkpoint, units.fs)
    dyn.nsteps = 55
    with pytest.raises(vldepot.Gap) as caught:
        DepotWriter(path, checkpoint, dyn=dyn, append=True)
    assert (caught.value.step, caught.value.expected, caught.value.found) == (55, 50, 30)
    assert steps(path) == [0, 10, 20, 30]


def test_a_forgotten_restart_removes_nothing(path: Path) -> None:
    atoms = moving()
    for again in range(3):
        dyn = VelocityVerlet(atoms, units.fs)
        if again == 1:
            with pytest.raises(vldepot.RemovesAll):
                DepotWriter(path, atoms, dyn=dyn, append=True)
            with pytest.raises(vldepot.PathExists, match="append=True"):
                DepotWriter(path, atoms, dyn=dyn)
            assert steps(path) == [0, 10, 20]
            continue
        with DepotWriter(path, atoms, dyn=dyn, append=True, start_over=again == 2) as frames:
            dyn.attach(frames, interval=10)
            dyn.run(20 - again * 5)
    assert steps(path) == [0, 10]
    # A run of which only the start was stored is no loss.
    with vldepot.append(path, "atomic_frame") as depot:
        depot.truncate_after_step(0)
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn, append=True) as frames:
        dyn.attach(frames, interval=4)
        dyn.run(8)
    assert steps(path) == [0, 4, 8]


def test_a_run_that_goes_back_is_refused(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.attach(frames, interval=5)
        dyn.run(10)
        dyn.nsteps = 0
        with pytest.raises(ValueError, match="step 0, and the newest frame is of step 10"):
            dyn.run(10)
    assert steps(path) == [0, 5, 10]


def test_the_first_step_twice_is_stored_once(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.attach(frames, interval=5)
        dyn.run(0)
        dyn.run(0)
        atoms.positions += 0.1
        dyn.run(5)
    assert steps(path) == [0, 5]
    assert len(ase.io.read(path, ":")) == 2


def test_a_frame_that_was_not_stored_is_not_forgotten(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.attach(frames, interval=5)
        dyn.run(5)
        atoms.info["thing"] = object()
        with pytest.raises(TypeError, match="thing"):
            dyn.run(5)
        del atoms.info["thing"]
        with pytest.raises(vldepot.Gap, match="step 10 was not stored") as caught:
            dyn.run(10)
        assert (caught.value.step, caught.value.expected, caught.value.found) == (15, 10, 5)


def test_a_writer_may_be_attached_late(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.run(13)
        dyn.attach(frames, interval=5)
        dyn.run(9)
        frames.write()
        dyn.run(3)
    assert steps(path) == [15, 20, 22, 25]


def test_another_system_is_refused(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn) as frames:
        dyn.attach(frames, interval=5)
        dyn.run(5)
    other, heavy = moving(), moving()
    other.numbers[3] = 10
    heavy.set_masses([40.0] * 31 + [41.0])
    for wrong, what in (
        (moving(1), "number of atoms"),
        (other, "atomic number of atom 3"),
        (heavy, "mass of atom 0"),
    ):
        with pytest.raises(OtherSystem, match="another system") as caught:
            restart(path, wrong)
        assert caught.value.what == what
        dyn = VelocityVerlet(wrong, units.fs)
        dyn.nsteps = 5
        with pytest.raises(OtherSystem) as caught:
            DepotWriter(path, wrong, dyn=dyn, append=True)
        assert caught.value.what == what and caught.value.path == str(path)
    # Nothing holds the file after a refusal.
    images = path.with_name("images.vld")
    ase.io.write(images, moving())
    dyn = VelocityVerlet(moving(), units.fs)
    with pytest.raises(OtherSystem, match="no DepotWriter"):
        DepotWriter(images, dyn=dyn, append=True)
    with pytest.raises(ValueError, match="no step"):
        restart(images, moving())
    vldepot.append(path).close()
    vldepot.append(images).close()


def test_a_second_writer_is_refused(path: Path) -> None:
    dyn = VelocityVerlet(moving(), units.fs)
    with DepotWriter(path, dyn=dyn) as frames:
        dyn.attach(frames)
        dyn.run(1)
        with pytest.raises(vldepot.Locked):
            DepotWriter(path, dyn=dyn, append=True)
    with pytest.raises(vldepot.Closed, match="closed"):
        frames.write()
    frames.close()


def test_there_need_be_nothing_to_restart_from(path: Path) -> None:
    atoms = moving()
    positions = atoms.positions.copy()
    assert restart(path, atoms) == 0
    path.write_bytes(b"")
    assert restart(path, atoms) == 0
    path.unlink()
    vldepot.create(path).close()
    assert restart(str(path), atoms) == 0 and np.array_equal(atoms.positions, positions)
    path.write_text("something else, which is long enough to be taken for a file of some program")
    with pytest.raises(vldepot.NotADepot):
        restart(path, atoms)


def test_a_restart_sets_the_cell(path: Path) -> None:
    atoms = bulk("Cu", cubic=True, a=3.8)
    atoms.rattle(0.05, seed=2)
    atoms.calc = EMT()
    opt = FIRE(FrechetCellFilter(atoms), logfile=None)
    with DepotWriter(path, atoms, dyn=opt) as frames:
        opt.attach(frames)
        opt.run(fmax=0, steps=7)
    again = bulk("Cu", cubic=True, a=3.8)
    again.set_constraint(FixAtoms([0, 1, 2, 3]))
    assert restart(path, FrechetCellFilter(again)) == 7
    assert np.array_equal(again.positions, atoms.positions) and np.array_equal(
        again.cell.array, atoms.cell.array
    )
    assert again.cell.array[0, 0] != 3.8 and not again.has("momenta")


def test_without_a_dyn_frames_are_counted(path: Path) -> None:
    images = [moving(), molecule("H2O")]
    for again in range(2):
        with DepotWriter(path, images[0], append=bool(again)) as frames:
            frames.write()
            frames(images[1])
    assert steps(path) == [None] * 4
    assert [len(a) for a in ase.io.read(path, ":")] == [32, 3] * 2
    with vldepot.open(path) as depot:
        assert list(depot)[-1] == "frame_0000000003"


def test_steps_of_ones_own(path: Path) -> None:
    atoms = moving()
    with DepotWriter(path) as frames:
        for step in (0, 3, 8):
            frames.write(atoms, step=step, time=step * 0.5)
        with pytest.raises(ValueError, match="give step="):
            frames.write(atoms)
    with DepotWriter(path, append=True) as frames:
        with pytest.raises(ValueError, match="give step="):
            frames.write(atoms)
        with pytest.raises(ValueError, match="step 5, and the newest frame is of step 8"):
            frames.write(atoms, step=5)
        frames.write(atoms, step=9)
    assert steps(path) == [0, 3, 8, 9]
    with vldepot.open(path, "atomic_frame") as depot:
        assert depot.at(1).time == 1.5


def test_the_trajectory_of_a_run(path: Path) -> None:
    """As `trajectory=` of an ASE object."""
    for last, fs in ((7, 1), (20, 2)):
        atoms = moving()
        step = restart(path, atoms)
        with DepotWriter(path, atoms, append=True) as frames:
            dyn = VelocityVerlet(atoms, fs * units.fs, trajectory=frames, loginterval=3)
            dyn.nsteps, frames.dyn = step, dyn
            dyn.run(last - step)
    assert steps(path) == [0, 3, 6, 9, 12, 15, 18]
    with vldepot.open(path) as depot:
        # Before 3.24, ASE told so only once, and to other objects.
        assert depot.metadata.get("ase.description", {}).get("md-type") in (None, "VelocityVerlet")
        assert depot.metadata["ase"]["runs"] == [[-1, 3]]
    times = [a.info["time_fs"] for a in ase.io.read(path, ":")]
    assert times == pytest.approx([0, 3, 6, 12, 18, 24, 30])
    # A restart that was forgotten, and one from another place.
    for start, error in ((0, ValueError), (30, vldepot.Gap)):
        atoms = moving()
        with DepotWriter(path, atoms, append=True) as frames:
            dyn = VelocityVerlet(atoms, units.fs, trajectory=frames, loginterval=3)
            dyn.nsteps, frames.dyn = start, dyn
            with pytest.raises(error, match="newest"):
                dyn.run(20)
    assert steps(path) == [0, 3, 6, 9, 12, 15, 18]
    relaxed = path.with_name("relaxed.vld")
    with DepotWriter(relaxed, atoms) as frames:
        BFGS(atoms, logfile=None, trajectory=frames).run(fmax=0, steps=2)
    assert steps(relaxed) == [None] * 3


def test_what_a_writer_does_not_take(path: Path) -> None:
    atoms = moving()
    with pytest.raises(TypeError, match="counts no steps"):
        DepotWriter(path, atoms, dyn=atoms)
    with pytest.raises(TypeError, match="no option 'color'"):
        DepotWriter(path, atoms, color="red")
    band = NEB([moving(seed=n) for n in range(3)], method="improvedtangent")
    band.get_forces()
    with DepotWriter(path, band) as frames:
        with pytest.raises(TypeError, match="NEB has 3"):
            frames.write()
        with pytest.raises(TypeError, match="made of ase.Atoms"):
            frames.write("atoms")
    path.unlink()
    with DepotWriter(path) as frames, pytest.raises(TypeError, match="there are no atoms"):
        frames.write()
    with pytest.raises(TypeError, match="color"):
        DepotWriter(path, atoms, append=True, color="red")
    assert steps(path) == []


def test_only_one_rank_writes(path: Path) -> None:
    class Comm:
        rank = 1

    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn, comm=Comm(), properties=["stress"]) as frames:
        dyn.attach(frames)
        dyn.run(2)
        frames.commit()
        assert frames.depot is None and len(frames) == 0
    assert not path.exists()


def test_a_writer_that_is_let_go_loses_nothing(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    dyn.attach(DepotWriter(path, atoms, dyn=dyn, commit_every="never"), interval=2)
    dyn.run(4)
    del dyn
    gc.collect()
    assert steps(path) == [0, 2, 4]
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; from ase_runs import *; from vldepot.ase import DepotWriter\n"
        "atoms = argon(); dyn = made('langevin', atoms)\n"
        "dyn.attach(DepotWriter(sys.argv[1], atoms, dyn=dyn, commit_every='never'), interval=2)\n"
        "dyn.run(4)\n"
    )
    other = path.with_name("other.vld")
    subprocess.run([sys.executable, "-c", program, other, Path(__file__).parent], check=True, timeout=120)
    assert steps(other) == [0, 2, 4]


def test_readers_follow_each_commit(path: Path) -> None:
    atoms = moving()
    dyn = VelocityVerlet(atoms, units.fs)
    with DepotWriter(path, atoms, dyn=dyn, commit_every="never") as frames:
        dyn.attach(frames, interval=5)
        dyn.run(10)
        assert len(ase.io.read(path, ":")) == 1, "the first frame is committed at once"
        frames.commit()
        assert len(ase.io.read(path, ":")) == 3


def killed_at(kind: str, folder: Path, last_step: int, step: int | None) -> list[str]:
    """Runs to `last_step`, and kills the process when it says that it is at `step` or beyond. Returns what it said."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("ase_runs.py")),
        kind,
        str(folder),
        str(last_step),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    lines = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            what, _, number = line.partition(" ")
            if step is not None and what != "done" and int(number) >= step:
                process.send_signal(signal.SIGKILL)
                break
    finally:
        process.stdout.close() if process.stdout else None
        process.wait()
        watchdog.cancel()
    if step is None:
        assert process.returncode == 0, lines
    return lines


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("kind", ["verlet", "langevin", "bfgs", "cell"])
def test_a_run_killed_again_and_again_has_every_step_once(tmp_path: Path, kind: str) -> None:
    """Each life of the run is killed at a random moment, the first while it makes its first step."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print("seed", seed)
    path, begins = tmp_path / "run.vld", []
    for life in range(6):
        # Somewhat further each time, and every other time past the next commit. The process runs on until the
        # signal comes, so it dies anywhere.
        further = (
            chance.randrange(4 * INTERVAL, 10 * INTERVAL) if life % 2 else chance.randrange(1, 4 * INTERVAL)
        )
        step = 0 if life == 0 else (steps(path) or [0])[-1] + further
        lines = killed_at(kind, tmp_path, 1_000_000, step)
        begins.append(int(lines[0].split()[1]))
    assert begins == sorted(begins) and begins[-1] > 0, begins
    last_step = (steps(path)[-1] or 0) + 20 * INTERVAL
    lines = killed_at(kind, tmp_path, last_step, None)
    assert lines[-1] == "done"
    expected = list(range(0, last_step + 1, INTERVAL))
    assert steps(path) == expected
    with vldepot.open(path, "atomic_frame") as depot:
        assert list(depot) == [f"frame_{step:010}" for step in expected]
        if kind in ("verlet", "langevin"):
            assert [frame.time for frame in depot.values()] == [step * (2 * units.fs) for step in expected]
    assert vldepot.verify(path).is_whole
    if kind == "verlet":
        # Nothing but the step tells it from a run that was never killed.
        atoms = moving()
        atoms.calc = Springs()
        VelocityVerlet(atoms, 2 * units.fs).run(last_step)
        assert np.array_equal(atoms.positions, ase.io.read(path).positions)


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/use-ase.md: its recipe twice, as if the run had been killed at step 333."""
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[3] / "docs" / "how-to" / "use-ase.md"
    files, recipe = (block.split("```")[0] for block in page.read_text().split("```python\n")[1:])
    names: dict[str, Any] = {}
    exec(files, names)
    assert [len(a) for a in names["images"]] == [3, 5, 4]
    for end in ("333", "1_000"):
        atoms = bulk("Cu", cubic=True)
        atoms.calc = EMT()
        exec(recipe.replace("1_000", end), {"atoms": atoms})
    assert steps(Path("run.vld")) == list(range(0, 1001, 10))
