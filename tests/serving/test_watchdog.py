"""A worker that hangs is found by its silence, one that a busy machine holds up is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from opswright.serving import processes
from opswright.serving.ports import bind
from opswright.serving.supervisor import Keeper, WorkerKeepers
from opswright.serving.watchdog import Pulse, starved_s
from opswright.serving.workers import BEATS, ConnectionTable, GatewayWorker

PATIENCE_S = 240.0
# gives signs of life until its file of the same name as its number is there, then hangs as it is told
BEATING = f"""
import os, sys, time
folder, number = sys.argv[1], os.environ["OPSWRIGHT_GATEWAY_WORKER"].partition("/")[0]
open(f"{{folder}}/pids-{{number}}", "a").write(f"{{os.getpid()}}\\n")
while not os.path.exists(f"{{folder}}/hang-{{number}}"):
    os.write(int(os.environ["{BEATS}"]), b".")
    time.sleep(0.2)
os.remove(f"{{folder}}/hang-{{number}}")
while True:
    pass
"""


class Clock:
    """Time, and how long the process waited for a processor, as the test says."""

    def __init__(self) -> None:
        self.now, self.starved = 0.0, 0.0

    def pulse(self) -> Pulse:
        return Pulse(1, 10.0, 120.0, lambda: self.now, lambda pid: self.starved)


def test_silence_is_borne_for_a_while_and_longer_before_the_first_sign_of_life() -> None:
    clock = Clock()
    pulse = clock.pulse()
    clock.now = 119.0
    assert not pulse.is_lost()
    pulse.beat()
    clock.now += 9.0
    assert not pulse.is_lost()
    clock.now += 1.1
    assert pulse.is_lost()
    pulse.beat()
    assert not pulse.is_lost()


def test_one_that_waits_for_a_processor_is_slow_and_not_hung() -> None:
    clock = Clock()
    pulse = clock.pulse()
    pulse.beat()
    for _ in range(40):  # of each second it gets a tenth
        clock.now += 1.0
        clock.starved += 0.9
        assert not pulse.is_lost(), clock.now
    clock.now += 12.0  # now it could have said something
    assert pulse.is_lost()


def test_no_machine_is_so_busy_that_a_hung_one_is_never_found() -> None:
    clock = Clock()
    pulse = clock.pulse()
    pulse.beat()
    clock.now += 2.0
    assert not pulse.is_lost()
    clock.now, clock.starved = 61.0, 1000.0
    assert pulse.is_lost()


def test_what_others_held_is_not_held_against_a_process() -> None:
    clock = Clock()
    pulse = clock.pulse()
    pulse.beat()
    clock.now += 9.9
    pulse.forgive()
    clock.now += 9.0
    assert not pulse.is_lost()


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this kernel does not count it")
def test_waiting_for_a_processor_is_measured_and_being_stopped_is_not_that() -> None:
    code = "while True: pass"
    cores = {min(os.sched_getaffinity(0))}
    crowd = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    try:
        for one in crowd:
            os.sched_setaffinity(one.pid, cores)
        deadline = time.monotonic() + PATIENCE_S
        while starved_s(crowd[0].pid) < 0.5:
            assert time.monotonic() < deadline, "it is never kept waiting"
            time.sleep(0.05)
        os.kill(crowd[0].pid, signal.SIGSTOP)
        time.sleep(0.3)
        before = starved_s(crowd[0].pid)
        time.sleep(1.0)
        assert starved_s(crowd[0].pid) == before
    finally:
        for one in crowd:
            one.kill()
            one.wait()


@pytest.fixture
def keepers(tmp_path: object) -> Iterator[Callable[[int], WorkerKeepers]]:
    listener = bind("127.0.0.1", 0)
    made: list[tuple[WorkerKeepers, threading.Thread]] = []

    def start(count: int) -> WorkerKeepers:
        table, descriptor = ConnectionTable.of_size(count)
        first = GatewayWorker(0, count, "control", table=descriptor)
        found = WorkerKeepers(
            [
                Keeper(
                    [sys.executable, "-c", BEATING, str(tmp_path)],
                    listener.fileno(),
                    worker=replace(first, number=number),
                    watchdog_s=2.0,
                    start_s=PATIENCE_S,
                )
                for number in range(count)
            ],
            table,
        )
        made.append((found, threading.Thread(target=found.keep)))
        made[-1][1].start()
        return found

    yield start
    for one, thread in made:
        one.stop()
        thread.join(timeout=PATIENCE_S)
    listener.close()


def pids(folder: object, number: int, count: int) -> list[int]:
    """The processes that worker has been, once there are so many."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with open(f"{folder}/pids-{number}") as file:
                found = [int(line) for line in file]
        except FileNotFoundError:
            found = []
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, f"worker {number} was started {len(found)} times only"
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["a loop that never ends", "SIGSTOP"])
def test_a_worker_that_hangs_is_killed_and_started_again_and_the_others_go_on(
    tmp_path: object, keepers: Callable[[int], WorkerKeepers], how: str
) -> None:
    keepers(2)
    (first,), (second,) = pids(tmp_path, 0, 1), pids(tmp_path, 1, 1)
    if how == "SIGSTOP":
        os.kill(second, signal.SIGSTOP)
    else:
        open(f"{tmp_path}/hang-1", "w").close()
    assert pids(tmp_path, 1, 2)[0] == second
    assert processes.started_at(second) is None
    assert pids(tmp_path, 0, 1) == [first] and processes.started_at(first) is not None


def test_a_worker_that_is_stopped_is_ended_with_the_others(
    tmp_path: object, keepers: Callable[[int], WorkerKeepers]
) -> None:
    found = keepers(2)
    running = [pids(tmp_path, number, 1)[0] for number in (0, 1)]
    os.kill(running[1], signal.SIGSTOP)
    found.stop()
    deadline = time.monotonic() + PATIENCE_S
    while any(processes.started_at(pid) is not None for pid in running):
        assert time.monotonic() < deadline, "one is left"
        time.sleep(0.02)
