"""Runs without training: a network with whatever weights it has, and the record that goes with it."""

from pathlib import Path
from typing import Any

from footseg.run import Run


def save_run(folder: Path, network: Any, /, **record: Any) -> Run:
    """Leave ``network`` in ``folder`` as a finished run of two classes; ``record`` says what differs."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "status": "finished", "network": network.name, "network_options": {}, "seed": 0,
        "input_shape": network.input_shape[1:], "classes": ("background", "foot"),
        "colours": ((0, 0, 0), (255, 0, 0)), "parameters": network.count_params(),
        "data": "", "data_fingerprint": "",
    }  # fmt: skip
    run = Run(folder, **(said | record))
    run.save()
    network.save(run.model)
    return run
