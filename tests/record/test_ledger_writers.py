"""The ledger under several writers, and under writers that are killed."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from opswright.core.principal import Principal
from opswright.record.ledger import Ledger, Phase

WRITER = """
import sys
from pathlib import Path
from opswright.core.principal import Principal
from opswright.record.ledger import Ledger, Phase

ledger = Ledger(Path(sys.argv[1]), segment_bytes=int(sys.argv[4]))
for number in range(int(sys.argv[3])):
    pad = "x" * (number % 50) * 40
    who = Principal(sys.argv[2], ("operator",), "test")
    record = ledger.append(Phase.DONE, principal=who, step=str(number), detail={"pad": pad})
    print(record.seq, record.hash, flush=True)
"""


def start(folder: Path, name: str, count: int, segment_bytes: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count), str(segment_bytes)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_several_processes_append_to_one_chain(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    writers = [start(folder, f"writer-{n}", 25, segment_bytes=8_000) for n in range(3)]
    acknowledged = [line for writer in writers for line in writer.communicate(timeout=240)[0].splitlines()]
    assert all(writer.returncode == 0 for writer in writers)

    ledger = Ledger(folder)
    records = list(ledger.records())
    assert ledger.verify() == [] and len(ledger.segments()) > 2
    assert sorted(acknowledged) == sorted(f"{r.seq} {r.hash}" for r in records)
    for n in range(3):  # nobody's records change places
        assert [r.step for r in records if r.actor == f"writer-{n}"] == [str(i) for i in range(25)]


def test_threads_that_share_a_ledger_append_to_one_chain(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")

    def write(name: str) -> None:
        for _ in range(20):
            ledger.append(Phase.DONE, principal=Principal(name, ("operator",), "test"))

    threads = [threading.Thread(target=write, args=(f"thread-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify() == [] and ledger.head()[0] == 80


def test_a_writer_killed_at_any_instant_leaves_every_acknowledged_record(tmp_path: Path) -> None:
    ledger, dice, known = Ledger(tmp_path / "ledger", segment_bytes=8_000), random.Random(4), []
    for _ in range(4):
        writer = start(ledger.folder, "victim", 100_000, segment_bytes=8_000)
        assert writer.stdout is not None
        known.append(writer.stdout.readline().strip())
        time.sleep(dice.random() * 0.05)
        writer.kill()
        known += [line for line in writer.stdout.read().split("\n")[:-1] if line]
        writer.wait()
        writer.stdout.close()
        ledger.append(Phase.DONE, principal=Principal("after the kill", ("operator",), "test"))
        assert ledger.verify() == []
    assert {f"{r.seq} {r.hash}" for r in ledger.records()} >= set(known)
