"""Which commands read which files: a case for every kind of file, so that none is left out.

A command runs in a folder with the whole files that it needs, of which one is damaged: ``{file}``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from footseg.benchmarks.experiments.fuzz import damage, fields
from footseg.benchmarks.experiments.fuzz.corpus import INT8, ONNX, STEP, TFLITE
from footseg.benchmarks.experiments.fuzz.damage import Damager

Words = str | Callable[[Path], object]
PHOTO = "photographs/photo.jpg"


@dataclass(frozen=True)
class Case:
    """One kind of file: ``files`` by pattern, how it is damaged, what else is ``needed``, who reads it.

    ``commands`` are command lines of footseg, or functions of the file where no command reads it from a disk
    that users have. ``weight`` is how often it is drawn; what trains or starts processes takes seconds.
    ``readers`` are the modules that read it.
    """

    name: str
    damage: Damager
    files: tuple[str, ...]
    needed: tuple[str, ...]
    commands: tuple[Words, ...]
    weight: float
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Mutant:
    """A damaged file and the command that is to read it."""

    case: Case
    file: str
    how: str
    data: bytes
    command: Words

    @property
    def said(self) -> str:
        """The command in words."""
        return self.command if isinstance(self.command, str) else f"{self.command.__name__}({self.file})"


def mutant(corpus: Path, seed: int, number: int, cases: tuple[Case, ...] | None = None) -> Mutant:
    """The mutant of this number: the same whenever it is asked for."""
    rng = Random(f"{seed}:{number}")
    chosen = cases or CASES
    (case,) = rng.choices(chosen, [one.weight for one in chosen])
    pattern = rng.choice(case.files)
    file = rng.choice(sorted(path.relative_to(corpus).as_posix() for path in corpus.glob(pattern)))
    command = rng.choice(case.commands)
    how, data = case.damage((corpus / file).read_bytes(), rng)
    if isinstance(command, str):
        command = command.replace("{file}", file)
    return Mutant(case, file, how, data, command)


def readers() -> Iterator[str]:
    """All modules that read what some case damages."""
    for case in CASES:
        yield from case.readers


# ---- what no command reads from a disk


def runner(path: Path) -> None:
    """What the native runner said on a phone."""
    from footseg.android_harness.runner import parse

    parse(path.read_text(encoding="utf-8", errors="replace"))


def benchmark_model(path: Path) -> None:
    """What Google's tool printed."""
    from footseg.android_harness.benchmark_output import parse

    parse(path.read_text(encoding="utf-8", errors="replace"))


def client(path: Path) -> None:
    """What a client's script printed, beside a whole array."""
    import numpy as np

    from footseg.export.clients.ask import answer

    np.save(path.parent / "out.npy", np.zeros((1, 2, 2, 2), np.float32))
    answer(path.read_text(encoding="utf-8", errors="replace"), path.parent / "out.npy")


def encoder(path: Path) -> None:
    """First weights for an encoder."""
    from footseg.networks._pretrained import read

    read(path)


def _part(name: str) -> Damager:
    """How a part of a ``.keras`` or ``.npz`` archive is damaged."""
    if name.endswith(".json"):
        return damage.of_json
    return damage.of_array if name.endswith(".npy") else damage.of_bytes


