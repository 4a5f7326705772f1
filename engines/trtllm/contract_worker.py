"""What an installed TensorRT-LLM takes: `python contract_worker.py found.json`, by a Python that has it.

It stands alone: a container of NVIDIA's has nothing of Opswright. Writes the version, the options of
`trtllm-serve serve` as click describes them, and the JSON schema of the LLM API's arguments.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(found_file: Path) -> None:
    """Write what is found."""
    import click

    group: Any = import_module("tensorrt_llm.commands.serve").main
    serve = group.commands["serve"]
    options: dict[str, Any] = {}
    for parameter in serve.to_info_dict(click.Context(serve))["params"]:
        if parameter["param_type_name"] == "option":
            kind = parameter["type"]
            told = {"type": kind["name"], "choices": [str(one) for one in kind.get("choices", ())]}
            options |= dict.fromkeys([*parameter["opts"], *parameter["secondary_opts"]], told)
    arguments: Any = import_module("tensorrt_llm.llmapi.llm_args").TorchLlmArgs
    found = {
        "version": str(import_module("tensorrt_llm").__version__),
        "serve": options,
        "llm_api": arguments.model_json_schema(),
    }
    found_file.write_text(json.dumps(found), encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
