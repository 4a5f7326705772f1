"""The console's app: its own pages, Gradio's behind them, and the server they run in."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, NeedsError, OpswrightError
from ...core.install import install_hint
from .auth.guard import Guard, is_loopback, known_hosts
from .auth.logins import Logins
from .auth.users import UsersFile
from .console import Console
from .gradio_import import collector_off, import_gradio, one_server_later
from .server import end_on_sigterm, listen, run
from .web.calls import call_route
from .web.docs import docs_pages
from .web.frame import PAGES
from .web.late import LatePages

if TYPE_CHECKING:
    from gradio import Blocks, Theme
    from starlette.routing import Route

    from .auth.guard import App

_FOLDER = Path(__file__).parent
_LOOK = {  # what Gradio calls it: the colour of console.css
    "body_background_fill": "ground",
    "body_text_color": "ink",
    "body_text_color_subdued": "soft",
    "background_fill_primary": "ground",
    "background_fill_secondary": "raised",
    "border_color_primary": "line",
    "block_background_fill": "ground",
    "block_label_text_color": "soft",
    "block_title_text_color": "soft",
    "block_info_text_color": "soft",
    "input_background_fill": "ground",
    "input_border_color": "line",
    "input_border_color_focus": "accent",
    "input_placeholder_color": "soft",
    "button_secondary_background_fill": "ground",
    "button_secondary_background_fill_hover": "raised",
    "button_secondary_border_color": "line",
    "button_secondary_border_color_hover": "soft",
    "button_secondary_text_color": "ink",
    "checkbox_label_background_fill": "ground",
    "checkbox_label_background_fill_hover": "raised",
    "checkbox_label_background_fill_selected": "raised",
    "checkbox_label_border_color": "line",
    "checkbox_background_color_selected": "accent",
    "checkbox_border_color_selected": "accent",
}
_SHAPE = {
    "block_border_width": "0px",
    "block_border_width_dark": "0px",
    "block_padding": "0px",
    "block_title_text_size": "12px",
    "input_border_width": "1px",
    "input_border_width_dark": "1px",
    "input_padding": "8px 10px",
    "button_border_width": "1px",
    "button_border_width_dark": "1px",
    "layout_gap": "12px",
    "form_gap_width": "12px",
    "checkbox_label_border_width": "1px",
    "checkbox_label_border_width_dark": "1px",
}


def build(console: Console) -> Blocks:
    """The pages that Gradio makes, each with the frame that every page has."""
    gr: Any = import_gradio()
    from .auth import user_bar
    from .pages import drift, endpoints, leaderboard, ledger

    with gr.Blocks(title="Opswright", analytics_enabled=False, fill_width=True) as app:
        gr.Navbar(visible=False)  # its first page is never served: the address is the chat's
    pages: dict[str, Callable[[], None]] = {
        "Leaderboard": lambda: leaderboard.build(console),
        "Endpoints": lambda: endpoints.build(console),
        "Drift": lambda: drift.build(console),
        "Ledger": lambda: ledger.build(console),
    }
    for name, build_page in pages.items():
        with app.route(name, PAGES[name]):
            gr.Navbar(visible=False)
            user_bar.build(console, app, name)
            build_page()
    return app  # type: ignore[no-any-return]


def theme() -> Theme:
    """Gradio's plain theme in the look of the other pages, with the system's fonts: nothing is fetched."""
    gr: Any = import_gradio()
    plain = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    look = {name: f"var(--ow-{value})" for name, value in _LOOK.items()}
    dark = {f"{name}_dark": value for name, value in look.items()}
    return plain.set(**look, **dark, **_SHAPE)  # type: ignore[no-any-return]


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
        run(
            app,
            bound,
            f"http://{shown}:{port}",
            when_ready=console.start,
            when_over=console.close,
            is_proxied=bool(console.settings.console.allowed_hosts),
        )


def application(console: Console, host: str, port: int) -> App:
    """The pages behind their guard, as an ASGI application; fills in who is logged in.

    The chat and what else needs no Gradio is there at once; Gradio's pages are made beside it.
    """
    uploads = _uploads_folder(console)
    if find_spec("gradio") is None:
        raise NeedsError(f"the console needs Gradio. Install it: {install_hint('ui')}")
    from starlette.applications import Starlette

    from .auth.login_page import login_routes

    logins = Logins(console.users) if isinstance(console.users, UsersFile) else None
    console.logins, console.cookie = {} if logins is None else logins, f"opswright-{port}"
    pages = frozenset((*PAGES.values(), *docs_pages()))
    own = own_routes(console)
    routes = [*login_routes(logins, console.cookie, pages), *own]
    most_bytes = int(console.settings.console.max_upload_mb * 1e6)
    known = {route.path for route in routes}
    return Guard(
        LatePages(
            Starlette(routes=routes),
            lambda path: path in known or path.startswith("/call/"),
            lambda: _gradio_pages(console, most_bytes),
        ),
        pages,
        known_hosts(host, console.settings.console.allowed_hosts),
        uploads,
        most_bytes,
        (lambda cookies: console.users is None or _name_in(console, cookies) is not None),
        lambda cookies: _may_upload(console, cookies),
    )


def own_routes(console: Console) -> list[Route]:
    """The pages that need no Gradio, and what their scripts ask."""
    from .chat import page as chat
    from .chat.chat_service import ChatService
    from .data import page as data
    from .web import approvals, budgets, system
    from .web.frame import bell_function

    chat_service = ChatService(console)
    console.at_end.append(chat_service.close)
    made = [
        chat.page(console, chat_service),
        approvals.page(console, chat_service.run_service),
        data.page(console, chat_service),
        budgets.page(console),
        system.page(console),
    ]
    console.at_start.append(console.records.refresh)  # after what pages do: it may take long
    functions = {page.name.lower(): (*page.functions, bell_function(console)) for page in made}
    functions["docs"] = (bell_function(console),)
    return [*(page.route(console) for page in (*made, *docs_pages().values())), call_route(functions)]


def _gradio_pages(console: Console, most_bytes: int) -> Any:
    """The application with Gradio's pages, uploads and downloads."""
    gr: Any = import_gradio()
    from fastapi import FastAPI

    from .pages.ledger_export import export_route

    with one_server_later(), collector_off():
        blocks = build(console).queue(default_concurrency_limit=8)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes.append(export_route(console))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SSR mode")  # warned of for every app of several pages
        _mount(gr, app, blocks, console, most_bytes)
    return app


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
        css_paths=[_FOLDER / "console.css", _FOLDER / "pages" / "leaderboard.css"],
    )


def _name_in(console: Console, cookies: Mapping[str, str]) -> str | None:
    """Who is logged in, by the cookie; a user who was taken out of the users file is not."""
    return console.logins.get(cookies.get(console.cookie, ""))


def _may_upload(console: Console, cookies: Mapping[str, str]) -> bool:
    """Whether who is logged in may have a file stored; nobody, where the policy cannot be read."""
    try:
        return console.may_change(console.person(SimpleNamespace(cookies=cookies)))
    except OpswrightError:
        return False


def _uploads_folder(console: Console) -> Path:
    """The folder Gradio keeps uploads and downloads in: the workspace's own, closed to other users."""
    folder = console.workspace.root / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
    return folder
