"""Trajectories of OpenMM, stored and restarted."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

pytest.importorskip("openmm.app", reason="OpenMM is not installed")

import openmm
from openmm import app, unit
from systems import CHECKPOINTS, FRAMES, argon, waters

from vldepot.openmm import CheckpointReporter, DepotReporter, OtherSystem


def steps(path: Path) -> list[int | None]:
    with vldepot.open(path, "atomic_frame") as depot:
        return [depot[name].step for name in depot if name != "topology"]


class Memory:
    """A reporter that keeps the states it is given."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.states: list[Any] = []

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:
        steps = self.interval - simulation.currentStep % self.interval
        return {"steps": steps, "periodic": None, "include": ["positions", "velocities", "forces", "energy"]}

    def report(self, simulation: Any, state: Any) -> None:
        self.states.append(state)


def test_a_frame_is_the_state_in_units_of_gromacs(path: Path) -> None:
    simulation = argon()
    memory = Memory(10)
    with DepotReporter(path, 10, precision="float64") as frames:
        simulation.reporters += [frames, memory]
        simulation.step(25)
        assert simulation.reporters[0] is frames and "run" not in repr(frames)
    with vldepot.open(path, "atomic_frame") as depot:
        assert list(depot) == ["topology", "frame_0000000010", "frame_0000000020"]
        for state, name in zip(memory.states, list(depot)[1:], strict=True):
            frame = depot[name]
            per_unit = [
                (frame.positions, state.getPositions(asNumpy=True), unit.nanometer),
                (frame.velocities, state.getVelocities(asNumpy=True), unit.nanometer / unit.picosecond),
                (frame.forces, state.getForces(asNumpy=True), unit.kilojoule_per_mole / unit.nanometer),
                (frame.cell, state.getPeriodicBoxVectors(asNumpy=True), unit.nanometer),
                (frame.energy, state.getPotentialEnergy(), unit.kilojoule_per_mole),
                (frame.per_frame["kinetic_energy"], state.getKineticEnergy(), unit.kilojoule_per_mole),
                (frame.time, state.getTime(), unit.picosecond),
            ]
            for stored, quantity, in_unit in per_unit:
                assert np.array_equal(stored, quantity.value_in_unit(in_unit))
            assert frame.pbc == (True, True, True)
            assert frame.step == int(name[6:])
            assert frame.topology_name == "topology"
            assert frame.forces.any() and frame.velocities.any()


def test_the_topology_is_stored_once(path: Path) -> None:
    simulation = waters(3)
    with DepotReporter(path, 5) as frames:
        simulation.reporters.append(frames)
        simulation.step(20)
    with vldepot.open(path, "atomic_frame") as depot:
        assert len(depot) == 5 and depot.n_atoms == 12
        record = depot["topology"]
        topology = record.topology
        assert topology is not None and topology.bonds is not None
        assert topology.names == ["O", "H1", "H2", "M"] * 3
        assert topology.types.tolist() == [8, 1, 1, 0] * 3
        assert np.allclose(topology.masses, [15.999, 1.008, 1.008, 0] * 3)
        assert topology.residue_names == ["HOH"] * 3
        assert topology.residues.tolist() == sorted([0, 1, 2] * 4)
        assert topology.bonds.tolist() == [[0, 1], [0, 2], [4, 5], [4, 6], [8, 9], [8, 10]]
        assert topology.molecules.tolist() == sorted([0, 1, 2] * 4)
        assert record.arrays["chain"].tolist() == sorted([0, 1, 2] * 4)
        assert record.arrays["residue_number"].tolist() == sorted([1, 2, 3] * 4)
        frame = depot.at(-1)
        assert frame.cell is None and frame.pbc is None and frame.types is None


