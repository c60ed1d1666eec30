"""The iterable data set: every record once, whoever reads, and exactly after any stop."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vldepot.torch", reason="PyTorch is not installed")

import torch
import torch.utils.data
from shared import FIELDS, N, check, dataset, drain, flat, frame, loader

import vldepot
from vldepot.torch import DataLoader, DepotIterable, FrameBatch

WORKERS = [
    (0, "fork"),
    (1, "fork"),
    (4, "fork"),
    (1, "forkserver"),
    (4, "forkserver"),
    (1, "spawn"),
    (4, "spawn"),
]


@pytest.mark.parametrize(("workers", "context"), WORKERS)
def test_every_record_comes_once_in_each_epoch(molecules: Path, workers: int, context: str) -> None:
    epochs = 10
    orders = []
    for persistent in (False, True) if context == "fork" and workers else (context != "fork",):
        loading = loader(molecules, workers, context, persistent)
        for epoch in range(epochs):
            assert loading.epoch == epoch
            numbers = flat(drain(loading))
            assert sorted(numbers) == list(range(N))
            orders.append((epoch, numbers))
        assert loading.epoch == epochs
    # The order is that of one process, and another one in each epoch.
    alone = loader(molecules)
    expected = [flat(drain(alone)) for _ in range(epochs)]
    assert all(numbers == expected[epoch] for epoch, numbers in orders)
    assert len({tuple(numbers) for numbers in expected}) == epochs


@pytest.mark.parametrize("lanes", [None, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_two_ranks_share_an_epoch(molecules: Path, workers: int, lanes: int | None) -> None:
    whole = drain(loader(molecules, lanes=lanes))
    ranks = [drain(loader(molecules, workers, lanes=lanes, rank=rank, world=2)) for rank in range(2)]
    assert ranks[0] == whole[0::2] and ranks[1] == whole[1::2]
    assert len(loader(molecules, lanes=lanes, rank=1, world=2)) == len(ranks[1])


@pytest.mark.parametrize("world", [2, 3, 4])
def test_even_ranks_have_as_many_batches(molecules: Path, world: int) -> None:
    whole = drain(loader(molecules))
    for drop_last in (False, True):
        ranks = [
            drain(loader(molecules, 0, rank=rank, world=world, even=True, drop_last=drop_last))
            for rank in range(world)
        ]
        assert len({len(rank) for rank in ranks}) == 1
        steps = [batch for step in zip(*ranks, strict=True) for batch in step]
        full = [batch for batch in whole if len(batch) == 7] if drop_last else whole
        if drop_last:
            assert steps == full[: len(full) // world * world]
        else:
            assert steps[: len(full)] == full and steps[len(full) :] == full[: len(steps) - len(full)]


@pytest.mark.parametrize("seed", range(6))
def test_a_state_goes_on_exactly_after_any_stops(molecules: Path, few: Path, seed: int) -> None:
    choose = random.Random(seed)
    options = choose.choice(
        [
            {},
            {"shuffle": "full"},
            {"shuffle": False},
            {"lanes": 4},
            {"max_atoms": 40, "batch_size": None},
            {"drop_last": True},
        ]
    )
    alone = loader(molecules, **options)
    whole = [drain(alone) for _ in range(3)]
    expected = [batch for epoch in whole for batch in epoch]
    got: list[list[int]] = []
    state: Any = None
    for _ in range(4):
        workers, persistent = choose.choice([(0, False), (1, False), (2, True), (3, False), (4, False)])
        loading = loader(molecules, workers, persistent=persistent, **options)
        if state is not None:
            loading.load_state_dict(json.loads(json.dumps(state)))
        stop = choose.randrange(1, len(expected) - len(got) if len(got) + 1 < len(expected) else 2)
        # Over the ends of epochs, as a training loop does.
        while stop > 0 and len(got) < len(expected):
            some = drain(loading, stop)
            got += some
            stop -= len(some)
        assert got == expected[: len(got)]
        state = loading.state_dict()
        assert state == loading.state_dict()
    loading = loader(molecules, **options)
    loading.load_state_dict(state)
    while len(got) < len(expected):
        got += drain(loading)
    assert got == expected


def test_a_state_at_each_batch_of_an_epoch(molecules: Path) -> None:
    loading = loader(molecules, 2)
    states, batches = [loading.state_dict()], []
    for batch in loading:
        batches.append(check(batch))
        states.append(loading.state_dict())
    for done, state in enumerate(states[:-1]):
        resumed = loader(molecules)
        resumed.load_state_dict(state)
        assert drain(resumed) == batches[done:]
    assert (states[-1]["epoch"], states[-1]["next_batch"]) == (1, 0)


@pytest.mark.parametrize("worlds", [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_a_state_goes_on_with_other_ranks_and_workers(molecules: Path, worlds: tuple[int, int]) -> None:
    whole = drain(loader(molecules))
    before, after = worlds
    for steps in (1, 4, 9):
        first = [loader(molecules, 2 if rank == 0 else 0, rank=rank, world=before) for rank in range(before)]
        done = [drain(one, steps) for one in first]
        assert sorted(flat([batch for rank in done for batch in rank])) == sorted(
            flat(whole[: before * steps])
        )
        states = [one.state_dict() for one in first]
        assert all(state == states[0] for state in states)
        rest = [loader(molecules, 3 if rank == 0 else 0, rank=rank, world=after) for rank in range(after)]
        for rank, one in enumerate(rest):
            one.load_state_dict(states[0])
            assert drain(one) == whole[before * steps + rank :: after]


def test_a_state_refuses_what_would_not_go_on_exactly(molecules: Path, few: Path, tmp_path: Path) -> None:
    loading = loader(molecules)
    drain(loading, 3)
    state = loading.state_dict()
    for options in (
        {"seed": 6},
        {"batch_size": 8},
        {"shuffle": "full"},
        {"lanes": 2},
        {"drop_last": True},
        {"split": "train"},
        {"max_atoms": 40},
    ):
        with pytest.raises(vldepot.OtherLoader):
            loader(molecules, **options).load_state_dict(state)
    with pytest.raises(vldepot.OtherLoader):
        loader(few).load_state_dict(state)
    with pytest.raises(vldepot.InvalidOptions):
        DepotIterable([molecules, few], FIELDS, batch_size=7).load_state_dict(state)
    for wrong in (
        {},
        {"version": 2},
        {**state, "epoch": -1},
        {**state, "next_batch": "3"},
        {**state, "worker": [0, 2, 0, 1]},
    ):
        with pytest.raises(vldepot.InvalidOptions):
            loader(molecules).load_state_dict(wrong)
    # A refused state changes nothing.
    fresh = loader(molecules)
    with pytest.raises(vldepot.OtherLoader):
        fresh.load_state_dict(
            {
                **state,
                "sources": [{**state["sources"][0], "plan": {**state["sources"][0]["plan"], "records": 3}}],
            }
        )
    assert flat(drain(fresh)) == flat(drain(loader(molecules)))


def test_a_depot_that_grew_goes_on_with_the_records_of_the_state(tmp_path: Path) -> None:
    path = tmp_path / "growing.vld"
    with vldepot.create(path) as depot:
        depot.update({n: frame(n) for n in range(100)})
    loading = loader(path)
    whole = drain(loading)
    loading = loader(path)
    first = drain(loading, 3)
    state = loading.state_dict()
    with vldepot.append(path) as depot:
        depot.update({n: frame(n) for n in range(100, 150)})
    for workers in (0, 2):
        resumed = loader(path, workers)
        assert resumed.dataset.n_batches() == 22
        resumed.load_state_dict(state)
        assert first + drain(resumed) == whole
    # Workers of a data set that was made before agree on its records.
    old = loader(path, 3)
    with vldepot.append(path) as depot:
        depot.update({n: frame(n) for n in range(150, 170)})
    assert sorted(flat(drain(old))) == list(range(150))


def test_set_epoch(molecules: Path) -> None:
    reference = loader(molecules)
    epochs = [drain(reference) for _ in range(4)]
    for workers, persistent in ((0, False), (2, False), (2, True)):
        loading = loader(molecules, workers, persistent=persistent)
        for epoch in (2, 0, 3):
            loading.set_epoch(epoch)
            assert drain(loading) == epochs[epoch]
        loading.set_epoch(1)
        assert drain(loading, 5) == epochs[1][:5]
        loading.set_epoch(1)  # it is there already, as after a resume
        assert drain(loading) == epochs[1][5:]
        loading.set_epoch(1)
        drain(loading, 5)
        loading.set_epoch(1, restart=True)
        assert drain(loading) == epochs[1]
    with pytest.raises(vldepot.InvalidOptions):
        loading.set_epoch(-1)


def test_persistent_workers_take_another_state(molecules: Path) -> None:
    whole = drain(loader(molecules))
    other = loader(molecules)
    drain(other, 4)
    loading = loader(molecules, 2, persistent=True)
    drain(loading)
    loading.load_state_dict(other.state_dict())
    assert drain(loading) == whole[4:]
    assert loading.epoch == 1


RANK = """
import json, sys
import torch.distributed
from shared import drain, loader

