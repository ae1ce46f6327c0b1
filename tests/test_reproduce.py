"""The thesis made anew: steps that exist, are done once and in order; tables and verdicts that are right."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from footseg import cli, files, networks
from footseg import steps as running
from footseg.artifact import Artifact
from footseg.benchmarks.measurement import Latency, Measurement, Relative
from footseg.benchmarks.results_file import append_line
from footseg.cli import COMMANDS, parser
from footseg.commands._command import say
from footseg.data.images import read_image, write_image
from footseg.errors import FootsegError
from footseg.reproduce import claims, grid, results, settings, steps, tables, thesis
from footseg.reproduce.results import THESIS, NetworkResult, ThesisFigures
from footseg.reproduce.steps import Reproduction
from footseg.run import Run
from footseg.steps import StepsInterruptedError

TITLES = {row.key: row.title for row in steps.STUDENTS} | {"emilseg": "EmilSeg (U-Net 48)"}

# An evaluation's record.
SCORED: dict[str, Any] = {
    "model": "one", "sha256": "", "data": "real", "data_fingerprint": "f2", "split": "test", "images": 3,
    "size": [64, 64], "metrics": {}, "samples": ["p"],
    "per_image": [{"name": "p", "iou": 0.5}, {"name": "q", "iou": 1.0}],
}  # fmt: skip


# ---- a command line that only leaves what the real one would


class Maker:
    """Takes the place of the command line: notes each step and leaves what the next ones read."""

    def __init__(self, **ending: int) -> None:
        self.done: list[str] = []
        self.ending = ending  # of the first command with the word: its exit code

    def __call__(self, words: Sequence[str]) -> int:
        args = parser(COMMANDS).parse_args(words)  # SystemExit where a step is no command
        self.done.append(f"{words[0]} {Path(words[1]).name}")
        for word in [word for word in self.ending if word in words]:
            code = self.ending.pop(word)
            if code == 130:
                raise KeyboardInterrupt
            if code:
                say(f"footseg: {word} went wrong")
                return code
        getattr(self, words[0])(args)
        return 0

    def data(self, args: Any) -> None:
        for split, count in (("train", 5), ("val", 2), ("test", 3)):
            for number in range(count):
                name = f"{split}/{{}}/{number}"
                write_image(args.out / f"{name.format('images')}.jpg", np.zeros((8, 8, 3), np.uint8))
                write_image(args.out / f"{name.format('masks')}.png", np.zeros((8, 8), np.uint8))

    def train(self, args: Any) -> None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "model.keras").write_text(f"{args.network} {getattr(args, 'network_options', '')}")
        (args.out / "history.csv").write_text("epoch,images_per_second\n1,20\n2,40.5\n")
        Run(
            path=args.out, status="finished", network=args.network, network_options={}, seed=0,
            input_shape=(64, 64, 3), classes=("background", "foot"), colours=((0, 0, 0), (9, 9, 9)),
            parameters=1000, data="data", data_fingerprint="f1", epochs_done=2,
            best={"epoch": 2, "val_iou": 0.9}, seconds=120.0, versions={"footseg": "0"}, backend="jax",
            machine={"cpu": "Z80", "cores": 2, "system": "CP/M"},
        ).save()  # fmt: skip

    def evaluate(self, args: Any) -> None:
        scores = {"pixel_accuracy": 0.9, "iou": 0.8, "iou_per_image": 0.7, "boundary_f": 0.6}
        record = {"metrics": scores, "samples": ["a"], "per_image": [{"name": "a", "iou": 0.5}]}
        files.write_json(args.out / "metrics.json", SCORED | record)
        for kind in ("image", "truth", "prediction"):
            write_image(args.out / "samples" / f"a_{kind}.jpg", np.full((16, 16, 3), 128, np.uint8))

    def export(self, args: Any) -> None:
        path = args.out / f"{run_network(args.run)}_64x64_{args.precision[0]}.tflite"
        files.write_text(path, f"{args.run.name} {args.precision}")
        files.write_json(path.with_name(f"{path.name}.json"), {})

    def bench(self, args: Any) -> None:
        for number, path in enumerate(args.artifacts, start=1):
            line = Measurement(
                kind="measured",
                created="2025-01-01T00:00:00+00:00",
                artifact=Artifact(path, "tflite", files.sha256(path)),
                latency=Latency((), 10.0 * number, 10.0 * number, 0.02 * number, number > 5, "", 0),
                relative=Relative("a.tflite", "", float(number), 1),
                file_bytes=1_000_000 * number,
                gzip_bytes=1,
                cost={"macs": 1},
                device={"cpu": "Z80", "cores": 2, "system": "CP/M"},
                threads=1,
                runtime="LiteRT",
                runtime_version="2",
            )
            append_line(args.out, line)


def run_network(run: Path) -> str:
    return str(files.read_json(run / "run.json")["network"])


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Three folders with a file each."""
    made = {name: tmp_path / "photographs" / name for name in settings.FOLDERS}
    for folder in made.values():
        folder.mkdir(parents=True)
        (folder / "one.jpg").write_bytes(b"12")
    return made


