"""The processes that make batches for `DataLoader`.

Each worker has two pipes and a file in memory, which it shares with the main process and with nobody else:

    main ──> worker   commands: an epoch to read, or a slot to use again
    worker ──> main   messages: a batch is in the slot at these bytes of the file
    the file          slots: pickles, with the bytes of tensors and arrays beside them

A worker that is killed can do no harm. A message is shorter than what a pipe takes at once, so it comes whole
or not at all, and it comes when its slot is complete. There is no lock that a dead process could hold. The
main process waits for a message and for the end of the worker at the same time.

What it hands out owns its memory: it is copied out of the slot, which is then used again.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import random
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils import worker as _torch_worker

#: A command or a message: six numbers, far less than the 512 bytes that any pipe takes at once.
_NUMBERS = struct.Struct("<6q")
_RUN, _FREE, _STOP = range(3)
_BATCH, _END, _ERROR = range(3)
#: What lies in a slot begins at multiples of so many bytes.
_ALIGN = 64
#: How often, in seconds, a process looks whether another one is still there, should no pipe tell it.
_LOOK = 2.0


def _aligned(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN


# -- pickles, with tensors beside them -----------------------------------------------------------------------


def _tensor(array: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(array).view(dtype).view(shape)


class _Pickler(pickle.Pickler):
    """Leaves the bytes of plain tensors to the buffers. Others are pickled as they pickle themselves."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or type(value) is not Tensor:
            # A batch packs its tensors into one buffer for the loader of PyTorch. Here they stay as they are.
            state = getattr(type(value), "_by_parts", None)
            return NotImplemented if state is None else state(value)
        plain = (
            value.device.type == "cpu"
            and value.layout is torch.strided
            and not (value.requires_grad or value.is_quantized or value.is_conj() or value.is_neg())
            and not value.__dict__
        )
        if not plain or value.numel() == 0:
            return NotImplemented
        array: Any = value.contiguous().view(-1).view(torch.uint8).numpy()
        return _tensor, (pickle.PickleBuffer(array), value.dtype, tuple(value.shape))


def _pickled(value: Any) -> tuple[memoryview, list[memoryview]]:
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        buffers.append(buffer.raw())
        return False

    file = BytesIO()
    _Pickler(file, 5, buffer_callback=keep).dump(value)
    return file.getbuffer(), buffers


def _pickled_error(error: Exception, worker: int) -> tuple[memoryview, list[memoryview]]:
    """The error, if it can be pickled, and what to add to it; else one with the same text."""
    trace = "".join(traceback.format_exception(error))
    with contextlib.suppress(Exception):
        parts = _pickled((error, f"\nIn worker {worker}:\n{trace}"))
        if isinstance(pickle.loads(parts[0], buffers=map(np.array, parts[1]))[0], type(error)):
            return parts
    return _pickled((RuntimeError(f"in worker {worker}: {trace}"), None))


# -- shared memory -------------------------------------------------------------------------------------------