if __name__ == "__main__":
    path, rank, meeting = sys.argv[1:]
    meeting = "file://" + meeting
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=int(rank), world_size=2)
    loading = loader(path, 1, "spawn", even=True)
    numbers = drain(loading, 5)
    state = loading.state_dict()
    torch.distributed.barrier()
    numbers += drain(loading)
    torch.distributed.barrier()
    print(json.dumps([numbers, state]))
"""


def test_ranks_are_those_of_torch_distributed(molecules: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "ignore", script, molecules]
    runs = [
        subprocess.Popen(
            [*command, str(rank), tmp_path / "meeting"], stdout=subprocess.PIPE, text=True, env=environment
        )
        for rank in range(2)
    ]
    ranks, states = zip(*(json.loads(run.communicate(timeout=150)[0]) for run in runs), strict=True)
    whole = drain(loader(molecules))
    assert ranks[0] == whole[0::2] and ranks[1] == [*whole[1::2], whole[0]] and len(whole) % 2 == 1
    assert states[0] == states[1] and (states[0]["epoch"], states[0]["next_batch"]) == (0, 10)


def test_a_fork_in_the_middle_of_an_epoch_without_workers(molecules: Path) -> None:
    whole = drain(loader(molecules))
    alone = loader(molecules, threads=2)
    batches = iter(alone)
    first = [check(next(batches)) for _ in range(3)]
    assert drain(loader(molecules, 4)) == whole
    assert first + [check(batch) for batch in batches] == whole


def test_an_abandoned_iterator_is_of_no_use(molecules: Path) -> None:
    for workers in (0, 2):
        loading = loader(molecules, workers)
        old = iter(loading)
        next(old)
        new = iter(loading)
        check(next(new))
        with pytest.raises(RuntimeError, match="anew"):
            next(old)
        check(next(new))
        assert loading.state_dict()["next_batch"] == 3


@pytest.mark.parametrize("workers", [0, 3])
def test_budgets_of_atoms(molecules: Path, workers: int) -> None:
    loading = loader(molecules, workers, max_atoms=50, batch_size=None)
    for _ in range(2):
        numbers, batches = [], 0
        assert len(loading) > 0
        expected = len(loading)
        for batch in loading:
            assert len(batch.positions) <= 50
            numbers += check(batch)
            batches += 1
        assert sorted(numbers) == list(range(N)) and batches == expected
    costs = [n % 13 + 1 for n in range(N)]
    assert drain(loader(molecules, max_cost=50, costs=costs, batch_size=None)) == drain(
        loader(molecules, max_atoms=50, batch_size=None)
    )
    ranks = [
        drain(loader(molecules, workers, max_atoms=50, batch_size=None, rank=rank, world=2))
        for rank in range(2)
    ]
    assert sorted(flat(ranks[0] + ranks[1])) == list(range(N))
    assert sorted(flat(drain(loader(molecules, batch_bytes=4000, batch_size=None)))) == list(range(N))


def test_subsets(molecules: Path) -> None:
    assert sorted(flat(drain(loader(molecules, split="train")))) == list(range(0, N, 2))
    assert sorted(flat(drain(loader(molecules, 2, split="test")))) == list(range(1, N, 2))
    assert flat(drain(loader(molecules, shuffle=False, indices=[5, -1, 7]))) == [5, N - 1, 7]
    assert flat(drain(loader(molecules, shuffle=False, names=["m005", "m001"]))) == [5, 1]
    for wrong in ({"split": "valid"}, {"names": ["nobody"]}):
        with pytest.raises(vldepot.NotFound):
            loader(molecules, **wrong)
    with pytest.raises(IndexError):
        loader(molecules, indices=[N])


NAN = float("nan")
WRONG: list[dict[str, Any]] = [
    *(
        {name: value}
        for name in ("batch_size", "max_atoms", "batch_bytes", "lanes", "window", "group")
        for value in (0, -1, NAN, 2.5, True, "5", 10**30)
    ),
    *(
        {name: value}
        for name in ("seed", "prefetch", "threads")
        for value in (-1, NAN, 2.5, True, "5", 10**30)
    ),
    *({"max_cost": value, "costs": [1] * N} for value in (0, -1, NAN)),
    *({"max_cost": 5, "costs": costs} for costs in ([1], [NAN] * N, [-1] * N, [2**32] * N, [[1] * N], 5)),
    *(
        {"rank": rank, "world": world}
        for rank, world in ((0, 0), (-1, 2), (2, 2), (0.5, 2), (0, NAN), (0, None))
    ),
    *({"weights": weights} for weights in ([NAN], [0], [-1], [float("inf")], ["1"], [True], [1, 1])),
    *(
        {name: 3}
        for name in ("transform", "collate", "batch_transform", "even", "drop_last", "shuffle", "on_error")
    ),
    {"batch_size": N + 1, "drop_last": True},
    {"indices": [1, 2], "drop_last": True},
]


@pytest.mark.parametrize(
    "options", WRONG, ids=lambda options: " ".join(f"{name}={value!r:.9}" for name, value in options.items())
)
def test_options_that_can_give_no_batch_are_refused(molecules: Path, options: dict[str, Any]) -> None:
    with pytest.raises(
        (vldepot.InvalidOptions, TypeError), match=list(options)[0] if len(options) == 1 else None
    ):
        DepotIterable(molecules, FIELDS, **options)


def test_options_of_the_loader_that_are_refused(molecules: Path) -> None:
    for options in (
        *({"num_workers": value} for value in (-1, NAN, True, "2")),
        *({"num_workers": 1, "prefetch_factor": value} for value in (0, -1, 1.5)),
        *({"num_workers": 1, "timeout": value} for value in (-1, NAN, float("inf"))),
        {"num_workers": 1, "worker_init_fn": 3},
    ):
        with pytest.raises((vldepot.InvalidOptions, TypeError)):
            DataLoader(dataset(molecules), **options)


def check_mixed(batches: list[FrameBatch]) -> list[list[int]]:
    numbers = []
    for batch in batches:
        assert batch.sources is not None
        of = batch.indices + 1000 * batch.sources
        assert torch.equal(batch.energy, of.double()) and torch.equal(batch.n_atoms, of % 13 + 1)
        numbers.append(of.tolist())
    return numbers


def test_depots_are_mixed_by_weights(molecules: Path, few: Path) -> None:
    def mixed(workers: int = 0, **options: Any) -> DataLoader:
        both = DepotIterable(
            [molecules, few],
            FIELDS,
            **{"batch_size": 8, "weights": [3, 1], "shuffle": True, "seed": 2, **options},
        )
        how = {"multiprocessing_context": "fork", "timeout": 60} if workers else {}
        return DataLoader(both, num_workers=workers, **how)

    loading = mixed()
    epochs = [check_mixed(list(loading)) for _ in range(3)]
    assert [len(epoch) for epoch in epochs] == [50, 50, 50]
    for epoch in epochs:
        assert sorted(number for batch in epoch for number in batch if number < 1000) == list(range(N))
        small = [number for batch in epoch for number in batch if number >= 1000]
        assert set(small) == set(range(1000, 1070)) and sorted(small[:70]) == list(range(1000, 1070))
        assert small[:30] != small[70:100]
        assert [sum(number < 1000 for number in batch) for batch in epoch] == [6] * 50
    assert epochs[0] != epochs[1]
    # By workers and ranks, and after stops.
    parallel = mixed(3)
    assert [check_mixed(list(parallel)) for _ in range(3)] == epochs
    ranks = [check_mixed(list(mixed(2, rank=rank, world=2))) for rank in range(2)]
    assert ranks == [epochs[0][0::2], epochs[0][1::2]]
    for stop in (1, 34, 36, 49):
        first = mixed(2)
        some = check_mixed([batch for _, batch in zip(range(stop), first, strict=False)])
        for world in (1, 3):
            for rank in range(world):
                rest = mixed(rank, rank=rank, world=world)
                rest.load_state_dict(first.state_dict())
                assert check_mixed(list(rest)) == epochs[0][stop + rank :: world]
        assert some == epochs[0][:stop]
    with pytest.raises(vldepot.OtherLoader):
        mixed(weights=[1, 1]).load_state_dict(first.state_dict())
    for wrong in (
        {"weights": [1]},
        {"weights": [1, 0]},
        {"weights": [1000, 1]},
        {"batch_size": None, "max_atoms": 50},
        {"indices": [1]},
        {"weights": [1, 200], "batch_size": 400, "drop_last": True},
    ):
        with pytest.raises(vldepot.InvalidOptions):
            mixed(**wrong)


def double(sample: Any) -> Any:
    sample["positions"] *= 2
    return sample


def energy(sample: Any) -> float:
    return float(sample["energy"])


def total(batch: FrameBatch) -> float:
    return float(batch.energy.sum())


def test_transforms(molecules: Path) -> None:
    for workers in (0, 2):
        changed = list(loader(molecules, workers, transform=double))
        plain = list(loader(molecules, workers))
        assert all(
            torch.equal(one.positions, 2 * other.positions)
            and torch.equal(one.offsets, other.offsets)
            and torch.equal(one.indices, other.indices)
            for one, other in zip(changed, plain, strict=True)
        )
        assert list(loader(molecules, workers, transform=energy)) == [
            batch.energy.tolist() for batch in plain
        ]
        assert (
            list(loader(molecules, workers, transform=energy, collate=torch.tensor))[0].tolist()
            == plain[0].energy.tolist()
        )
        assert list(loader(molecules, workers, batch_transform=total)) == [total(batch) for batch in plain]


def test_records_of_other_codecs(tmp_path: Path) -> None:
    with vldepot.create(tmp_path / "arrays.vld", "array") as depot:
        depot.update({n: torch.full((n % 3, 2), n).numpy() for n in range(50)})
    with vldepot.create(tmp_path / "values.vld", "msgpack") as depot:
        depot.update({n: {"n": n} for n in range(50)})
    for workers in (0, 2):
        arrays = [
            record
            for batch in DataLoader(DepotIterable(tmp_path / "arrays.vld"), num_workers=workers)
            for record in batch
        ]
        assert (
            all(torch.equal(array, torch.full((n % 3, 2), n)) for n, array in enumerate(arrays))
            and len(arrays) == 50
        )
        arrays[1] += 1  # it is writable
        values = [
            record
            for batch in DataLoader(DepotIterable(tmp_path / "values.vld"), num_workers=workers)
            for record in batch
        ]
        assert values == [{"n": n} for n in range(50)]
    with pytest.raises(vldepot.InvalidOptions):
        DepotIterable(tmp_path / "values.vld", "positions")


def test_the_data_set_without_a_loader(molecules: Path) -> None:
    whole = drain(loader(molecules))
    alone = dataset(molecules)
    assert drain(alone, 3) == whole[:3]
    resumed = dataset(molecules)
    resumed.load_state_dict(alone.state_dict())
    assert drain(resumed) == whole[3:]
    assert (resumed.epoch, alone.epoch) == (1, 0)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_the_loader_of_pytorch_reads_too_but_has_no_state(molecules: Path, context: str) -> None:
    whole = drain(loader(molecules))
    once = dataset(molecules, rank=0, world=1)
    plain = torch.utils.data.DataLoader(
        once, batch_size=None, num_workers=2, multiprocessing_context=context, timeout=60
    )
    assert drain(plain) == whole
    with pytest.raises(RuntimeError, match="vldepot.torch.DataLoader"):
        once.state_dict()
    once.set_epoch(1)
    again = drain(plain)
    assert sorted(flat(again)) == list(range(N)) and again != whole


def test_workers_in_another_order_are_refused(molecules: Path) -> None:
    with pytest.raises(TypeError):
        DataLoader(torch.utils.data.TensorDataset(torch.zeros(3)))  # type: ignore[arg-type]
    loading = loader(molecules, 2)
    loading.in_order = False
    # Whether the order changes depends on which worker is faster; if it does, that is an error.
    try:
        assert sorted(flat(drain(loading))) == list(range(N))
    except RuntimeError as error:
        assert "another order" in str(error)


def test_the_stateful_loader_of_torchdata(molecules: Path) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def make(workers: int) -> Any:
        how = {"multiprocessing_context": "fork", "timeout": 60} if workers else {}
        return loaders.StatefulDataLoader(dataset(molecules), batch_size=None, num_workers=workers, **how)

    whole = drain(loader(molecules))
    for workers in (0, 3):
        got: list[list[int]] = []
        state = None
        for stop in (5, 4, 100):
            loading = make(workers)
            if state is not None:
                loading.load_state_dict(state)
            got += drain(loading, stop)
            state = loading.state_dict()
        assert got == whole
    some = make(3)
    drain(some, 4)
    other = make(2)
    other.load_state_dict(some.state_dict())
    with pytest.raises(vldepot.InvalidOptions, match="another number"):
        drain(other)


class Dies:
    """Kills its process at a record, if that is a worker."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self, sample: Any) -> Any:
        if torch.utils.data.get_worker_info() is not None and float(sample["energy"]) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample


