"""Every default file of FastLinkNet and TipToe in every client: what the table of docs/clients.md says.

    python -m benchmarks.experiments.clients --data DIR --files FOLDER [--out FILE.json]

FOLDER has what ``footseg export RUN --to tflite onnx --precision fp32 fp16 int8`` gave of trained runs. Each
file is run by ``footseg verify`` on every client that is installed, those too that are asked by name only; a
processor that plays a GPU gets fewer images. What FILE.json has of other files stays there.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from footseg import artifact, children, files
from footseg.export.clients import install
from footseg.export.clients.known import CLIENTS, Client
from footseg.terminal import percent

RESULTS = Path(__file__).resolve().parents[1] / "results" / "clients.json"
IMAGES, EMULATED_IMAGES = 100, 8
# A processor plays their GPU, at seconds for an image.
EMULATED = ("gpu", "webgpu")
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


def alike(folder: Path) -> list[list[Path]]:
    """The files of a folder by network and format, so that each network is run once for all of its files."""
    paths = sorted((*folder.glob("*.tflite"), *folder.glob("*.onnx")))
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        groups.setdefault((artifact.load(path).network, path.suffix), []).append(path)
    return list(groups.values())


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row is a result; differences without their intervals."""
    found = {name: row[name] for name in KEPT if row[name] is not None}
    found |= {name: row[name]["difference"] for name in ("iou", "boundary_f") if row[name] is not None}
    return found | {"why": row["error"] or "; ".join(row["failures"]), "unconcerned": row["unconcerned"]}


def tables(record: dict[str, Any]) -> str:
    """Of each format a table: clients, and the share of pixels of each file that are as on the processor."""
    return "\n\n".join(_table(record, suffix) for suffix in (".tflite", ".onnx"))


def _table(record: dict[str, Any], suffix: str) -> str:
    named = {name: rows for name, rows in record["files"].items() if name.endswith(suffix)}
    order = sorted(named, key=lambda name: (name.split("_")[:-1], name))
    heads = [" ".join((name.partition("_256x256")[0], name.split("_")[-1])) for name in order]
    cells: dict[str, list[str]] = {}
    for client in (client for client in CLIENTS if suffix in client.suffixes):
        rows = [next((row for row in named[name] if row["client"] == client.name), None) for name in order]
        said = next((row["version"] for row in rows if row and row["version"]), "")
        cells[client.name] = [f"`{client.name}`", said, *map(_cell, rows)]
    lines = [["client", "version", *heads], ["---"] * (len(heads) + 2), *cells.values()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: dict[str, Any] | None) -> str:
    """What a client made of one file, in a word."""
    if row is None or row["unconcerned"]:
        return "-"
    if "operators" in row:
        return "no" if row["why"] else f"opens, {row['operators']} operators"
    return percent(row["equal_cpu"]) if "equal_cpu" in row else "no"


def main() -> None:
    """Verify, and write the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set")
    parser.add_argument("--files", type=Path, required=True, help="folder of exported files")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=IMAGES, help="of each client (default: %(default)s)")
    args = parser.parse_args()
    clients = [client for client in CLIENTS if install.missing(client) is None]
    before = json.loads(args.out.read_text())["files"] if args.out.is_file() else {}
    found: dict[str, list[dict[str, Any]]] = {}
    for emulated, images in ((False, args.images), (True, EMULATED_IMAGES)):
        for paths in alike(args.files):
            able = [c for c in clients if paths[0].suffix in c.suffixes and (c.name in EMULATED) == emulated]
            if not able:
                continue
            record = verify(paths, able, args.data, images)
            for file in record["files"]:
                found.setdefault(file["file"], []).extend(kept(row) for row in file["rows"])
            # After each: with all clients this takes most of an hour.
            files.write_json(
                args.out,
                {
                    "what": "files of footseg export on other people's runtimes",
                    "data": args.data.resolve().name,
                    "split": record["files"][0]["split"],
                    "files": before | found,
                    "machine": record["machine"],
                    "versions": record["versions"],
                    "created": record["created"],
                },
            )
    if not found:
        parser.error(f"no .tflite and no .onnx in {args.files}: footseg export writes them")


if __name__ == "__main__":
    main()
