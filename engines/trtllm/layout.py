"""The files of a bundle that its servers read: settings, start script, and Triton's model repository."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from .known import versions
from .options import TrtllmOptions
from .triton_config import MODEL, config_pbtxt

CHECKPOINT, SETTINGS, SCRIPT, REPOSITORY = "checkpoint", "llm_api.yaml", "serve.sh", "triton"
TRITON_SCRIPT = "triton.sh"
_SCRIPT = """#!/usr/bin/env bash
# Serves this bundle with TensorRT-LLM {version}, OpenAI's protocol: ./serve.sh [HOST] [PORT]
# In NVIDIA's container: docker run --gpus all --ipc host -p 8000:8000 -v "$PWD":{mount} IMAGE \\
#   {mount}/{script} 0.0.0.0
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
options=({options})
# Newer versions report their use unless they are told not to; older ones have no such option.
if trtllm-serve serve --help 2>/dev/null | grep -q -- --no-telemetry; then options+=(--no-telemetry); fi
exec trtllm-serve "$here/{checkpoint}" --host "${{1:-127.0.0.1}}" --port "${{2:-8000}}" \\
  --extra_llm_api_options "$here/{settings}" "${{options[@]}}"
"""
_TRITON_SCRIPT = """#!/usr/bin/env bash
# Serves this bundle with Triton and TensorRT-LLM {version}, in NVIDIA's container {image}:
#   docker run --gpus all --shm-size 2g --ulimit memlock=-1 -p 8000-8002:8000-8002 -v "$PWD":{mount} \\
#     {image} {mount}/{script}
# SOURCE has NVIDIA's model.py and helpers.py, which are not part of this bundle.
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
source="${{SOURCE:-/app/all_models/llmapi}}/{model}/1"
ask='from importlib.metadata import version; print(version("tensorrt_llm"))'
has="$(python3 -c "$ask" 2>/dev/null || echo none)"
if [ "$has" != "{version}" ]; then
  echo "this bundle is for TensorRT-LLM {version}; here is: $has. Use {image}." >&2; exit 1
fi
if [ ! -f "$source/model.py" ] || [ ! -f "$source/helpers.py" ]; then
  echo "no model.py and helpers.py in $source: get them with" >&2
  echo "  git clone --depth 1 -b v{version} https://github.com/NVIDIA/TensorRT-LLM.git" >&2
  echo "and set SOURCE to TensorRT-LLM/triton_backend/all_models/llmapi" >&2; exit 1
fi
repository="$(mktemp -d)"
cp -R "$here/{repository}/." "$repository"
cp "$source/model.py" "$source/helpers.py" "$repository/{model}/1/"
exec tritonserver --model-repository "$repository" "$@"
"""


def llm_settings(options: TrtllmOptions) -> dict[str, Any]:
    """What `trtllm-serve --extra_llm_api_options` reads."""
    return {
        "enable_chunked_prefill": options.chunked_prefill,
        "kv_cache_config": {
            "dtype": "fp8" if options.recipe.cache_preset else "auto",
            "enable_block_reuse": True,
            "free_gpu_memory_fraction": options.kv_cache_fraction,
        },
    }


def serve_options(options: TrtllmOptions) -> list[str]:
    """The options of trtllm-serve, beside model, address and settings."""
    given = {
        "--tp_size": options.tensor_parallel,
        "--pp_size": options.pipeline_parallel,
        "--max_batch_size": options.max_batch_size,
        "--max_num_tokens": options.max_num_tokens,
        "--max_seq_len": options.max_seq_len,
        "--kv_cache_free_gpu_memory_fraction": options.kv_cache_fraction,
    }
    return [word for name, value in given.items() for word in (name, str(value))]


def triton_settings(options: TrtllmOptions) -> dict[str, Any]:
    """The model.yaml of NVIDIA's llmapi model: arguments of its LLM, and what it tells Triton."""
    return {
        "model": f"{options.mount}/{CHECKPOINT}",
        "backend": "pytorch",
        "tensor_parallel_size": options.tensor_parallel,
        "pipeline_parallel_size": options.pipeline_parallel,
        "max_batch_size": options.max_batch_size,
        "max_num_tokens": options.max_num_tokens,
        "max_seq_len": options.max_seq_len,
        **llm_settings(options),
        "triton_config": {"decoupled": True, "max_batch_size": 0},
    }


def write_layout(folder: Path, options: TrtllmOptions) -> None:
    """Write the files beside a checkpoint that is there already.

    NVIDIA's model.py and helpers.py are not copied: who deploys takes them from the container that serves.
    """
    (folder / SETTINGS).write_text(_yaml(llm_settings(options)), encoding="utf-8")
    script = folder / SCRIPT
    script.write_text(start_script(options), encoding="utf-8")
    script.chmod(0o755)
    version = folder / REPOSITORY / MODEL / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version.parent / "config.pbtxt").write_text(config_pbtxt(options), encoding="utf-8")
    triton_script = folder / TRITON_SCRIPT
    triton_script.write_text(triton_start_script(options), encoding="utf-8")
    triton_script.chmod(0o755)
    (version / "model.yaml").write_text(_yaml(triton_settings(options)), encoding="utf-8")


def start_script(options: TrtllmOptions) -> str:
    """The script that starts trtllm-serve on the bundle, wherever it lies."""
    return _SCRIPT.format(
        version=options.tensorrt_llm,
        mount=options.mount,
        options=shlex.join(serve_options(options)),
        checkpoint=CHECKPOINT,
        settings=SETTINGS,
        script=SCRIPT,
    )


def triton_start_script(options: TrtllmOptions) -> str:
    """The script that adds NVIDIA's code to the repository, and starts Triton, inside its container.

    Without `--disable-auto-complete-config`, by which model.yaml's batching and streaming would be left out.
    """
    return _TRITON_SCRIPT.format(
        version=options.tensorrt_llm,
        image=triton_image(options),
        mount=options.mount,
        model=MODEL,
        repository=REPOSITORY,
        script=TRITON_SCRIPT,
    )


def triton_image(options: TrtllmOptions) -> str:
    """NVIDIA's container that has the bundle's TensorRT-LLM; its tag is `TAG` where none is known."""
    tag = options.container or versions().container_of(options.tensorrt_llm) or "TAG"
    return f"nvcr.io/nvidia/tritonserver:{tag}-trtllm-python-py3"


def _yaml(values: dict[str, Any]) -> str:
    """JSON is YAML, and one spelling of it gives one digest."""
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