TRAIN = """
import json, sys
from test_iterable import Dies, check, loader

if __name__ == "__main__":
    loading = loader(sys.argv[1], int(sys.argv[2]), sys.argv[3], transform=Dies(123.0))
    for batch in loading:
        print(json.dumps([check(batch), loading.state_dict()]), flush=True)
"""


@pytest.mark.parametrize(("workers", "context"), [(1, "fork"), (4, "fork"), (2, "forkserver"), (2, "spawn")])
def test_a_killed_worker_is_an_error(molecules: Path, tmp_path: Path, workers: int, context: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", script, molecules, str(workers), context],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert run.returncode == 1 and re.search("RuntimeError: DataLoader workers? .*killed", run.stderr), (
        run.stderr
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    numbers = flat([line[0] for line in lines])
    assert lines and 123 not in numbers
    # What was delivered counts, and nothing else.
    resumed = loader(molecules)
    resumed.load_state_dict(lines[-1][1])
    assert sorted(numbers + flat(drain(resumed))) == list(range(N))


class DiesAsItSends:
    """Makes large objects of Python, and kills its worker while it hands one over, or soon after."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def __call__(self, batch: FrameBatch) -> Any:
        if float(batch.energy.sum()) % 4 == 3:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return [bytes(3_000_000), list(range(100_000)), batch]


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_a_worker_killed_as_it_sends_much_is_an_error(molecules: Path, context: str) -> None:
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02):
        loading = loader(molecules, 2, context, batch_transform=DiesAsItSends(delay))
        seen: list[int] = []
        with pytest.raises(RuntimeError, match="killed or died"):
            while True:
                for zeros, numbers, batch in loading:
                    assert zeros == bytes(3_000_000) and numbers[-1] == 99_999
                    seen += check(batch)
        resumed = loader(molecules)
        state = loading.state_dict()
        resumed.load_state_dict(state)
        assert state["epoch"] or sorted(seen + flat(drain(resumed))) == list(range(N))


def fail(sample: Any) -> Any:
    raise ValueError("the transform's own")


def test_errors_of_workers_come_through(molecules: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the transform's own"):
        drain(loader(molecules, 2, transform=fail))
    path = tmp_path / "damaged.vld"
    with vldepot.create(path, preset="uncompressed") as depot:
        depot.update({f"m{n}": frame(n) for n in range(100)})
    content = bytearray(path.read_bytes())
    content[content.index(vldepot.open(path)["m50"].positions.tobytes())] ^= 1
    path.write_bytes(content)
    for workers in (0, 2):
        with pytest.raises(vldepot.Error):
            drain(loader(path, workers))
        skipping = loader(path, workers, on_error="skip")
        left = flat(drain(skipping))
        assert 50 not in left and 50 <= len(left) == len(
            set(left)
        )  # those that share its block are lost with it


def test_pickles(molecules: Path) -> None:
    whole = drain(loader(molecules))
    original = dataset(molecules)
    drain(original, 2)
    copied = pickle.loads(pickle.dumps(original))
    assert drain(copied) == whole[2:]
    assert drain(original, 1) == whole[2:3]  # they do not share their place
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    resumed = dataset(molecules)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert drain(resumed) == whole[3:]


def test_empty_depots(tmp_path: Path) -> None:
    vldepot.create(tmp_path / "empty.vld").close()
    for workers in (0, 2):
        loading = DataLoader(DepotIterable(tmp_path / "empty.vld"), num_workers=workers)
        assert len(loading) == 0 and list(loading) == [] and loading.epoch == 1


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_in_worker(batch: FrameBatch) -> FrameBatch:
    batch.fields["resident"] = torch.tensor([resident()])
    return batch


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="there is no /proc to read the memory from"
)
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_does_not_grow(molecules: Path, workers: int) -> None:
    loading = loader(molecules, workers, persistent=True, batch_transform=resident_in_worker, batch_size=2)
    sizes = []
    for _ in range(10):
        most = 0
        for batch in loading:
            most = max(most, int(batch.resident))
        sizes.append((most, resident()))
    for third, tenth in zip(sizes[2], sizes[9], strict=True):
        assert tenth < third + 16 * 2**20, sizes