def test_atoms_and_fields_can_be_chosen(path: Path) -> None:
    simulation = waters(3)
    memory = Memory(5)
    with DepotReporter(
        path, 5, atomSubset=[0, 1, 8, 10], velocities=False, forces=False, energy=False, preset="compact"
    ) as frames:
        simulation.reporters += [frames, memory]
        simulation.step(5)
    with vldepot.open(path, "atomic_frame") as depot:
        frame, topology = depot.at(-1), depot["topology"].topology
        assert depot.info().layout.preset == "compact"
        assert not {"velocities", "forces", "energy"} & set(frame.fields)
        positions = memory.states[0].getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        assert np.array_equal(frame.positions, positions[[0, 1, 8, 10]].astype(np.float32))
        assert topology is not None
        assert topology.names == ["O", "H1", "O", "H2"]
        assert topology.bonds.tolist() == [[0, 1], [2, 3]]
        assert topology.residues.tolist() == [0, 0, 1, 1]
        assert topology.residue_names == ["HOH", "HOH"]
        assert depot["topology"].arrays["residue_number"].tolist() == [1, 1, 3, 3]
    for wrong in ([0, 12], [], [-1, 2]):
        simulation = waters(3)
        simulation.reporters.append(DepotReporter(path.with_name("no.vld"), 5, atomSubset=wrong))
        with pytest.raises(ValueError, match="atomSubset"):
            simulation.step(1)
    with pytest.raises(ValueError, match="increasing"):
        DepotReporter(path, 5, append=True, atomSubset=[1, 0])


@pytest.mark.parametrize("version, form", [("8.1.2", tuple), ("8.2", dict), ("8.6.1", dict), ("7.7", tuple)])
def test_reports_are_described_as_the_version_of_openmm_takes_them(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str, form: type
) -> None:
    monkeypatch.setattr(openmm.version, "short_version", version)
    simulation = argon()
    with DepotReporter(path, 10, forces=False) as frames:
        checkpoints = CheckpointReporter(frames, path.with_suffix(".chk"), 20)
        simulation.reporters += [frames, checkpoints]
        described = [reporter.describeNextReport(simulation) for reporter in (frames, checkpoints)]
        assert all(type(report) is form for report in described)
        if form is tuple:
            assert described == [
                (10, True, True, False, True, None),
                (20, False, False, False, False, None),
            ]
        # Current versions take both.
        simulation.step(40)
    assert steps(path) == [10, 20, 30, 40]


def test_a_run_restarts_at_a_checkpoint(path: Path) -> None:
    checkpoint = path.with_suffix(".chk")
    simulation = argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters += [frames, CheckpointReporter(frames, checkpoint, 35)]
        simulation.step(69)
    assert steps(path) == [10, 20, 30, 40, 50, 60]
    simulation = argon()
    simulation.loadCheckpoint(str(checkpoint))
    assert simulation.currentStep == 35
    with DepotReporter(path, 10, append=True) as frames:
        simulation.reporters.append(frames)
        simulation.step(1)
        assert frames.depot is not None and len(frames.depot) == 4
        simulation.step(29)
    assert steps(path) == [10, 20, 30, 40, 50, 60]


def test_a_state_restarts_a_run_too(path: Path) -> None:
    state = path.with_suffix(".xml")
    simulation = argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters += [frames, CheckpointReporter(frames, state, 20, writeState=True)]
        simulation.step(55)
        frames.saveCheckpoint(simulation, path.with_suffix(".last"), writeState=True)
    assert state.read_text().startswith("<?xml")
    simulation = argon()
    simulation.loadState(str(state))
    with DepotReporter(path, 10, append=True) as frames:
        simulation.reporters.append(frames)
        simulation.step(1)
        assert frames.depot is not None and frames.depot.at(-1).step == simulation.currentStep // 10 * 10


