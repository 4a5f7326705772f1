"""A TensorRT-LLM bundle's weights on a CPU: what they say once they are taken back from their codes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..checkpoint import CheckpointEngine
from ..hf_folder import read_config
from .dequantise import dequantise, is_export
from .layout import CHECKPOINT


class DequantisedEngine(CheckpointEngine):
    """The checkpoint of a bundle as plain weights in a folder of its own, which is gone when it is closed.

    Activations are not quantised, and no code of TensorRT-LLM runs: its answers are those of the weights.
    Raises BackendError for packed 4-bit weights.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        export = folder / CHECKPOINT
        self._folder = Path(tempfile.mkdtemp(prefix="opswright-plain-"))
        try:
            if is_export(read_config(export)):
                export = dequantise(export, self._folder / CHECKPOINT)
            super().__init__(export, "cpu", threads, precision="float32")
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> str:
        """The library that runs it, and what it is not."""
        return f"{super().version}, weights taken back on a CPU; not TensorRT-LLM"

    def close(self) -> None:
        """Take the plain weights away."""
        shutil.rmtree(self._folder, ignore_errors=True)
