"""The console's app: its pages in one Gradio application, and the server they run in."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, NeedsError
from ...core.install import install_hint
from .auth.guard import Guard, is_loopback, known_hosts
from .auth.logins import Logins
from .auth.users import UsersFile
from .console import Console
from .gradio_import import collector_off, import_gradio, one_server_later
from .server import end_on_sigterm, listen, run

if TYPE_CHECKING:
    from gradio import Blocks, Theme

    from .auth.guard import App

_FOLDER = Path(__file__).parent


def build(console: Console) -> Blocks:
    """Every page; the first one is the chat."""
    gr: Any = import_gradio()
    from .auth import user_bar
    from .chat import page as chat
    from .chat.chat_service import ChatService
    from .data import page as data
    from .pages import drift, endpoints, leaderboard, ledger

    chat_service = ChatService(console)
    console.at_end.append(chat_service.close)
    with gr.Blocks(title="Opswright", analytics_enabled=False, fill_width=True) as app:
        gr.Navbar(main_page_name="Chat")
        user_bar.build(console, app)
        chat.build(console, chat_service)
    pages: dict[str, Callable[[], None]] = {
        "Data": lambda: data.build(console, chat_service),
        "Leaderboard": lambda: leaderboard.build(console),
        "Endpoints": lambda: endpoints.build(console),
        "Drift": lambda: drift.build(console),
        "Ledger": lambda: ledger.build(console),
    }
    for name, build_page in pages.items():
        with app.route(name, f"/{name.lower()}"):
            gr.Navbar(main_page_name="Chat")
            user_bar.build(console, app)
            build_page()
    return app  # type: ignore[no-any-return]


def theme() -> Theme:
    """Gradio's plain theme with the system's fonts: nothing is fetched."""
    gr: Any = import_gradio()
    return gr.themes.Base(  # type: ignore[no-any-return]
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def serve(console: Console, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the console until it is interrupted.

    AskError for an address others can reach when nobody has to log in; NeedsError when the port is taken or
    Gradio is not installed.
    """
    if console.users is None and not is_loopback(host):
        raise AskError(
            f"{host} is reachable from other machines and the console has no login. Add a user with "
            "`opswright users add NAME --role operator`, or listen on 127.0.0.1 and use an SSH tunnel."
        )
    end_on_sigterm()
    with listen(host, port) as bound:
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        app = application(console, host, port)
        run(app, bound, f"http://{shown}:{port}", when_ready=console.records.refresh, when_over=console.close)


def application(console: Console, host: str, port: int) -> App:
    """The pages behind their guard, as an ASGI application; fills in who is logged in."""
    uploads = _uploads_folder(console)
    try:
        gr: Any = import_gradio()
    except ImportError as error:
        raise NeedsError(f"the console needs Gradio ({error}). Install it: {install_hint('ui')}") from error
    from fastapi import FastAPI

    from .auth.login_page import login_routes
    from .pages.ledger_export import export_route

    logins = Logins(console.users) if isinstance(console.users, UsersFile) else None
    console.logins, console.cookie = {} if logins is None else logins, f"opswright-{port}"
    with one_server_later(), collector_off():
        blocks = build(console).queue(default_concurrency_limit=8)
    pages = ["/", *(f"/{page[0]}" for page in blocks.pages if page[0])]
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes.extend([*login_routes(logins, console.cookie, pages), export_route(console)])
    most_bytes = int(console.settings.console.max_upload_mb * 1e6)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SSR mode")  # warned of for every app of several pages
        _mount(gr, app, blocks, console, most_bytes)
    return Guard(
        app,
        frozenset(pages),
        known_hosts(host, console.settings.console.allowed_hosts),
        uploads,
        most_bytes,
        (lambda cookies: console.users is None or _name_in(console, cookies) is not None),
    )


def _mount(gr: Any, app: Any, blocks: Blocks, console: Console, most_bytes: int) -> None:
    """Put the pages into the application, with everything off that they do not use."""
    asks = console.users is not None
    gr.mount_gradio_app(
        app,
        blocks,
        path="",
        auth_dependency=(lambda request: _name_in(console, request.cookies)) if asks else None,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        footer_links=[],
        allowed_paths=[],
        max_file_size=most_bytes,
        theme=theme(),
        css_paths=sorted(_FOLDER.rglob("*.css")),
    )


def _name_in(console: Console, cookies: Mapping[str, str]) -> str | None:
    """Who is logged in, by the cookie; a user who was taken out of the users file is not."""
    return console.logins.get(cookies.get(console.cookie, ""))


def _uploads_folder(console: Console) -> Path:
    """The folder Gradio keeps uploads and downloads in: the workspace's own, closed to other users."""
    folder = console.workspace.root / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
    return folder
