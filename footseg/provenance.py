"""What made a file: versions, machine and time, gathered without importing the packages."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from footseg import __version__

PACKAGES = (
    "tensorflow",
    "jax",
    "torch",
    "keras",
    "tf_keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "coremltools",
    "numpy",
    "pillow",
)


def versions() -> dict[str, str]:
    """Versions of footseg, Python and of each installed package that can change a result."""
    found = {"footseg": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """The machine this runs on: processor model, cores usable by this process, system."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
    }


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
