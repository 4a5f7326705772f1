"""Runs the notebooks of this folder in an empty folder and keeps what came out: `make notebook`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).parent
_CELL_S = 600


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in a folder by this Python; nbclient's error when a cell fails.

    What is not kept: progress (stderr), when a cell ran, the folder's path.
    """
    notebook = nbformat.read(path, as_version=4)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {"OPSWRIGHT_MLFLOW__MIRROR": "off", "NO_COLOR": "1", "COLUMNS": "120"}
    place = {"metadata": {"path": str(folder)}}
    with tempfile.TemporaryDirectory() as sockets:  # no port for others to find
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        NotebookClient(notebook, km=kernel, timeout=_CELL_S, resources=place).execute(cleanup_kc=True)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.get("outputs", ()):
            for texts in (output, output.get("data", {})):  # of streams, and by media type
                for kind, text in texts.items():
                    if isinstance(text, str):
                        texts[kind] = text.replace(f"{folder.resolve()}/", "")
    notebook.metadata.pop("language_info", None)
    return notebook


if __name__ == "__main__":
    for one in sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as empty:
            nbformat.write(execute(one, Path(empty)), one)
        print(f"{one.name}: every cell ran")