def test_a_gap_is_refused(path: Path) -> None:
    checkpoint = path.with_suffix(".chk")
    simulation = argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters.append(frames)
        simulation.step(30)
    simulation.reporters.clear()
    simulation.step(25)
    simulation.saveCheckpoint(str(checkpoint))
    simulation = argon()
    simulation.loadCheckpoint(str(checkpoint))
    simulation.reporters.append(DepotReporter(path, 10, append=True))
    with pytest.raises(vldepot.Gap) as caught:
        simulation.step(10)
    assert (caught.value.step, caught.value.expected, caught.value.found) == (55, 50, 30)
    assert simulation.currentStep == 55, "it was refused before a step"
    assert steps(path) == [10, 20, 30]


def test_a_forgotten_checkpoint_removes_nothing(path: Path) -> None:
    simulation = argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters.append(frames)
        simulation.step(30)
    simulation = argon()
    simulation.reporters.append(DepotReporter(path, 10, append=True))
    with pytest.raises(vldepot.RemovesAll):
        simulation.step(10)
    assert steps(path) == [10, 20, 30]
    with pytest.raises(vldepot.PathExists, match="append=True"):
        DepotReporter(path, 10)
    simulation.reporters.clear()
    with DepotReporter(path, 10, append=True, startOver=True) as frames:
        simulation.reporters.append(frames)
        simulation.step(20)
    assert steps(path) == [10, 20]


def test_another_interval_and_another_first_step(path: Path) -> None:
    checkpoint = path.with_suffix(".chk")
    simulation = argon()
    simulation.step(17)
    with DepotReporter(path, 10) as frames:
        simulation.reporters.append(frames)
        simulation.step(2)
        frames.saveCheckpoint(simulation, checkpoint)
        simulation.step(30)
    assert steps(path) == [20, 30, 40]
    simulation = argon()
    simulation.loadCheckpoint(str(checkpoint))  # of step 19, before the first frame
    with DepotReporter(path, 10, append=True) as frames:
        simulation.reporters.append(frames)
        simulation.step(6)
        frames.saveCheckpoint(simulation, checkpoint)  # of step 25
        simulation.step(10)
    assert steps(path) == [20, 30]
    simulation = argon()
    simulation.loadCheckpoint(str(checkpoint))
    with DepotReporter(path, 4, append=True) as frames:
        simulation.reporters.append(frames)
        simulation.step(2)
        frames.saveCheckpoint(simulation, checkpoint)  # of step 27: no frame of the new interval yet
        simulation.step(5)
    assert steps(path) == [20, 28, 32]
    for _ in range(2):
        simulation = argon()
        simulation.loadCheckpoint(str(checkpoint))
        with DepotReporter(path, 4, append=True) as frames:
            simulation.reporters.append(frames)
            simulation.step(10)
        assert steps(path) == [20, 28, 32, 36]
    with vldepot.open(path) as depot:
        assert depot.metadata["openmm"]["runs"] == [[17, 10], [25, 4]]


def test_a_simulation_may_go_back_while_it_runs(path: Path) -> None:
    checkpoint = path.with_suffix(".chk")
    simulation = argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters += [frames, CheckpointReporter(frames, checkpoint, 25)]
        simulation.step(49)
        simulation.loadCheckpoint(str(checkpoint))
        simulation.step(10)
        assert frames.depot is not None
        assert [frames.depot.at(n).step for n in range(1, len(frames.depot))] == [10, 20, 30]
        simulation.step(15)
    assert steps(path) == [10, 20, 30, 40, 50]


def test_a_frame_that_was_not_stored_is_not_forgotten(path: Path) -> None:
    """A disk was full, say, or the reporter was taken out for a while."""
    simulation = argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters.append(frames)
        simulation.step(10)
        simulation.reporters.clear()
        simulation.step(25)
        simulation.reporters.append(frames)
        with pytest.raises(vldepot.Gap, match="step 30 was not stored") as caught:
            simulation.step(10)
        assert (caught.value.step, caught.value.expected, caught.value.found) == (35, 30, 10)
        assert simulation.currentStep == 35