@pytest.fixture
def given(folders: dict[str, Path]) -> dict[str, Any]:
    return {**folders, "size": 64}


@pytest.fixture(autouse=True)
def _light_networks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "end_to_end" not in request.node.name:
        monkeypatch.setattr(networks, "build", lambda name, shape, classes, **options: (name, shape, options))
        monkeypatch.setattr(results, "cost_of_keras", cost_of)


def cost_of(network: Any) -> Any:
    """A million MACs for each letter of the network's name."""
    name, shape, _ = network
    assert shape == (256, 256, 3)
    million = 10**6 * len(name)
    figures = {"parameters": million, "macs": million, "flops": 2 * million, "flops_tf_benchmark": million}
    return SimpleNamespace(summary=lambda: figures)


def make(out: Path, given: dict[str, Any], maker: Maker, **more: Any) -> dict[str, Any]:
    said: list[str] = []
    return thesis.reproduce(out, given, command=maker, say=said.append, **more)


# ---- steps


def test_every_network_is_trained_scored_exported_and_measured(tmp_path: Path, given: dict[str, Any]) -> None:
    maker, out = Maker(), tmp_path / "out"
    record = make(out, given, maker)
    assert maker.done[0] == "data synth"
    trained = [name for name in maker.done if name.startswith("train")]
    assert trained == [
        "train emilseg", "train enet", "train enet", "train linknet", "train mobileseg", "train fast_linknet",
    ]  # fmt: skip
    kinds = [name.split()[0] for name in maker.done]
    # Composited, real and, of the int8 file, real again.
    assert [kinds.count(kind) for kind in ("evaluate", "export", "bench")] == [3 * 6, 2 * 6, 1]
    assert [network["key"] for network in record["networks"]] == list(TITLES_IN_ORDER)
    assert {path.name for path in (out / "tables").iterdir()} == {
        "README.md", "results.json", "table_4_1_computed.csv", "table_4_1_measured.csv", "table_4_2.csv",
        "training.csv", "figure_4_1.jpg", "figure_4_2.jpg",
    }  # fmt: skip


TITLES_IN_ORDER = ("emilseg", "enet", "enet_published", "linknet", "mobileseg", "fast_linknet")


def test_the_students_of_the_full_preset_are_those_of_the_thesis(given: dict[str, Any]) -> None:
    out = Path("/somewhere")
    chosen = settings.resolve(out, {**given, "preset": "full", "size": 256})
    made = {
        step.name: step.words for step in steps.until_export(Reproduction(out, chosen, steps.rows(chosen)))
    }
    assert made["data"][made["data"].index("--count") + 1] == "71024"
    words = " ".join(made["train enet"])
    assert words.startswith("train enet --data /somewhere/data --out /somewhere/runs/enet --resume")
    assert "--preset thesis --size 256 --epochs 50 --steps 50 --batch 32 --learning-rate 0.001" in words
    assert "--network-options internal_scale=1 --network-options unpool=add" in words
    assert words.endswith("--loss ce distill:1 --teacher /somewhere/runs/emilseg --temperature 4.0")
    assert " ".join(made["train emilseg"]).endswith("--network-options base=48 --loss ce")
    assert "first_stride=2" in made["train linknet"]


def test_students_may_do_without_a_teacher(given: dict[str, Any]) -> None:
    out = Path("/somewhere")
    chosen = settings.resolve(out, {**given, "loss": ["ce", "iou:0.5"]})
    made = {step.name: step for step in steps.until_export(Reproduction(out, chosen, steps.rows(chosen)))}
    assert made["train linknet"].words[-3:] == ("--loss", "ce", "iou:0.5")
    assert made["train linknet"].needs == ("data",)


