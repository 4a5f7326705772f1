"""Fixtures of the tests with real servers: tiny engines and Triton's environment, made once a session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

_PATIENCE_MS = 240_000  # a wait that ends on success costs nothing, and a busy machine may hold a page up


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one worker makes for all of a session; nobody changes what is in it."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two engine folders whose answers differ."""
    folder = _made_once(tmp_path_factory, "engines", lambda at: _make_tiny_engines(at, "int8", "1", "2"))
    return folder / "1" / "engine", folder / "2" / "engine"


@pytest.fixture(scope="session")
def exact_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model`, a checkpoint, and `engine`, made from it in full precision."""
    return _made_once(tmp_path_factory, "exact", lambda at: _make_tiny_engines(at, "fp32", "1")) / "1"


def _make_tiny_engines(folder: Path, *arguments: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("tiny_engines.py")), str(folder), *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def triton_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Triton's server lies: where settings or `make install` put it, else a folder of this session."""
    from opswright.core.settings import load_settings
    from opswright.serving.triton.installation import home_of, is_installed

    home = home_of(load_settings().serving)
    return home if is_installed(home) else _made_once(tmp_path_factory, "triton", lambda folder: None)


@pytest.fixture
def start_triton(
    triton_home: Path, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Callable[..., Any]]:
    """Starts Triton servers by hand, as if somebody else did; they are ended with the test."""
    from opswright.serving.triton.environment import PlatformFacts, locate

    install = locate(triton_home, PlatformFacts.here(), print)
    started: list[Any] = []

    def start(repository: Path | str, **options: Any) -> Any:
        log = tmp_path / f"triton-{len(started)}.log"
        server = _beside("foreign_triton").ForeignTriton(install, repository, free_port(), log, **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.end()


@pytest.fixture(scope="session")
def tiny_bases() -> Any:
    """The module that makes small bases in the usual chat formats."""
    return _beside("tiny_bases")


def _console_server() -> Any:
    return _beside("console_server")


def _beside(name: str) -> Any:
    """A module beside this file; tests are no package."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def prepared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace that real runs of small steps made; copied, never changed."""
    return _made_once(tmp_path_factory, "prepared", _console_server().prepare)


@pytest.fixture
def small_workspace(prepared_workspace: Path, tmp_path: Path) -> Path:
    """A copy of it: a folder in which `opswright` finds `.opswright`, plan files and their inputs."""
    return Path(shutil.copytree(prepared_workspace, tmp_path / "small"))


@pytest.fixture(scope="module")
def shown_console(
    prepared_workspace: Path, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Any]:
    """A console on such a workspace, for the tests of a file that change nothing that others see.

    `.url` and `.folder`; what is said in its chat goes with each test that asks for `empty_chat`.
    """
    folder = Path(shutil.copytree(prepared_workspace, tmp_path_factory.mktemp("shown") / "small"))
    server = _console_server().ConsoleServer(folder, free_port())
    ledger = folder / ".opswright" / "ledger"
    before = [path.read_bytes() for path in sorted(ledger.glob("*.jsonl"))]
    server.start()
    yield server
    server.stop()
    after = [path.read_bytes() for path in sorted(ledger.glob("*.jsonl"))]
    assert before == after, "a test changed what others see"


@pytest.fixture
def empty_chat(shown_console: Any) -> Any:
    """That console, without a conversation."""
    shutil.rmtree(shown_console.folder / ".opswright" / "conversations", ignore_errors=True)
    return shown_console


@pytest.fixture(scope="session")
def make_console(free_port: Callable[[], int]) -> Callable[..., Any]:
    """A console in a folder, on a port of its own, that is not started yet."""
    return lambda folder, **variables: _console_server().ConsoleServer(folder, free_port(), **variables)


@pytest.fixture(scope="module")
def worked_console(
    prepared_workspace: Path, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Any]:
    """A console on such a workspace, for the tests of a file that carry plans out; see `fresh_chat`."""
    folder = Path(shutil.copytree(prepared_workspace, tmp_path_factory.mktemp("worked") / "small"))
    server = _console_server().ConsoleServer(folder, free_port(), OPSWRIGHT_SERVING__GATEWAY_PORT="0")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fresh_chat(worked_console: Any, prepared_workspace: Path) -> Iterator[Any]:
    """That console without a conversation, its folder's files as at first; the ledger keeps what was done."""
    folder, home = worked_console.folder, worked_console.folder / ".opswright"
    shutil.rmtree(home / "conversations", ignore_errors=True)
    shutil.rmtree(home / "files", ignore_errors=True)
    for path in folder.iterdir():
        if path.is_file() and path != worked_console.log:
            path.unlink()
    for path in prepared_workspace.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    yield worked_console
    (folder / "go").touch()  # what a test that failed left running comes to its end


@pytest.fixture
def start_console(free_port: Callable[[], int]) -> Iterator[Callable[..., Any]]:
    """Starts `opswright chat` in a folder: `.url`, `.stop()`, `.start()` again; stopped at the end."""
    started: list[Any] = []

    def start(folder: Path, *options: str, **variables: str) -> Any:
        server = _console_server().ConsoleServer(folder, free_port(), *options, **variables)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        flags = _console_server().CHROMIUM_FLAGS
        made = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a context of its own; it must have asked nobody but this machine, and met no script error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    elsewhere: list[str] = []
    faults: list[str] = []
    context.on("request", lambda request: _note_elsewhere(request.url, elsewhere))
    context.on("weberror", lambda fault: faults.append(str(fault.error)))
    yield page
    context.close()
    assert elsewhere == [], "a page asked another machine"
    assert faults == [], "a script of a page failed"


@pytest.fixture
def hold_first(page: Page) -> Callable[..., Callable[[], None]]:
    """Holds the first requests to an address back, until what it gives is called."""

    def hold(address: str, count: int = 1) -> Callable[[], None]:
        held: list[Route] = []

        def take(route: Route) -> None:
            if len(held) == count:
                route.continue_()
            else:
                held.append(route)

        def let_go() -> None:
            deadline = time.monotonic() + _beside("held_answers").LONGEST_S
            while len(held) < count:
                assert time.monotonic() < deadline, "the page did not ask"
                page.wait_for_timeout(20)
            for route in held:
                route.continue_()

        page.route(address, take)
        return let_go

    return hold


@pytest.fixture
def hold_answer(page: Page) -> Callable[..., Any]:
    """Holds back the answer to the first request to an address, a regular expression, with some words."""
    return lambda address, *words: _beside("held_answers").HeldAnswer(page, address, *words)


def _note_elsewhere(url: str, elsewhere: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:")):
        elsewhere.append(url)