def test_another_system_is_refused(path: Path) -> None:
    simulation = waters(3)
    with DepotReporter(path, 10) as frames:
        simulation.reporters.append(frames)
        simulation.step(10)
    others: list[tuple[app.Simulation, dict[str, Any], str]] = [
        (waters(4), {}, "number of atoms"),
        (waters(3, oxygen="OW"), {}, "name of atom 0"),
        (waters(3), {"atomSubset": [0, 1]}, "number of atoms"),
    ]
    heavier = waters(3)
    heavier.system.setParticleMass(5, 4.0)
    others.append((heavier, {}, "mass of atom 5"))
    for other, options, what in others:
        other.currentStep = 10
        other.reporters.append(DepotReporter(path, 10, append=True, **options))
        with pytest.raises(OtherSystem, match="another system") as caught:
            other.step(1)
        assert caught.value.what == what and caught.value.path == str(path)
        assert caught.value.expected != caught.value.found
    # Nothing holds the file after a refusal.
    with vldepot.append(path, "atomic_frame") as depot:
        assert depot.at(-1).step == 10
        del depot["topology"]
        depot.metadata.clear()
    simulation = waters(3)
    simulation.reporters.append(DepotReporter(path, 10, append=True, startOver=True))
    with pytest.raises(OtherSystem, match="no DepotReporter"):
        simulation.step(1)


def test_the_same_atoms_of_other_places_are_another_system(path: Path) -> None:
    simulation = waters(3)
    with DepotReporter(path, 10, atomSubset=[0, 1, 2]) as frames:
        simulation.reporters.append(frames)
        simulation.step(10)
    simulation = waters(3)
    simulation.reporters.append(DepotReporter(path, 10, append=True, atomSubset=[4, 5, 6], startOver=True))
    with pytest.raises(OtherSystem) as caught:
        simulation.step(1)
    assert (caught.value.what, caught.value.expected, caught.value.found) == (
        "atomSubset",
        [0, 1, 2],
        [4, 5, 6],
    )


def test_options_are_refused_before_the_run(path: Path) -> None:
    for option in ("n_atoms", "units"):
        with pytest.raises(TypeError, match=option):
            DepotReporter(path, 10, **{option: None})
    for make in (lambda: DepotReporter(path, 0), lambda: CheckpointReporter(DepotReporter(path, 1), "c", 0)):
        with pytest.raises(ValueError, match="reportInterval"):
            make()
    with pytest.raises(TypeError, match="presets"):
        DepotReporter(path, 10, presets="fast")
    assert not path.exists()
    frames = DepotReporter(path, 10)
    frames.close()
    simulation = argon()
    simulation.reporters.append(frames)
    with pytest.raises(vldepot.Closed):
        simulation.step(1)


def test_a_checkpoint_never_comes_before_its_frame(path: Path) -> None:
    """Also where OpenMM asks the two reporters in the other order: here the checkpoint is asked first."""
    checkpoint = path.with_suffix(".chk")
    simulation = argon()
    frames = DepotReporter(path, 10, enforcePeriodicBox=False, commit_every="never")
    order: list[str] = []

    class Spy(Memory):
        def report(self, simulation: Any, state: Any) -> None:
            order.append(f"{simulation.currentStep} {checkpoint.exists()}")

    # Two reporters want wrapped positions, so that OpenMM serves them and the checkpoint before the depot.
    simulation.reporters += [Spy(10), Spy(10), CheckpointReporter(frames, checkpoint, 10), frames, Spy(10)]
    simulation.step(10)
    assert order == ["10 False"] * 3, "the checkpoint waited for the frame"
    copy = path.with_name("copy.vld")
    shutil.copy(path, copy)
    assert steps(copy) == [10]
    simulation = argon()
    simulation.loadCheckpoint(str(checkpoint))
    with DepotReporter(copy, 10, append=True) as more:
        simulation.reporters.append(more)
        simulation.step(10)
    assert steps(copy) == [10, 20]
    frames.close()