def test_what_is_done_is_not_done_again(tmp_path: Path, given: dict[str, Any]) -> None:
    out = tmp_path / "out"
    make(out, given, Maker())
    before = {path: path.stat().st_mtime_ns for path in (out / "steps").iterdir()}
    again = Maker()
    make(out, {}, again)  # a folder that was begun knows its settings
    assert again.done == []
    assert {path: path.stat().st_mtime_ns for path in (out / "steps").iterdir()} == before


def test_a_folder_that_was_moved_goes_on(tmp_path: Path, given: dict[str, Any]) -> None:
    make(tmp_path / "out", given, Maker())
    (tmp_path / "out").rename(tmp_path / "moved")
    again = Maker()
    make(tmp_path / "moved", given, again)
    assert again.done == []


@pytest.mark.parametrize("ending", [130, 1, 2])
def test_a_stopped_reproduction_goes_on_where_it_was(
    tmp_path: Path, given: dict[str, Any], ending: int
) -> None:
    """Whether Ctrl-C, an error or wrong usage stopped it."""
    out, first = tmp_path / "out", Maker(linknet=ending)
    kind = StepsInterruptedError if ending == 130 else FootsegError
    with pytest.raises(kind, match=r"the step 'train linknet'.* go on with: footseg reproduce thesis --out "):
        make(out, given, first)
    assert first.done[-1] == "train linknet"
    assert not (out / "tables").exists()
    second = Maker()
    make(out, given, second)
    assert second.done[0] == "train linknet"
    whole = Maker()
    make(tmp_path / "whole", given, whole)
    assert first.done[:-1] + second.done == whole.done