class _Memory:
    """A file without a name, which two processes map. One writes and lengthens it, the other reads."""

    fd = -1

    def __init__(self) -> None:
        if sys.platform == "linux":
            # Unlike files in /dev/shm it does not count towards that folder's size, which containers keep
            # small.
            self.fd = os.memfd_create("vldepot")
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        self.bytes = memoryview(b"")

    def __getstate__(self) -> Any:
        return reduction.DupFd(self.fd)

    def __setstate__(self, state: Any) -> None:
        self.fd, self.bytes = state.detach(), memoryview(b"")

    def lengthen(self, length: int) -> None:
        """Makes sure that there is room: to touch a map without it would end the process."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.fd, 0, length)
        else:
            os.truncate(self.fd, length)

    def view(self, start: int, end: int) -> memoryview:
        if end > len(self.bytes):
            self.bytes = memoryview(mmap.mmap(self.fd, os.fstat(self.fd).st_size))
        return self.bytes[start:end]

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd, self.bytes = -1, memoryview(b"")


class _Slots:
    """Of a worker: the places in memory that it may write to."""

    def __init__(self, memory: _Memory, n: int) -> None:
        self.memory, self.free = memory, deque(range(n))
        self.places, self.length = [(0, 0)] * n, 0

    def write(self, slot: int, parts: tuple[memoryview, list[memoryview]]) -> tuple[int, int]:
        """Where it lies, and how long it is."""
        pickled, buffers = parts
        head = np.array([len(pickled), *map(len, buffers)], np.int64)
        pieces = [head.view(np.uint8).data, pickled, *buffers]
        length = sum(_aligned(len(piece)) for piece in pieces)
        start, room = self.places[slot]
        if length > room:
            # Twice as much each time, so what is left unused is less than what is used.
            start, room = self.length, -(-max(length, 2 * room) // mmap.PAGESIZE) * mmap.PAGESIZE
            self.memory.lengthen(start + room)
            self.places[slot], self.length = (start, room), start + room
        at = start
        for piece in pieces:
            self.memory.view(at, at + len(piece))[:] = piece
            at += _aligned(len(piece))
        return start, len(buffers) + 1


def _read(memory: _Memory, start: int, pieces: int, pinned: bool) -> Any:
    lengths = np.frombuffer(memory.view(start, start + 8 * pieces), np.int64).tolist()
    at, buffers = start + _aligned(8 * pieces), []
    pickled = memory.view(at, at + lengths[0])
    at += _aligned(lengths[0])
    for length in lengths[1:]:
        own = (
            torch.empty(length, dtype=torch.uint8, pin_memory=True).numpy()
            if pinned
            else np.empty(length, np.uint8)
        )
        own[:] = np.frombuffer(memory.view(at, at + length), np.uint8)
        buffers.append(own)
        at += _aligned(length)
    return pickle.loads(pickled, buffers=buffers)


# -- in a worker ---------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """Which batches: those from number `start` of an epoch on that belong to a rank."""

    epoch: int
    start: int
    rank: int
    world: int


class _Stopped(Exception):
    """The main process wants no more, or is gone."""


class _Worker:
    def __init__(self, number: int, commands: Connection, messages: Connection, slots: _Slots) -> None:
        self.number, self.commands, self.messages, self.slots = number, commands, messages, slots
        self.job: tuple[int, Job] | None = None
        self.parent = os.getppid()
        self.poll = select.poll()
        self.poll.register(commands.fileno(), select.POLLIN)

    def obey(self) -> None:
        """Waits for a command."""
        while not self.poll.poll(_LOOK * 1000):
            if os.getppid() != self.parent:
                raise _Stopped
        command = os.read(self.commands.fileno(), _NUMBERS.size)
        if len(command) < _NUMBERS.size:
            raise _Stopped
        what, number, *rest = _NUMBERS.unpack(command)
        if what == _STOP:
            raise _Stopped
        if what == _FREE:
            self.slots.free.append(number)
        else:
            self.job = number, Job(*rest)

    def tell(self, *numbers: int) -> None:
        try:
            os.write(self.messages.fileno(), _NUMBERS.pack(*numbers))
        except BrokenPipeError:
            raise _Stopped from None

    def send(self, run: int, kind: int, after: int, parts: tuple[memoryview, list[memoryview]]) -> bool:
        """Hands something over, when there is a slot for it. Not if there is another job by then."""
        while not self.slots.free and self.job is None:
            self.obey()
        if self.job is not None:
            return False
        slot = self.slots.free[0]
        place = self.slots.write(slot, parts)
        # Only now: an error of this write needs a slot too.
        self.slots.free.popleft()
        self.tell(run, kind, after, slot, *place)
        return True


def _work(
    batches: Callable[[Job, int, int], Iterator[tuple[Any, int]]],
    dataset: Any,
    number: int,
    workers: int,
    seed: int,
    begin: Callable[[int], None] | None,
    ends: tuple[Connection, Connection],
    memory: _Memory,
    n_slots: int,
    others: Iterable[Connection],
) -> None:
    """What the process of a worker does."""
    for connection in others:
        connection.close()
    # Ctrl-C goes to all processes of a terminal. The main one then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    seed += number
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([seed, number]).generate_state(4))
    _torch_worker._worker_info = _torch_worker.WorkerInfo(
        id=number, num_workers=workers, seed=seed, dataset=dataset
    )
    worker = _Worker(number, *ends, _Slots(memory, n_slots))
    with contextlib.suppress(_Stopped):
        while True:
            while worker.job is None:
                worker.obey()
            (run, job), worker.job = worker.job, None
            try:
                if begin is not None:
                    begin(number)
                    begin = None
                made = batches(job, number, workers)
                with contextlib.closing(made):  # type: ignore[type-var]
                    for batch, after in made:
                        if not worker.send(run, _BATCH, after, _pickled(batch)):
                            break
                    else:
                        worker.tell(run, _END, 0, -1, 0, 0)
            except _Stopped:
                raise
            except Exception as error:
                worker.send(run, _ERROR, 0, _pickled_error(error, number))


# -- in the main process -------------------------------------------------------------------------------------


class _Hand:
    """A worker, as the main process sees it."""

    def __init__(
        self, context: Any, number: int, args: Callable[..., tuple[Any, ...]], close: list[Connection]
    ) -> None:
        theirs_to_read, self.commands = context.Pipe(duplex=False)
        self.messages, theirs_to_write = context.Pipe(duplex=False)
        self.memory = _Memory()
        # A forked process has the main one's ends of all pipes. With them open, no pipe would tell of an end.
        close += [self.commands, self.messages]
        others = list(close) if context.get_start_method() == "fork" else []
        self.process = context.Process(
            target=_work,
            args=args(number, (theirs_to_read, theirs_to_write), self.memory, others),
            daemon=True,
        )
        try:
            self.process.start()
        finally:
            theirs_to_read.close()
            theirs_to_write.close()
        self.only_messages, self.poll = select.poll(), select.poll()
        for poll in (self.only_messages, self.poll):
            poll.register(self.messages.fileno(), select.POLLIN)
        self.poll.register(self.process.sentinel, select.POLLIN)

    def order(self, *numbers: int) -> None:
        # Of one that died, the next message tells.
        with contextlib.suppress(BrokenPipeError):
            os.write(self.commands.fileno(), _NUMBERS.pack(*numbers))

    def message(self, timeout: float) -> tuple[int, ...] | None:
        """Its next message, or `None` when it has died. Waits at most `timeout` seconds, unless that is 0."""
        until = time.monotonic() + timeout if timeout else float("inf")
        while True:
            ready = self.poll.poll(1000 * max(min(_LOOK, until - time.monotonic()), 0))
            if any(fd != self.messages.fileno() for fd, _ in ready) or (
                not ready and not self.process.is_alive()
            ):
                # What it had sent before is there by now.
                ready = self.only_messages.poll(0)
                if not ready:
                    return None
            if ready:
                message = os.read(self.messages.fileno(), _NUMBERS.size)
                return _NUMBERS.unpack(message) if len(message) == _NUMBERS.size else None
            if time.monotonic() >= until:
                raise RuntimeError(f"DataLoader timed out after {timeout} seconds")


class Workers:
    """Processes that make the batches of a data set in turns.

    Args:
        batches: Gives the batches of a job that worker `number` of `n` makes, each with the place after it.
        dataset: What `torch.utils.data.get_worker_info()` names.
        slots: Batches that each worker has ready, at most.
        begin: Called in each worker with its number.
        pinned: Whether tensors are in pinned memory.
    """

    def __init__(
        self,
        batches: Callable[[Job, int, int], Iterator[tuple[Any, int]]],
        dataset: Any,
        n: int,
        *,
        context: Any,
        slots: int,
        seed: int,
        begin: Callable[[int], None] | None,
        timeout: float,
        pinned: bool,
    ) -> None:
        self._pid, self._run = os.getpid(), 0
        self._hands: list[_Hand] = []
        self._timeout, self._pinned = timeout, pinned
        if sys.platform == "win32":
            raise NotImplementedError("workers need pipes of POSIX: on Windows, use num_workers=0")
        ends: list[Connection] = []

        def args(number: int, pipes: Any, memory: _Memory, others: list[Connection]) -> tuple[Any, ...]:
            return batches, dataset, number, n, seed, begin, pipes, memory, slots, others

        try:
            for number in range(n):
                self._hands.append(_Hand(context, number, args, ends))
        except BaseException:
            self.close()
            raise

    def run(self, job: Job) -> Iterator[tuple[Any, int]]:
        """The batches of a job, in turns. A job that was not finished is forgotten."""
        self._run += 1
        for hand in self._hands:
            hand.order(_RUN, self._run, *job)
        return self._turns(self._run)

    def _turns(self, run: int) -> Iterator[tuple[Any, int]]:
        ended = turn = 0
        while ended < len(self._hands):
            hand = self._hands[turn % len(self._hands)]
            turn += 1
            message = hand.message(self._timeout)
            while message is not None and message[0] != run:
                self._return(hand, message)
                message = hand.message(self._timeout)
            if message is None:
                raise self._died()
            _, kind, after, _, start, pieces = message
            if kind == _END:
                # After the worker that had the last batch, none has another one.
                ended += 1
                continue
            try:
                item = _read(hand.memory, start, pieces, self._pinned and kind == _BATCH)
            finally:
                self._return(hand, message)
            if kind == _ERROR:
                error, trace = item
                if trace is not None:
                    error.add_note(trace)
                raise error
            if ended:
                raise RuntimeError("a worker has more batches than it should")
            yield item, after

    def _return(self, hand: _Hand, message: tuple[int, ...]) -> None:
        if message[1] != _END:
            hand.order(_FREE, message[3], 0, 0, 0, 0)

    def _died(self) -> RuntimeError:
        for hand in self._hands:
            hand.process.join(timeout=0.2)
        codes = [
            (hand.process.pid, hand.process.exitcode) for hand in self._hands if not hand.process.is_alive()
        ]
        self.close(patience=0.5)
        how = ", ".join(f"{pid} ({code})" for pid, code in codes)
        return RuntimeError(
            f"DataLoader workers were killed or died: {how}. "
            "What was delivered before counts: state_dict() is right"
        )

    def __bool__(self) -> bool:
        """Whether they are there."""
        return bool(self._hands)

    def __del__(self) -> None:
        self.close()

    def close(self, patience: float = 5.0) -> None:
        """Ends the workers: they finish what they are doing, if it takes no more than so many seconds."""
        hands, self._hands = self._hands, []
        if os.getpid() != self._pid:
            return
        for hand in hands:
            hand.order(_STOP, 0, 0, 0, 0, 0)
            hand.commands.close()
            hand.messages.close()
        until = time.monotonic() + patience
        for hand in hands:
            for end in (hand.process.terminate, hand.process.kill):
                hand.process.join(timeout=max(until - time.monotonic(), 0.1))
                if hand.process.is_alive():
                    end()
            hand.process.join(timeout=1)
            hand.memory.close()
