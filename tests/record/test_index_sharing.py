"""One index for several processes and threads, a process that is killed, and a folder that is only read."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.index import LedgerIndex
from opswright.record.index.database import IndexDatabase
from opswright.record.ledger import Entry, Ledger, Phase, Record

from .indexed import WHO, append_run, database_of, holds_all, plain_state

REFRESH = """
import sys
from pathlib import Path
from opswright.record.index import LedgerIndex
from opswright.record.ledger import Ledger
index = LedgerIndex(Ledger(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    index.run_state("run-7")
    index.rows(limit=20)
print(index.refresh(), index.run_count(), len(index.run_state("run-7").records), flush=True)
"""


def begin(ledger: Ledger, times: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REFRESH, str(ledger.folder), str(times)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_refresh_at_once_share_one_index(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for number in range(8):
        append_run(ledger, f"run-{number}")
    LedgerIndex(ledger).refresh()
    made = database_of(ledger)
    ledger.append_all([Entry(Phase.DONE, f"run-{n % 90}", step=str(n)) for n in range(9_000)], WHO)
    readers = [begin(ledger, times=20) for _ in range(3)]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("go\n")
        reader.stdin.flush()
    for number in range(20):
        append_run(ledger, f"late-{number}")
        ledger.append(Phase.DENIED, principal=WHO, run="run-7")
    told = [reader.communicate(timeout=240)[0].split() for reader in readers]
    assert all(9_120 <= int(one[0]) <= ledger.head()[0] and 8 <= int(one[1]) <= 28 for one in told)
    assert all(115 <= int(one[2]) <= 135 for one in told)
    index = LedgerIndex(ledger)
    assert index.refresh() == ledger.head()[0] and index.run_state("run-7") == plain_state(ledger, "run-7")
    assert database_of(ledger) == made and len(list((tmp_path / "index").glob("*.sqlite"))) == 1


def test_a_question_is_answered_from_one_state_of_the_index(ledger: Ledger) -> None:
    index, count = LedgerIndex(ledger), "SELECT count(*) FROM lines"
    index.refresh()
    with IndexDatabase(ledger.folder.parent / "index").reading() as database:
        assert database.execute(count).fetchone() == (45,)
        append_run(ledger, "four")
        assert index.refresh() == 60
        assert database.execute(count).fetchone() == (45,)


def test_threads_share_one_index(ledger: Ledger) -> None:
    index, failed = LedgerIndex(ledger), []

    def use(name: str) -> None:
        try:
            for number in range(20):
                append_run(ledger, f"{name}-{number}", steps=1)
                assert index.run_state(f"{name}-{number}") is not None
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and index.run_count() == 63
    assert index.run_state("b-19") == plain_state(ledger, "b-19")


def test_a_process_killed_in_mid_refresh_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.append_all([Entry(Phase.DONE, f"run-{n % 900}", step=str(n)) for n in range(15_000)], WHO)
    killed = 0
    for number in range(8):  # the first is killed at once, before it can have read it all
        append_run(ledger, f"run-{number}")
        child = os.fork()
        if child == 0:
            try:
                LedgerIndex(ledger).refresh()
            finally:
                os._exit(0)
        time.sleep(0.005 + 0.05 * number)
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    index = LedgerIndex(ledger)
    assert killed > 0 and index.refresh() == ledger.head()[0]
    for name in ("run-0", "run-7", "run-899"):
        assert index.run_state(name) == plain_state(ledger, name)


def test_a_child_process_opens_the_index_for_itself(ledger: Ledger) -> None:
    index = LedgerIndex(ledger)
    assert holds_all(index, ledger)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            append_run(ledger, "four")
            code = 0 if index.row("four") is not None else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert holds_all(index, ledger)


def test_where_the_folder_cannot_be_made_the_index_is_the_process_own(ledger: Ledger) -> None:
    (ledger.folder.parent / "index").write_text("a file is in the way")
    index = LedgerIndex(ledger)
    assert holds_all(index, ledger)
    append_run(ledger, "four")
    assert holds_all(index, ledger)
    assert (ledger.folder.parent / "index").read_text() == "a file is in the way"


def test_an_index_that_is_only_read_is_copied_and_brought_up_to_date(ledger: Ledger) -> None:
    first = LedgerIndex(ledger)
    assert holds_all(first, ledger)
    first.close()
    append_run(ledger, "four")
    folder = ledger.folder.parent / "index"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "lock").unlink()
    (folder / "lock").mkdir()  # opening it for writing fails, as in a folder that is only read
    index = LedgerIndex(ledger)
    assert holds_all(index, ledger)
    (folder / "lock").rmdir()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".sqlite"} == {
        name: data for name, data in before.items() if name.endswith(".sqlite")
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_that_may_not_be_written_can_be_read(ledger: Ledger) -> None:
    assert holds_all(LedgerIndex(ledger), ledger)
    append_run(ledger, "four")
    for path in (ledger.folder.parent, ledger.folder.parent / "index"):
        path.chmod(0o555)
    try:
        assert holds_all(LedgerIndex(ledger), ledger)
    finally:
        for path in (ledger.folder.parent, ledger.folder.parent / "index"):
            path.chmod(0o755)


def test_a_workspace_keeps_one_index_for_all_who_ask(tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / "workspace"))
    append_run(Ledger.of(workspace), "one")
    assert LedgerIndex.of(workspace).rows() == LedgerIndex.of(Workspace(workspace.settings)).rows()
    assert isinstance(LedgerIndex.of(workspace).get(1), Record)


def test_an_index_that_nobody_asks_any_more_leaves_no_file_open(tmp_path: Path) -> None:
    def open_databases() -> int:
        links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(str(tmp_path) in link for link in links)

    gc.disable()  # it would close what is left open at some time
    try:
        for number in range(10):
            workspace = Workspace(load_settings(home=tmp_path / str(number)))
            append_run(Ledger.of(workspace), "one")
            assert LedgerIndex.of(workspace).row("one") is not None
            shutil.rmtree(Ledger.of(workspace).folder.parent / "index")
            assert LedgerIndex.of(workspace).row("one") is not None  # of a new file
        del workspace
        assert open_databases() == 0
    finally:
        gc.enable()