def test_a_nested_command_that_was_interrupted_ends_it_as_an_interrupt(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(StepsInterruptedError):
        thesis.reproduce(tmp_path / "out", given, command=lambda words: 130, say=lambda line: None)


def test_a_network_trained_anew_is_scored_anew_and_no_other(tmp_path: Path, given: dict[str, Any]) -> None:
    out = tmp_path / "out"
    make(out, given, Maker())
    shutil.rmtree(out / "runs" / "linknet")
    # Stopped after the training: what read the old weights must not pass for done.
    with pytest.raises(FootsegError):
        make(out, given, Maker(evaluate=1))
    again = Maker()
    make(out, given, again)
    kinds = [name.split()[0] for name in again.done]
    assert kinds == ["evaluate", "evaluate", "export", "export", "evaluate", "bench"]
    assert len((out / "bench.jsonl").read_text().splitlines()) == 12, "bench appends: the old lines must go"


def test_a_teacher_trained_anew_teaches_anew(tmp_path: Path, given: dict[str, Any]) -> None:
    out = tmp_path / "out"
    make(out, given, Maker(), students=["fast_linknet"])
    shutil.rmtree(out / "runs" / "emilseg")
    again = Maker()
    make(out, given, again, students=["fast_linknet"])
    assert "train fast_linknet" in again.done
    assert "data synth" not in again.done


def test_students_may_be_added_later(tmp_path: Path, given: dict[str, Any]) -> None:
    out = tmp_path / "out"
    make(out, given, Maker(), students=["fast_linknet"])
    again = Maker()
    record = make(out, given, again, students=["linknet", "fast_linknet"])
    assert [name for name in again.done if name.startswith("train")] == ["train linknet"]
    assert [network["key"] for network in record["networks"]] == ["emilseg", "linknet", "fast_linknet"]


def test_an_int8_file_that_export_refuses_is_a_result(tmp_path: Path, given: dict[str, Any]) -> None:
    out, maker = tmp_path / "out", Maker(int8=1)  # the teacher's, the first
    record = make(out, given, maker, students=["fast_linknet"])
    assert record["networks"][0]["files"]["int8"] == {"refused": "int8 went wrong"}
    page = (out / "tables" / "README.md").read_text()
    assert "EmilSeg (U-Net 12) in int8 was refused by the export's own check: int8 went wrong" in page
    assert sum(name.startswith("evaluate") for name in maker.done) == 5
    assert len((out / "bench.jsonl").read_text().splitlines()) == 3
    # Tried again the next time; where it comes out then, it is measured beside the others.
    again = Maker()
    make(out, given, again, students=["fast_linknet"])
    assert [name.split()[0] for name in again.done] == ["export", "evaluate", "bench"]
    assert "refused" not in (out / "tables" / "README.md").read_text()


def test_a_network_that_does_not_export_has_no_latency_and_stops_nobody(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    record = make(tmp_path / "out", given, Maker(fp32=1), students=["linknet", "fast_linknet"])
    assert record["networks"][0]["figures"]["latency_ms"] is None
    row = next(csv.reader((tmp_path / "out/tables/table_4_1_measured.csv").read_text().splitlines()[1:]))
    assert row[3:5] == ["", ""]
    because = record["claims"][4]["ours"]["because"]
    assert "LinkNet" in because
    assert "EmilSeg" not in because


# ---- settings


def test_other_settings_for_the_same_folder_are_refused(
    tmp_path: Path, given: dict[str, Any], folders: dict[str, Path]
) -> None:
    out = tmp_path / "out"
    make(out, given, Maker(), students=["fast_linknet"])
    for name, value in (
        ("epochs", 7), ("seed", 1), ("preset", "full"), ("loss", ["ce"]), ("feet", folders["real"]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"was begun with {name} = .*leave --{name} out to go on"):
            make(out, {**given, name: value}, Maker())
    (folders["floors"] / "two.jpg").touch()
    with pytest.raises(FootsegError, match=r"floors are not those that .* was begun with"):
        make(out, given, Maker())


def test_until_a_step_is_done_settings_may_change(tmp_path: Path, given: dict[str, Any]) -> None:
    out = tmp_path / "out"
    with pytest.raises(FootsegError):
        make(out, given, Maker(synth=1))
    make(out, {**given, "count": 30}, Maker(), students=["fast_linknet"])
    assert files.read_json(out / "settings.json")["settings"]["count"] == 30


@pytest.mark.parametrize("missing", settings.FOLDERS)
def test_photographs_must_be_given_and_be_there(tmp_path: Path, given: dict[str, Any], missing: str) -> None:
    without = {name: value for name, value in given.items() if name != missing}
    with pytest.raises(ValueError, match=f"no --{missing} given"):
        make(tmp_path / "out", without, Maker())
    with pytest.raises(FootsegError, match="no such folder"):
        make(tmp_path / "out", {**given, missing: tmp_path / "nowhere"}, Maker())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 100}, "size 100 must be a multiple of 64: the nearest is 128"),
        ({"preset": "ful"}, "did you mean 'full'"),
        ({"epochs": 0}, "epochs is 0: it must be at least 1"),
        ({"temperature": 0.0}, "temperature is 0.0: it must be more than 0"),
        ({"loss": ["cee"]}, "did you mean 'ce'"),
        ({"count": 2}, "count is 2: it must be 3 or more"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(
    tmp_path: Path, given: dict[str, Any], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "out", {**given, **wrong}, Maker())
    assert not (tmp_path / "out").exists()


def test_an_unknown_student_and_somebody_elses_folder(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="did you mean 'linknet'"):
        make(tmp_path / "out", given, Maker(), students=["linkent"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").touch()
    with pytest.raises(FootsegError, match="holds files that no reproduction made"):
        make(tmp_path / "mine", given, Maker())


# ---- tables


def result(key: str, figures: ThesisFigures, **files_by_precision: dict[str, Any]) -> NetworkResult:
    """A result with round numbers where the test does not look."""
    file = {
        "bytes": 3_000_000,
        "latency_ms": figures.latency_ms,
        "ratio": 2.0,
        "noisy": False,
        "spread": 0.01,
    }
    scores = {"pixel_accuracy": 0.5, "iou": 0.25, "iou_per_image": 0.125, "boundary_f": 0.75}
    return NetworkResult(
        key, TITLES[key], key, {}, figures,
        cost={"parameters": 1_810_818, "macs": 188_000_000, "flops": 376_000_000, "flops_tf_benchmark": 1},
        files={"fp32": file, "int8": file} | files_by_precision,
        accuracy={"composited": scores, "real": scores, "real_int8": scores},
        training={"epochs": 2, "minutes": 3.25, "images_per_second": 40.5, "best_epoch": 2, "val_iou": 0.9},
    )  # fmt: skip


OURS = ThesisFigures(0.31, 12.5, 7.2433, 0.91, 0.82, 0.73, 0.64)
MADE_ON = {
    "settings": {"size": 128, "feet": "a/feet", "floors": "a/floors", "real": "a/real"},
    "images": {"train": 6200, "val": 1800, "test": 2000},
    "real_images": 124,
    "trained_on": [{"cpu": "Z80", "cores": 2, "system": "CP/M", "backend": "jax"}],
    "latency_on": {"cpu": "6502", "cores": 1, "system": "BASIC", "threads": 1, "runtime": "LiteRT"},
    "versions": [{"footseg": "0.1"}],
    "minutes": 61.2,
    "finished": "2030-01-01",
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_4_1_has_the_thesis_beside_ours_by_hand() -> None:
    table = tables.computed([result("fast_linknet", OURS), result("enet_published", OURS)])
    lines = table.to_markdown().splitlines()
    assert cells(lines[4]) == [
        "FastLinkNet", "0.287", "0.310", "0.376", "0.188", "7.2", "7.24", "1,810,818", "3.00", "3.00",
    ]  # fmt: skip
    assert cells(lines[5])[:3] == ["ENet as published", "-", "0.310"], "the thesis has no such row"
    assert len({len(line) for line in lines[2:6]}) == 1, "columns line up"
    rows = list(csv.reader(table.to_csv().splitlines()))
    assert rows[1][:3] == ["FastLinkNet", "0.287", "0.31"]
    assert rows[2][1] == ""


def test_the_phone_and_the_host_never_share_a_column() -> None:
    slow = dataclasses.replace(OURS, latency_ms=100.0)
    noisy = {"bytes": 1, "latency_ms": 5.0, "ratio": 0.4, "noisy": True, "spread": 0.23}
    made = [result("enet", slow, int8={"refused": "bad"}), result("fast_linknet", OURS, int8=noisy)]
    table = tables.measured(made, MADE_ON)
    lines = table.to_markdown().splitlines()
    assert cells(lines[4]) == ["ENet", "1,045", "14.3", "100.00", "2.00", "-", "-"]  # 1045 / 73
    assert cells(lines[5]) == ["FastLinkNet", "73", "1.0", "12.50", "2.00", "5.00", "0.40"]
    assert not [head for head in table.heads if "phone" in head and "host" in head]
    assert "6502 (1 cores, BASIC), LiteRT, 1 thread, 128x128" in table.notes[0]
    assert table.notes[1] == "Noisy, by the middle half of the runs over the median: FastLinkNet int8 (23%)."


def test_table_4_2_by_hand() -> None:
    table = tables.accuracy([result("emilseg", OURS)], MADE_ON)
    assert cells(table.to_markdown().splitlines()[4]) == [
        "EmilSeg (U-Net 48)", "0.9912", "0.9100", "0.9860", "0.8200", "0.9740", "0.7300", "0.9814", "0.6400",
        "0.1250", "0.1250", "0.2500",
    ]  # fmt: skip
    assert "2000 composited images; real: 124 photographs of a/real" in table.notes[0]


def test_the_page_says_what_was_made_and_how_to_make_it_again(tmp_path: Path, given: dict[str, Any]) -> None:
    chosen = settings.resolve(tmp_path / "out", {**given, "epochs": 9, "loss": ["ce", "distill:2"]})
    judged = claims.judge(THESIS, THESIS, TITLES)
    page = tables.document([], [result("fast_linknet", OURS)], judged, chosen, MADE_ON)
    assert "10,000 composited images of 64x64 (6,200 to train on, 1,800 to validate, 2,000 to test" in page
    assert "9 epochs of 20 steps of 16 (2,880 images)" in page
    assert "Preset `quick` with other values of loss, size, epochs: " in page
    assert (
        "footseg reproduce thesis --out DIR --preset quick --feet a/feet --floors a/floors --real a/real "
        "--loss ce distill:2 --size 64 --epochs 9 --students fast_linknet\n"
    ) in page
    assert "Students: ce + distill:2, T = 4; learning rate 0.001; seed 0." in page
    assert "on: Z80, 2 cores, CP/M, jax." in page
    assert f"{tmp_path}" not in page


# ---- claims


def verdicts(ours: dict[str, ThesisFigures]) -> dict[str, claims.Claim]:
    judged = claims.judge(THESIS, ours, TITLES)
    keys = ("same", "close", "real", "nothing", "fastest", "frames", "quarter", "possible")
    return dict(zip(keys, judged, strict=True))


def test_the_claims_on_the_thesiss_own_figures() -> None:
    """By hand from Tables 4.1 and 4.2."""
    found = {key: claim.thesis for key, claim in verdicts(dict(THESIS)).items()}
    assert {key: verdict.holds for key, verdict in found.items()} == {
        "same": True, "close": False, "real": True, "nothing": True, "fastest": True, "frames": True,
        "quarter": False, "possible": False,
    }  # fmt: skip
    assert "0.9116 (ENet) to 0.9153 (FastLinkNet), 0.0037 apart" in found["same"].because
    assert "composited accuracy: ENet 0.0138 behind it" in found["close"].because
    assert "composited IoU: ENet 0.0744 behind it" in found["close"].because
    assert "IoU: LinkNet changes most, by +0.0004 on real images" not in found["real"].because
    assert "accuracy: MobileSeg changes most, by -0.0090" in found["real"].because
    assert "EmilSeg changes by -0.0172 in accuracy and -0.0046 in IoU" in found["real"].because
    assert "LinkNet 3.2, MobileSeg 7.6, ENet 14.3, EmilSeg 60.8" in found["fastest"].because
    assert found["frames"].because == "73 ms are 13.7 frames a second"
    assert found["quarter"].because == "45.0 MB / 7.2 MB = 6.2"
    assert found["possible"].because == "EmilSeg, real: IoU 0.9814 > accuracy 0.9740"


def test_claims_that_hold_and_claims_that_do_not() -> None:
    """Four made-up networks, changed one at a time."""
    good = {
        "emilseg": ThesisFigures(1, 100, 80, 0.99, 0.90, 0.99, 0.90),
        "linknet": ThesisFigures(1, 30, 40, 0.985, 0.895, 0.985, 0.895),
        "fast_linknet": ThesisFigures(1, 10, 10, 0.98, 0.892, 0.98, 0.892),
    }
    holding = {key: claim.ours.holds for key, claim in verdicts(good).items()}
    assert holding == {
        "same": True, "close": True, "real": True, "nothing": True, "fastest": True, "frames": None,
        "quarter": True, "possible": True,
    }  # fmt: skip

    def with_(key: str, **changes: float) -> dict[str, claims.Claim]:
        return verdicts({**good, key: dataclasses.replace(good[key], **changes)})

    # FastLinkNet 0.02 lower on real images: no longer the same, close, as on composited ones, or for nothing.
    worse = with_("fast_linknet", real_iou=0.865)
    assert [worse[key].ours.holds for key in ("same", "close", "real", "nothing")] == [False] * 4
    assert worse["nothing"].ours.because.endswith("real: 0.0300 behind the best other, LinkNet")
    assert "real IoU: FastLinkNet 0.0350 behind it" in worse["close"].ours.because
    slower = with_("fast_linknet", latency_ms=40)["fastest"].ours
    assert not slower.holds
    assert slower.because == "times its latency: LinkNet 0.8, EmilSeg (U-Net 48) 2.5"
    assert with_("emilseg", real_accuracy=0.89)["possible"].ours.holds is False
    # A teacher that its students overtake is not behind anybody.
    weak = with_("emilseg", test_iou=0.5, real_iou=0.5)["close"].ours
    assert weak.holds
    assert "composited IoU: FastLinkNet 0.3920 ahead of it" in weak.because


def test_networks_that_know_nothing_are_not_called_alike() -> None:
    nothing = ThesisFigures(1, 10, 10, 0.9, 0.06, 0.9, 0.06)
    found = verdicts(dict.fromkeys(("emilseg", "linknet", "fast_linknet"), nothing))
    for key in ("same", "close", "real", "nothing"):
        assert found[key].ours.holds is None
        assert found[key].ours.because == "no network has learned enough: the best composited IoU is 0.06"


def test_a_claim_about_networks_that_are_not_there_cannot_be_told() -> None:
    found = verdicts({"emilseg": THESIS["emilseg"]})
    assert {key for key, claim in found.items() if claim.ours.holds is None} == {
        "same", "close", "real", "nothing", "fastest", "frames", "quarter",
    }  # fmt: skip
    text = tables.verdicts(list(found.values()))
    assert "Ours: **cannot be told**. A network of the comparison is missing." in text
    assert "The thesis's figures: **does not hold**" in text


# ---- figures


def test_the_grid_shows_each_mask_in_its_place(tmp_path: Path) -> None:
    colours = {"image": 200, "truth": 150, "prediction": 60}
    for network, shift in (("one", 0), ("two", 40)):
        folder = tmp_path / network
        files.write_json(folder / "metrics.json", SCORED)
        for kind, grey in colours.items():
            write_image(folder / "samples" / f"p_{kind}.jpg", np.full((64, 64, 3), grey + shift, np.uint8))
    columns = [grid.GridColumn("One", tmp_path / "one"), grid.GridColumn("Two", tmp_path / "two")]
    picture = read_image(grid.write_grid(tmp_path / "grid.png", "Figure", columns))
    centre = grid.TITLE + grid.HEAD + grid.CELL // 2
    step = grid.CELL + grid.GAP
    found = [int(picture[centre, grid.MARGIN + grid.CELL // 2 + step * n, 0]) for n in range(4)]
    assert found == pytest.approx([200, 150, 60, 100], abs=2)  # JPEG
    assert picture.shape[:2] == (
        grid.TITLE + grid.HEAD + grid.CELL + grid.CAPTION + grid.MARGIN,
        2 * grid.MARGIN + 4 * step - grid.GAP,
    )
    files.write_json(tmp_path / "two" / "metrics.json", SCORED | {"samples": ["q"]})
    with pytest.raises(FootsegError, match="are not of the same images"):
        grid.write_grid(tmp_path / "grid.png", "Figure", columns)


# ---- the real thing, small


@pytest.mark.slow
def test_end_to_end(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command for real: a U-Net of 4 channels teaches FastLinkNet at 64x64; stopped once, by Ctrl-C."""
    floors = tmp_path / "floors"
    floors.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(60, 200, (8, 8, 3), np.uint8)
        Image.fromarray(noise).resize((96, 96)).save(floors / f"{number}.png")
    out = tmp_path / "out"
    words = ["reproduce", "thesis", "--out", f"{out}", "--students", "fast_linknet"]
    words += ["--feet", f"{tiny_data / 'train'}", "--floors", f"{floors}", "--real", f"{tiny_data}"]
    words += ["--count", "20", "--size", "64", "--epochs", "1", "--steps", "2", "--batch", "4"]
    words += ["--teacher-base", "4", "--json"]

    def interrupted(args: Any) -> Any:
        raise KeyboardInterrupt

    with_interruption = [
        replace(command, work=interrupted) if command.words == ("evaluate",) else command
        for command in running.COMMANDS
    ]
    monkeypatch.setattr(running, "COMMANDS", with_interruption)
    assert cli.main(words) == 130
    stopped = capsys.readouterr()
    assert stopped.out == ""
    assert "stopped in the step 'evaluate emilseg composited'; go on with: footseg reproduce" in stopped.err
    made = (
        (out / "data" / "train" / "images").stat().st_mtime_ns,
        (out / "runs" / "emilseg").stat().st_mtime_ns,
    )
    monkeypatch.undo()

    assert cli.main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert made == (
        (out / "data" / "train" / "images").stat().st_mtime_ns,
        (out / "runs" / "emilseg").stat().st_mtime_ns,
    )
    teacher, student = document["networks"]
    assert student["cost"]["parameters"] == 1_810_818
    assert student["figures"]["flops"] == pytest.approx(0.310, abs=5e-4)  # TFB of ARCHITECTURES: 0.310 G
    assert teacher["cost"]["parameters"] < 200_000
    assert sum(document["made_on"]["images"].values()) == 20
    assert document["claims"][4]["ours"]["holds"] in (True, False)
    page = (out / "tables" / "README.md").read_text()
    assert "| FastLinkNet" in page
    assert read_image(out / "tables" / "figure_4_1.jpg").shape[1] == 2 * grid.MARGIN + 4 * 200 - grid.GAP
    config = (out / "runs" / "fast_linknet" / "config.toml").read_text()
    assert "distill:1" in config
