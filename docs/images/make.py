"""Makes the pictures of the README from a finished demo.

Needs Chromium and a workspace in which `opswright demo` ended well:
`python docs/images/make.py .opswright`. Takes seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def main(workspace: Path) -> None:
    """Photograph the demo's report."""
    from playwright.sync_api import sync_playwright

    report = (workspace / "reports" / "demo.html").resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 1180}, device_scale_factor=1.5)
        page.goto(f"file://{report}")
        page.screenshot(path=str(Path(__file__).with_name("demo-report.png")))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".opswright"))