THEIRS = ("theirs", "run", "data", "photographs")
FILES = ("files", "run", "data", "photographs")
CASES = (
    Case(
        "image", damage.of_bytes, ("photographs/*",), FILES,
        (f"predict {TFLITE} {{file}} --out o", f"predict {TFLITE} photographs --out o"),
        6, ("footseg.data.images",),
    ),
    Case(
        "image of a data set", damage.of_bytes, ("masks/train/images/*",), ("masks", "files", "photographs"),
        (
            "data check masks", "data check masks --json", "data preview masks --out p.jpg",
            f"evaluate {TFLITE} --data masks --split train --out o",
            "data synth o --feet masks/train --floors photographs --count 2 --size 32 --workers 1",
        ),
        4, ("footseg.data.images",),
    ),
    Case(
        "mask", damage.of_bytes, ("masks/train/masks/*",), ("masks", "files", "photographs"),
        (
            "data check masks", "data check masks --fix", "data preview masks --out p.jpg",
            f"evaluate {TFLITE} --data masks --split train",
            "data synth o --feet masks/train --floors photographs --count 2 --size 32 --workers 1",
        ),
        4, ("footseg.data.opening", "footseg.data.images", "footseg.data.check", "footseg.data.mend"),
    ),
    Case(
        "dataset.toml", damage.of_toml, ("masks/dataset.toml",), ("masks", "files"),
        (
            "data check masks", "data check masks --fix", "data preview masks --out p.jpg",
            f"evaluate {TFLITE} --data masks --split train", "train tiptoe --data masks --out o",
        ),
        8, ("footseg.data.labels",),
    ),
    Case(
        "config.toml", damage.of_toml, ("config.toml",), ("config.toml", "data", "run", "space.toml"),
        ("train --config {file} --out run",) * 12 + (
            "search --config {file} --space space.toml --data data --out o --minutes 0.0001",
            "train --config {file} --out o --data data --epochs 1 --steps 1 --batch 2 --size 32",
        ),
        8, ("footseg.training.config",),
    ),
    Case(
        "config.toml of a run", damage.of_toml, ("run/config.toml",), (*FILES, "results.jsonl"),
        ("report results.jsonl --run run --out p.html", "train --resume --out run",
         "compress run --out o --prune 2"),
        4, ("footseg.training.config", "footseg.benchmarks.pages.training_curves"),
    ),
    Case(
        "space.toml", damage.of_toml, ("space.toml",), ("space.toml", "data"),
        ("search tiptoe --space {file} --data data --out o --minutes 0.0001",),
        8, ("footseg.search.space_file",),
    ),
    Case(
        "run.json", damage.of_json, ("run/run.json",), (*FILES, "results.jsonl", "golden"),
        ("report results.jsonl --run run --out p.html", "train --resume --out run") * 6 + (
            f"predict run {PHOTO} --out o", "evaluate run --data data",
            "compress run --out o --prune 0.5 --layer no=1",
            f"verify {TFLITE} --against run --on cpu --images 1",
            "export run --out o --images 1 --precision int8",
            "study run --out o --precision int8",
            "train tiptoe --data data --out o --start-from run --epochs 1 --steps 1",
        ),
        9, ("footseg.run", "footseg.paired"),
    ),
    Case(
        "history.csv", damage.of_csv, ("run/history.csv",), ("run", "results.jsonl"),
        ("report results.jsonl --run run --out p.html",), 8, ("footseg.run",),
    ),
    Case(
        "checkpoint.npz", damage.of_archive(_part), ("unfinished/checkpoint.npz",), ("unfinished", "data"),
        ("train --resume --out unfinished",), 0.5, ("footseg.training.logbook",),
    ),
    Case(
        "run.json of an unfinished run", damage.of_json, ("unfinished/run.json", "unfinished/config.toml"),
        ("unfinished", "data"), ("train --resume --out unfinished",), 0.5, ("footseg.run",),
    ),
    Case(
        "metrics.json", damage.of_json, ("evaluation/metrics.json",), ("evaluation", "results.jsonl"),
        ("report results.jsonl --evaluation evaluation --out p.html",), 8, ("footseg.evaluate",),
    ),
    Case(
        "picture of an evaluation", damage.of_bytes, ("evaluation/worst/*.jpg",), ("evaluation",
        "results.jsonl"),
        ("report results.jsonl --evaluation evaluation --out p.html",), 1,
        ("footseg.benchmarks.pages.pictures",),
    ),
    Case(
        "layers.json", damage.of_json, ("compressed/layers.json",), ("compressed", "run", "data"),
        ("compress --resume --out compressed",), 4, ("footseg.compress.sizes",),
    ),
    Case(
        "compress.json", damage.of_json, ("compressed/compress.json",), ("compressed", "run", "data"),
        ("compress --resume --out compressed", f"compress run --resume --out compressed {' '.join(STEP)}"),
        5, ("footseg.compress.request", "footseg.compress.pipeline"),
    ),
    Case(
        "record of a compressed run", damage.of_json, ("begun/*.json", "begun/steps/*/*.json",
        "compressed/run.json"),
        ("begun", "compressed", "run", "data", "results.jsonl"),
        ("compress --resume --out begun", "report results.jsonl --run compressed --out p.html"),
        1, ("footseg.compress.cut", "footseg.compress.pipeline", "footseg.run"),
    ),
    Case(
        "model.keras", damage.of_archive(_part), ("run/model.keras",), FILES,
        (f"predict run/model.keras {PHOTO} --out o",) * 4 + (
            "evaluate run --data data", "export run --out o --images 1 --no-speed --no-clients",
            "compress run --out o --prune 0.5 --layer no=1",
            f"verify {TFLITE} --against run --on cpu --images 1",
        ),
        3, ("footseg.foreign.loading", "footseg.runtime", "footseg.export.freeze"),
    ),
    Case(
        "weights of an encoder", damage.of_archive(_part), ("run/model.keras",), (), (encoder,),
        2, ("footseg.networks._pretrained",),
    ),
    Case(
        ".tflite, read", fields.of_tflite, (TFLITE, INT8), FILES,
        ("cost {file}", "cost {file} --layers --core cortex-a76 --json", "describe {file}",
         "describe {file} --classes a b --out new.tflite"),
        8, ("footseg.graphs.tflite", "footseg.graphs.metadata", "footseg.export.where.facts",
        "footseg.export.describe"),
    ),
    Case(
        ".tflite, run", fields.of_tflite, ("theirs/*.tflite",), THEIRS,
        (f"predict {{file}} {PHOTO} --out o", f"predict {{file}} {PHOTO} --out o",
         "evaluate {file} --data data",
         "golden make {file} --out o", "verify {file} --on cpu --images 1 --data data --against run",
         "bench {file} --runs 2 --seconds 1 --out r.jsonl"),
        6, ("footseg.runtime", "footseg.strangers"),
    ),
    Case(
        ".onnx, read", fields.of_onnx, (ONNX,), FILES,
        ("cost {file}", "cost {file} --layers --core cortex-a76 --json", "describe {file}"),
        6, ("footseg.graphs.onnx", "footseg.export.where.facts"),
    ),
    Case(
        ".onnx, run", fields.of_onnx, ("theirs/*.onnx",), THEIRS,
        (f"predict {{file}} {PHOTO} --out o", f"predict {{file}} {PHOTO} --out o",
         "evaluate {file} --data data",
         "golden make {file} --out o", "verify {file} --on ort --images 1 --data data --against run",
         "bench {file} --runs 2 --seconds 1"),
        5, ("footseg.runtime", "footseg.benchmarks.profiles"),
    ),
    Case(
        "weights beside an .onnx", damage.of_bytes, ("external/weights.bin", "external/net.onnx"),
        ("external", "photographs"),
        (f"predict external/net.onnx {PHOTO} --out o", "cost external/net.onnx"), 2, ("footseg.runtime",),
    ),
    Case(
        ".mlpackage", damage.of_bytes, ("coreml/*/Manifest.json", "coreml/*/Data/*/*.mlmodel",
        "coreml/*.json"),
        ("coreml", "photographs"),
        ("bench coreml/tiptoe_64x64_fp32.mlpackage",
         f"predict coreml/tiptoe_64x64_fp32.mlpackage {PHOTO} --out o",
         "cost coreml/tiptoe_64x64_fp32.mlpackage", "verify coreml/tiptoe_64x64_fp32.mlpackage --images 1",
         "describe coreml/tiptoe_64x64_fp32.mlpackage"),
        1, ("footseg.artifact",),
    ),
    Case(
        "sidecar", damage.of_json, (f"{TFLITE}.json", f"{INT8}.json", f"{ONNX}.json"), (*FILES,
        "results.jsonl"),
        (f"cost {TFLITE} {INT8} {ONNX}", f"describe {TFLITE}", f"describe {INT8}") * 4 + (
            f"predict {TFLITE} {PHOTO} --out o", f"evaluate {INT8} --data data",
            f"bench {INT8} --runs 2 --seconds 1 --out r.jsonl", f"golden make {INT8} --out o",
            f"verify {INT8} --on cpu --images 1",
        ),
        8, ("footseg.artifact", "footseg.paired"),
    ),
    Case(
        "golden.json", damage.of_json, ("golden/golden.json",), ("golden", "app"),
        ("golden check golden app", "golden check golden app --json"), 8, ("footseg.export.golden",),
    ),
    Case(
        "golden vectors", damage.of_bytes, ("golden/*/*", "app/*/*"), ("golden", "app"),
        ("golden check golden app",), 5, ("footseg.export.golden", "footseg.export.golden_check"),
    ),
    Case(
        "results.jsonl", damage.of_lines, ("results.jsonl",), ("results.jsonl", "files"),
        ("report {file} --out p.html", f"cost {TFLITE} --core cortex-a76 --results {{file}}") * 8 + (
            "report {file} --baseline {file} --out p.html",
            f"bench {INT8} --runs 2 --seconds 1 --gate {{file}} --out r.jsonl",
            f"bench {INT8} --runs 2 --seconds 1 --out {{file}}",
        ),
        10, ("footseg.benchmarks.results_file",),
    ),
    Case(
        "search.json and trials", damage.of_json, ("search/search.json", "search/trials/*.json"),
        ("search", "data"),
        ("report search --out p.html",) * 8 + ("search --resume --out search --trials 2",),
        10, ("footseg.search.records",),
    ),
    Case(
        "history of a trial", damage.of_csv, ("search/trials/*/history.csv",), ("search",),
        ("report search --out p.html",), 4, ("footseg.run",),
    ),
    Case(
        "costs and results of a search", damage.of_json, ("search/costs/*.json", "search/results.json"),
        ("search", "data"), ("report search --out p.html", "search --resume --out search --trials 3"),
        0.7, ("footseg.search.costs", "footseg.commands.searching"),
    ),
    Case(
        "record of a sensitivity", damage.of_json, ("sensitivity/*_int8.json",), ("sensitivity", "run",
        "data"),
        ("export run --out sensitivity --sensitivity --images 4",), 0.7, ("footseg.export.sensitivity",),
    ),
    Case(
        "verified.json", damage.of_json, ("verified.json",), ("verified.json", "results.jsonl"),
        ("report results.jsonl --verified {file} --out p.html",), 8, ("footseg.benchmarks.pages.verified",),
    ),
    Case(
        "records of a study", damage.of_json, ("study/steps/*.json", "study/sensitivity/*.json"),
        ("study", "run", "compressed", "data"), ("study run compressed --out study --precision fp32",),
        0.7, ("footseg.steps", "footseg.study.layers"),
    ),
    Case("runner", damage.of_lines, ("runner.txt",), (), (runner,), 6, ("footseg.android_harness.runner",)),
    Case(
        "benchmark_model", damage.of_text, ("benchmark_model.txt",), (), (benchmark_model,),
        4, ("footseg.android_harness.benchmark_output",),
    ),
    Case("answer of a client", damage.of_lines, ("client.txt",), (), (client,), 3,
    ("footseg.export.clients.ask",)),
    Case(
        "labels", damage.of_text, ("labels.txt",), ("labels.txt", "files"),
        (f"describe {TFLITE} --force --labels {{file}} --out new.tflite",), 3,
        ("footseg.commands.describing",),
    ),
)  # fmt: skip
