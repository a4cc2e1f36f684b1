"""A clock that a test owns, for the threads of the product: they are real and run their own loops,
one at a time, and time moves only when all of them wait, at once to the next moment at which one of
them goes on. So a week lasts as long as what is done in it, and each run is the same.

What can wait (an event, a condition, a queue, a poll) is given to the product's modules in place of
the library's; what it asks of the clock is answered from here.
"""

from __future__ import annotations

import contextlib
import queue
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest

from appliance import clock

#: How long a thread may work without waiting before the test calls it stuck, in real seconds.
_STUCK_S = 60.0

T = TypeVar("T")


class _Killed(BaseException):
    """Ends a thread where it waits, as a power cut would."""


class Task:
    """One thread of the world."""

    def __init__(self, world: World, box: str, name: str, run: Callable[[], object]) -> None:
        self._world, self.box = world, box
        self.until_us: int | None = world.now_us  # when it goes on, whatever it waits for
        self.true: Callable[[], bool] | None = None  # what it waits for
        self.is_done = self.is_killed = False
        self.error: BaseException | None = None
        self.turn = threading.Semaphore(0)
        self._run = run
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)

    def _live(self) -> None:
        self.turn.acquire()
        try:
            if not self.is_killed:
                self._run()
        except _Killed:
            pass
        except BaseException as error:
            self.error = error
        self.is_done = True
        self._world.driver.release()

    def may_run(self) -> bool:
        if self.until_us is not None and self.until_us <= self._world.now_us:
            return True
        return self.true is not None and self.true()

    def join(self, timeout_s: float | None = None) -> None:
        self._world.wait(timeout_s, lambda: self.is_done)


class World:
    """The threads, and the only clock they know: `now_us` microseconds, on both of its faces."""

    def __init__(self, start_us: int) -> None:
        self.start_us = self.now_us = start_us
        self.driver = threading.Semaphore(0)
        self.switches = 0
        self._tasks: deque[Task] = deque()
        self._running: Task | None = None

    @property
    def now_s(self) -> float:
        return self.now_us / 1e6

    # ---- the test's side ----

    def spawn(self, name: str, run: Callable[[], object], box: str = "") -> Task:
        """A thread that begins when it is its turn: of this box, or of the box that starts it."""
        task = Task(self, box or (self._running.box if self._running else ""), name, run)
        self._tasks.append(task)
        task.thread.start()
        return task

    def run(self, seconds: float) -> None:
        """Let so much time go by."""
        until_us = self.now_us + round(seconds * 1e6)
        while self._step(until_us):
            continue

    def run_until(self, true: Callable[[], bool], within_s: float) -> None:
        """Let time go by until it is so."""
        until_us = self.now_us + round(within_s * 1e6)
        while not true():
            assert self._step(until_us), "it does not come true in time"

    def kill(self, box: str | None = None) -> None:
        """End the threads of a box where they stand, or all."""
        for task in [task for task in self._tasks if box in (None, task.box)]:
            task.is_killed = True
            self._give_turn(task)

    def _step(self, until_us: int) -> bool:
        """Let one thread run that may, or time move on; False when all that was to be done by
        `until_us` is done."""
        for _ in range(len(self._tasks)):
            self._tasks.rotate(-1)
            if self._tasks[-1].may_run():
                self._give_turn(self._tasks[-1])
                return True
        if self.now_us >= until_us:
            return False
        moments = [task.until_us for task in self._tasks if task.until_us is not None]
        self.now_us = min(min(moments, default=until_us), until_us)
        return True

    def _give_turn(self, task: Task) -> None:
        self._running = task
        self.switches += 1
        task.turn.release()
        assert self.driver.acquire(timeout=_STUCK_S), f"{task.thread.name} does not come to wait"
        self._running = None
        if task.is_done:
            task.thread.join()
            self._tasks.remove(task)
            if task.error is not None:
                raise task.error

    # ---- the threads' side ----

    def wait(self, timeout_s: float | None, true: Callable[[], bool] = lambda: False) -> bool:
        """Until it is so, at most so long; whether it is."""
        task = self._running
        if true():
            return True
        if timeout_s is not None and timeout_s <= 0:
            return False
        assert task is not None and task.thread is threading.current_thread()
        task.until_us = None if timeout_s is None else self.now_us + max(round(timeout_s * 1e6), 1)
        task.true = true
        self.driver.release()
        task.turn.acquire()
        if task.is_killed:
            raise _Killed
        return true()


class Event:
    def __init__(self, world: World) -> None:
        self._world, self._is_set = world, False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float | None = None) -> bool:
        return self._world.wait(timeout, self.is_set)


class Condition:
    """Its lock is nobody's: only one thread runs at a time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> Condition:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was locked."""

    def wait_for(self, true: Callable[[], bool], timeout: float | None = None) -> bool:
        return self._world.wait(timeout, true)

    def notify_all(self) -> None:
        """Who waits is asked each time."""


class Queue(Generic[T]):
    def __init__(self, world: World, most: int) -> None:
        self._world, self._most = world, most
        self._items: deque[T] = deque()

    def put_nowait(self, item: T) -> None:
        if len(self._items) == self._most:
            raise queue.Full
        self._items.append(item)

    def put(self, item: T) -> None:
        self._world.wait(None, lambda: len(self._items) < self._most)
        self._items.append(item)

    def get(self, timeout: float | None = None) -> T:
        if not self._world.wait(timeout, lambda: bool(self._items)):
            raise queue.Empty
        return self._items.popleft()


class Poll:
    """Of real descriptors; only the waiting is not."""

    def __init__(self, world: World) -> None:
        self._world, self._poll = world, select.poll()
        self.register = self._poll.register

    def poll(self, timeout_ms: float | None = None) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []

        def is_ready() -> bool:
            found[:] = self._poll.poll(0)
            return bool(found)

        self._world.wait(None if timeout_ms is None else timeout_ms / 1000, is_ready)
        return found


def in_place_of_the_librarys(world: World) -> dict[str, Any]:
    """What modules of the product know as `threading`, `queue` and `select`."""
    return {
        "threading": SimpleNamespace(
            Event=partial(Event, world),
            Condition=partial(Condition, world),
            Lock=threading.Lock,
            Thread=threading.Thread,
        ),
        "queue": SimpleNamespace(Queue=partial(Queue, world), Empty=queue.Empty, Full=queue.Full),
        "select": SimpleNamespace(
            poll=partial(Poll, world), POLLIN=select.POLLIN, POLLOUT=select.POLLOUT
        ),
    }


@contextlib.contextmanager
def virtual_time(start_us: int) -> Iterator[tuple[World, pytest.MonkeyPatch]]:
    """A world whose clock is the product's; all is as before afterwards."""
    world = World(start_us)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "monotonic_ns", lambda: world.now_us * 1000)
        patch.setattr(clock, "monotonic_s", lambda: world.now_s)
        patch.setattr(clock, "wall_us", lambda: world.now_us)
        patch.setattr(clock, "known_s", lambda: world.now_us // 1_000_000)
        try:
            yield world, patch
        finally:
            world.kill()