def test_a_second_run_on_the_same_depot_is_refused(path: Path) -> None:
    simulation, second = argon(), argon()
    with DepotReporter(path, 10) as frames:
        simulation.reporters.append(frames)
        simulation.step(10)
        second.currentStep = 10
        second.reporters.append(DepotReporter(path, 10, append=True))
        with pytest.raises(vldepot.Locked):
            second.step(10)


def test_frames_are_there_for_readers_after_each_commit(path: Path) -> None:
    simulation = argon()
    with DepotReporter(path, 10, commit_every="never") as frames:
        simulation.reporters.append(frames)
        simulation.step(30)
        frames.commit()
        with vldepot.open(path, "atomic_frame") as reader:
            assert reader.at(-1).step == 30
            simulation.step(10)
            frames.commit()
            reader.refresh()
            assert reader.at(-1).step == 40


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/store-openmm-trajectories.md: its recipe twice, as if the run had been killed at step 3333."""
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[3] / "docs" / "how-to" / "store-openmm-trajectories.md"
    recipe, loop, reading = (block.split("```")[0] for block in page.read_text().split("```python\n")[1:])
    first = argon(2)
    exec(recipe.replace("5_000", "3_333"), {"simulation": first})
    assert first.currentStep == 3333 and steps(Path("run.vld"))[-1] == 3300
    second = argon(2)
    exec(recipe, {"simulation": second})
    assert steps(Path("run.vld")) == list(range(100, 5001, 100))
    third = argon(2)
    third.loadCheckpoint("run.chk")
    with DepotReporter("run.vld", 100, append=True) as frames:
        third.reporters.append(frames)
        exec(loop, {"simulation": third, "frames": frames})
        third.step(250)
    fourth = argon(2)
    fourth.loadCheckpoint("run.chk")
    assert fourth.currentStep == 8000
    with DepotReporter("run.vld", 100, append=True) as frames:
        fourth.reporters.append(frames)
        fourth.step(1)
    assert steps(Path("run.vld")) == list(range(100, 8001, 100))
    exec(reading, {})


def killed_at(folder: Path, last_step: int, step: int | None) -> list[str]:
    """Runs to `last_step`, and kills the process when it says that it is at `step` or beyond. Returns what it said."""
    command = [sys.executable, str(Path(__file__).with_name("systems.py")), str(folder), str(last_step)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    lines = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            what, _, number = line.partition(" ")
            if step is not None and what == "at" and int(number) >= step:
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
def test_a_run_killed_ten_times_has_every_frame_once(tmp_path: Path) -> None:
    """Each life of the run is killed at a random moment, ten times, the first before there is a checkpoint."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print("seed", seed)
    last_step, begins = 100, []
    for life in range(10):
        # Somewhat further each time; the process runs on until the signal comes, so it dies anywhere.
        step = FRAMES if life == 0 else begins[-1] + chance.randrange(FRAMES, 5 * CHECKPOINTS)
        lines = killed_at(tmp_path, 100_000, step)
        begins.append(int(lines[0].split()[1]))
        last_step = max(last_step, *(int(line.split()[1]) for line in lines if line.startswith("at")))
        report = vldepot.verify(tmp_path / "run.vld")
        assert report.torn_bytes >= 0
    assert begins[0] == 0 and begins == sorted(begins) and begins[-1] > 0, begins
    last_step = last_step // FRAMES * FRAMES + 50 * FRAMES
    lines = killed_at(tmp_path, last_step, None)
    assert lines[-1] == "done"
    expected = list(range(FRAMES, last_step + 1, FRAMES))
    assert steps(tmp_path / "run.vld") == expected
    with vldepot.open(tmp_path / "run.vld", "atomic_frame") as depot:
        assert list(depot) == ["topology", *(f"frame_{step:010}" for step in expected)]
        for step in expected:
            frame = depot[f"frame_{step:010}"]
            assert frame.step == step
            assert frame.time == pytest.approx(0.002 * step)
    assert vldepot.verify(tmp_path / "run.vld").is_whole
