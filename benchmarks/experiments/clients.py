"""Every default file of FastLinkNet and TipToe in every client: what the table of docs/clients.md says.

    python -m benchmarks.experiments.clients --data DIR --files FOLDER [--out FILE.json]

FOLDER has what ``footseg export RUN --to tflite onnx --precision fp32 fp16 int8`` gave of trained runs. Each
file is run by ``footseg verify`` on every client that is installed, those too that are asked by name only; a
processor that plays a GPU needs seconds for an image, and gets fewer of them.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from footseg import children, files
from footseg.export.clients import install
from footseg.export.clients.known import CLIENTS, Client

RESULTS = Path(__file__).resolve().parents[1] / "results" / "clients.json"
IMAGES, EMULATED_IMAGES = 100, 16
KEPT = ("client", "title", "version", "images", "equal_cpu", "equal_reference", "logit_max", "operators")


def verify(paths: Sequence[Path], clients: Sequence[Client], data: Path, images: int) -> dict[str, Any]:
    """The record of ``footseg verify``; that a client fails is a result, too (exit code 1)."""
    names = [client.name for client in clients]
    asked = ["verify", *map(str, paths), "--on", *names, "--data", str(data), "--images", str(images)]
    command = [*children.command("footseg"), *asked, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise subprocess.CalledProcessError(done.returncode, command)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row is a result; differences without their intervals."""
    found = {name: row[name] for name in KEPT if row[name] is not None}
    found |= {name: row[name]["difference"] for name in ("iou", "boundary_f") if row[name] is not None}
    return found | {"why": row["error"] or "; ".join(row["failures"]), "unconcerned": row["unconcerned"]}


def main() -> None:
    """Verify, and write the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set")
    parser.add_argument("--files", type=Path, required=True, help="folder of exported files")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    clients = [client for client in CLIENTS if not install.missing(client)]
    found: dict[str, list[dict[str, Any]]] = {}
    record: dict[str, Any] = {}
    for suffix in (".tflite", ".onnx"):
        paths = sorted(args.files.glob(f"*{suffix}"))
        for emulated, images in ((False, IMAGES), (True, EMULATED_IMAGES)):
            able = [c for c in clients if suffix in c.suffixes and c.emulated == emulated]
            if not able or not paths:
                continue
            record = verify(paths, able, args.data, images)
            for file in record["files"]:
                found.setdefault(file["file"], []).extend(kept(row) for row in file["rows"])
    if not record:
        parser.error(f"no .tflite and no .onnx in {args.files}: footseg export writes them")
    files.write_json(
        args.out,
        {
            "what": "files of footseg export on other people's runtimes",
            "data": args.data.resolve().name,
            "split": record["files"][0]["split"],
            "files": found,
            "machine": record["machine"],
            "versions": record["versions"],
            "created": record["created"],
        },
    )


if __name__ == "__main__":
    main()
