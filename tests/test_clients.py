"""Files in other people's runtimes: fake ones, each with a fault of its own, and the real ones."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from footseg import cli, records
from footseg.errors import FootsegError
from footseg.export.clients import ask, install, known
from footseg.export.clients.known import Client, Need
from footseg.verifications import Verifications
from tests.red_network import SIZE, block, red_network, write_data

ROOT = Path(__file__).resolve().parents[1]
# What the red network computes, and then a line of its own.
SCRIPT = """
import json, os, signal, sys, time
import numpy as np
path, images, out = sys.argv[1:4]
red = np.load(images)[..., 0] / np.float32(255) - np.float32(0.5)
values = np.stack([np.zeros_like(red), red], axis=-1)
facts = {{"version": "Fake 1"}}
{line}
np.save(out, values)
print(json.dumps(facts))
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """red.onnx and a data set of four images for it, two of which are partly wrong in its eyes."""
    red_network(tmp_path / "red.onnx")
    right = block(8, 8, 8, 8)
    pairs = {"a": (right, right), "b": (right, block(8, 8, 8, 12)), "c": (right, right), "d": (right, right)}
    write_data(tmp_path / "data", pairs, "val")
    return tmp_path


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """``footseg verify red.onnx`` on one client whose script has this line: exit code, output, errors."""

    def run(line: str, *words: str, **fields: object) -> tuple[int, str, str]:
        script = files / "fake.py"
        script.write_text(SCRIPT.format(line=line))
        fake = Client("fake", "Fake", (".onnx",), str(script), **fields)  # type: ignore[arg-type]
        monkeypatch.setattr(known, "CLIENTS", (fake,))
        capsys.readouterr()
        code = cli.main(["verify", str(files / "red.onnx"), "--data", str(files / "data"), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_client_that_computes_the_same(verify: Ask) -> None:
    code, out, _ = verify("")
    assert code == 0
    assert (
        "red.onnx against the file itself on this CPU: no sidecar names its network, on 4 images of data/val"
        in out
    )
    assert re.search(r"^Fake +Fake 1 +100.000% +100.000% +0 +0 +\+0.0000 +\+0.0000  ok$", out, re.MULTILINE)


def test_the_document_is_the_record(verify: Ask) -> None:
    code, out, _ = verify("values[1, :2] *= -1", "--json")
    (file,) = records.of(Verifications, json.loads(out), strict=True).files
    (row,) = file.rows
    # Two of 32 rows of one of four images.
    assert (row.equal_cpu, row.worst) == (1 - 2 / SIZE / 4, {"b": 2 / SIZE})
    assert (row.status, row.ok, code) == ("failed", False, 1)
    assert (file.images, file.split, file.data, file.reference) == (4, "val", "data", file.reference)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("values[1, :2] *= -1", "98.437% of pixels as on the CPU (at least 99.80%)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV (Segmentation fault)"),
        ("raise ValueError('unsupported operator RFFT')", "unsupported operator RFFT"),
        ("values[2, 3, 4, 1] = np.nan", "it gave NaN or infinity on 1 of 4 images"),
        ("values = values[:, :-1]", "it gave (4, 31, 32, 2), not (4, 32, 32, 2)"),
        ("values = values[:3]", "it gave (3, 32, 32, 2), not (4, 32, 32, 2)"),
        ("sys.exit('the model wants more memory')", "the model wants more memory"),
        ("os._exit(0)", "it said nothing"),
        ("np.save(out, values); print('hello'); os._exit(0)", "what it gave cannot be read"),
        ("open(out, 'wb').write(b'no'); print('{\"version\": \"1\"}'); sys.stdout.flush(); os._exit(0)",
         "what it gave cannot be read"),
        ("sys.exit('RuntimeError: Exception from a.cpp:1:\\nException from b.cpp:2:\\nNo translator.')",
         "No translator."),
        ("print('No adapters found', file=sys.stderr); sys.exit(1)", "no GPU: Vulkan has no driver"),
    ],
)  # fmt: skip
def test_a_client_with_a_fault_is_one_clear_line(verify: Ask, line: str, why: str) -> None:
    code, out, err = verify(line)
    assert code == 1
    (said,) = [text for text in out.splitlines() if text.startswith("Fake: ") and "worst" not in text]
    assert why in said
    assert why in err


def test_a_client_that_hangs_is_ended(verify: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "START_SECONDS", 0.3)
    monkeypatch.setattr(ask, "IMAGE_SECONDS", 0.0)
    began = time.monotonic()
    code, out, _ = verify("time.sleep(100)")
    assert code == 1
    assert "Fake: no answer within 0 s" in out
    assert time.monotonic() - began < 30


def test_masks_are_held_against_masks(verify: Ask) -> None:
    assert verify("values = values.argmax(-1).astype(np.uint8)", masks=True)[0] == 0
    code, out, _ = verify("values = np.full(values.shape[:3], 255, np.uint8)", masks=True)
    assert code == 1
    assert "Fake: it gave class 255 where there are 2" in out


def test_a_map_of_another_shape_is_no_mask(verify: Ask) -> None:
    assert "it gave (4, 32, 32), not (4, 32, 32, 2)" in verify("values = values.argmax(-1)")[1]


def test_operators_that_an_accelerator_refuses_are_named(verify: Ask) -> None:
    log = [
        "Following operations are not supported by GPU delegate:",
        "TRANSPOSE_CONV: Max version supported: 3. Requested version 4.",
        "47 operations will run on the GPU, and the remaining 20 operations will run on the CPU.",
    ]
    code, out, _ = verify(f"print(*{log!r}, sep=chr(10), file=sys.stderr); sys.exit(1)", "--json")
    (row,) = records.of(Verifications, json.loads(out)).files[0].rows
    assert code == 1
    assert dict(row.refused) == {"TRANSPOSE_CONV": "Max version supported: 3. Requested version 4."}
    assert (row.accelerated, row.fallen) == (47, 20)
    assert "20 operators fell back to the CPU" in verify(f"print(*{log!r}, sep=chr(10), file=sys.stderr)")[1]


def test_environments_are_made_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C, a failure and an environment whose Python has gone: each is made anew the next time."""
    monkeypatch.setenv("FOOTSEG_CLIENTS", str(tmp_path / "clients"))
    client = Client("quagga", "Quagga", (".onnx",), "x.py", environment="quagga", packages=("quagga==1",))
    monkeypatch.setattr(known, "CLIENTS", (client,))
    folder, endings = tmp_path / "clients" / "quagga", [KeyboardInterrupt(), FootsegError("pip failed"), None]

    def pip(where: Path, packages: Sequence[str], interpreter: str) -> None:
        (where / "bin").mkdir(parents=True)
        (where / "bin" / "python").touch()
        if ending := endings.pop(0):
            raise ending

    monkeypatch.setattr(install, "_pip", pip)
    with pytest.raises(KeyboardInterrupt):
        install.main()
    assert not folder.exists()
    said: list[str] = []
    assert install.main(said.append) == 1
    assert not folder.exists()
    assert install.main(said.append) == 0
    assert install.main(said.append) == 0
    assert said == [
        "Quagga: not installed: pip failed", "Quagga: made in 0 s", "Quagga: there",
    ]  # fmt: skip
    (folder / "bin" / "python").unlink()
    assert str(install.missing(client)) == f"quagga==1 is not installed in {folder}: make clients"
    # As what kill -9 leaves.
    (folder / "bin" / "python").touch()
    (folder / install.STAMP).unlink()
    assert install.missing(client) is not None


def test_a_python_that_packages_have_no_wheels_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOOTSEG_CLIENTS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    old = Client("quagga", "Quagga", (), "", environment="q", packages=("q",), newest_python=(3, 10))
    monkeypatch.setattr(known, "CLIENTS", (old,))
    said: list[str] = []
    assert install.main(said.append) == 1
    assert "it has no wheels for a Python newer than 3.10: install Python 3.10" in said[0]


ABSENT = Need("libquagga.so", "libquagga1", ("/nowhere/libquagga.so",), ("QUAGGA",))


def test_a_client_that_is_asked_for_and_absent_is_no_pass(
    verify: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = verify("", "--on", "fake", needs=(ABSENT,))
    assert code == 1
    assert "Fake: libquagga.so not found: make clients, or apt-get install libquagga1" in out
    assert "not installed" in out
    monkeypatch.setenv("QUAGGA", "mine")
    assert verify("", "--on", "fake", needs=(ABSENT,))[0] == 0


def test_without_names_those_that_are_there_are_asked(
    verify: Ask, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verify("")
    absent = Client("gone", "Gone", (".onnx",), "none.py", needs=(ABSENT,))
    monkeypatch.setattr(known, "CLIENTS", (*known.CLIENTS, absent))
    assert cli.main(["verify", str(files / "red.onnx"), "--data", str(files / "data")]) == 0
    assert "not asked: Gone, libquagga.so not found: make clients" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--on", "fak"], "no client 'fak': did you mean 'fake'?"),
        (["--images", "0"], "images must be 1 or more, not 0"),
        (["--against", "nothing.keras"], "no such file: nothing.keras"),
        (["--data", "nowhere"], "the data set nowhere is gone"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(verify: Ask, words: list[str], why: str) -> None:
    code, out, err = verify("", *words)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"footseg: {why}")


def test_bad_files(verify: Ask, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify("")
    (files / "cut.onnx").write_bytes((files / "red.onnx").read_bytes()[:100])
    red_network(files / "three.onnx", classes=3)
    for words, why in (
        ([files / "cut.onnx", "--data", files / "data"], "cannot load"),
        ([files / "red.onnx"], "no sidecar names its run: pass --data DIR"),
        (
            [files / "red.onnx", "--data", files / "data", "--against", files / "three.onnx"],
            "give another --against",
        ),
        ([files / "no.onnx", "--data", files / "data"], "no such file"),
        ([files / "fake.py", "--data", files / "data"], "none of these clients reads fake.py"),
    ):
        assert cli.main(["verify", *map(str, words)]) == 1
        assert why in capsys.readouterr().err.splitlines()[-1]


def test_a_client_sees_nothing_of_the_users_folder(
    verify: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a numpy.py of the folder that one stands in nor its home, and it leaves nothing in either."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    assert verify("open(os.path.expanduser('~/trace'), 'w').close(); open('trace', 'w').close()")[0] == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["numpy.py"]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_client_outlives_the_command(files: Path, sent: signal.Signals) -> None:
    """Nor what it started, as a browser; a killed command leaves it to the scripts to end."""
    script = files / "fake.py"
    shared = f"sys.path.insert(0, {str(ask.SCRIPTS)!r}); import shared\n"
    child = f"import subprocess; p = subprocess.Popen(['sleep', '1000']); open({str(files / 'pids')!r}, 'w')"
    script.write_text(
        SCRIPT.format(line=f"{shared}{child}.write(f'{{os.getpid()}} {{p.pid}}'); time.sleep(1000)")
    )
    code = (
        "import sys; from footseg import cli; from footseg.export.clients import known; "
        f"known.CLIENTS = (known.Client('fake', 'Fake', ('.onnx',), {str(script)!r}),); "
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["verify", str(files / "red.onnx"), "--data", str(files / "data")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: (files / "pids").is_file() and len((files / "pids").read_text().split()) == 2)
        pids = (files / "pids").read_text().split()
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").is_file() and running(pid) for pid in pids))
    if sent != signal.SIGKILL:
        assert (process.returncode, said.splitlines()[-1]) == (130, "footseg: interrupted")


def running(pid: str) -> bool:
    """Whether a process is there and no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    """Half a minute is far more than it takes."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.heavy
def test_files_with_other_ends_are_held_against_the_same_network(
    tiny_float: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Pixels in, and probabilities, foreground or masks out: what LiteRT gives in a process of its own."""
    from footseg.export.ends import Asked, with_ends

    paths = []
    for given, output in (("float32", "logits"), ("uint8", "probabilities"), ("uint8", "foreground"),
                          ("uint8", "mask")):  # fmt: skip
        paths.append(tmp_path / f"{output}.tflite")
        paths[-1].write_bytes(with_ends(tiny_float.read_bytes(), Asked(given, output)))
    against = ["--against", str(paths[0]), "--data", str(tiny_data), "--images", "2", "--on", "cpu", "half"]
    assert cli.main(["verify", *map(str, paths), *against, "--json"]) == 0
    for file in records.of(Verifications, json.loads(capsys.readouterr().out)).files:
        cpu, half = file.rows
        assert (cpu.equal_cpu, cpu.logit_max) == (1.0, None if file.file == "mask.tflite" else 0.0)
        # Of 8192 pixels one may tie where pixels are scaled in the file.
        assert cpu.equal_reference is not None
        assert cpu.equal_reference > 0.9998
        assert half.simulated
        assert half.logit_max is None or half.logit_max > 0
    assert file.reference == "logits.tflite"


def test_half_precision_of_integers_is_no_question(
    tiny_artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tiny_artifacts["int8"]), str(tiny_artifacts["fp16"]), "--on", "half", "--images", "2"]
    assert cli.main(["verify", *words, "--json"]) == 0
    integers, floats = records.of(Verifications, json.loads(capsys.readouterr().out)).files
    assert integers.rows[0].status == "not concerned"
    assert "it computes in integers" in integers.rows[0].note
    # Rounding to 11 bits is seen, and is no more than weights in 16 bits may cost.
    (row,) = floats.rows
    assert row.status == "ok"
    assert row.logit_mean is not None
    assert 1e-5 < row.logit_mean < 1e-2
    assert integers.reference.endswith("model.keras")


@pytest.mark.heavy
def test_half_precision_that_overflows_is_seen(
    tiny_float: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights beyond 65,504 are infinite in float16."""
    from ai_edge_litert import schema_py_generated as schema

    from footseg.export import plain

    model = plain.unpack(tiny_float.read_bytes())
    held = [t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None]
    biases = [t for t in held if len(t.shape) == 1 and t.type == schema.TensorType.FLOAT32]
    last = model.buffers[biases[-1].buffer]
    last.data = np.full(len(last.data) // 4, 1e6, np.float32).view(np.uint8)
    (tmp_path / "large.tflite").write_bytes(plain.pack(model))
    words = [str(tmp_path / "large.tflite"), "--data", str(tiny_data), "--images", "2", "--on", "half"]
    assert cli.main(["verify", *words]) == 1
    assert "it gave NaN or infinity on 2 of 2 images" in capsys.readouterr().out


def there(*names: str) -> list[str]:
    """The clients of these names; the test is skipped where one is not installed."""
    for client in known.named(names):
        if lack := install.missing(client):
            pytest.skip(f"{client.title}: {lack}")
    return ["--on", *names]


REAL = ("cpu", "half", "gpu", "ort", "openvino", "mediapipe", "tf213", "web", "webgpu")


@pytest.mark.slow
def test_the_real_clients_give_the_masks_of_the_network(
    tiny_artifacts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tiny_artifacts[name]) for name in ("fp32", "onnx")]
    page = tmp_path / "page.html"
    code = cli.main(["verify", *paths, *there(*REAL), "--images", "2", "--out", str(page), "--json"])
    found = records.of(Verifications, json.loads(capsys.readouterr().out))
    assert [(row.client, row.why) for file in found.files for row in file.rows if not row.ok] == []
    assert code == 0
    asked = [[row.client for row in file.rows] for file in found.files]
    assert asked == [[name for name in REAL if name != "ort"], ["ort", "openvino"]]
    assert page.with_suffix(".json").is_file()


@pytest.mark.slow
def test_the_real_processors_give_the_masks_of_integers(
    tiny_artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tiny_artifacts["int8"]), "--images", "2", *there("cpu", "mediapipe", "tf213", "web")]
    assert cli.main(["verify", *words]) == 0
    assert capsys.readouterr().out.count("  ok\n") == 4


@pytest.mark.slow
def test_real_faults_are_seen(tiny_float: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An activation in a transposed convolution, as the converter writes it, and no metadata."""
    words = [str(tiny_float), "--data", str(tiny_data), "--images", "8"]
    code = cli.main(["verify", *words, *there("gpu", "openvino", "mediapipe", "tf213"), "--json"])
    (file,) = records.of(Verifications, json.loads(capsys.readouterr().out)).files
    gpu, openvino, mediapipe, older = file.rows
    assert code == 1
    assert set(gpu.refused) == {"TRANSPOSE_CONV"}
    assert "Max version supported: 3" in gpu.error
    assert gpu.fallen
    assert openvino.status == "failed"
    assert "NormalizationOptions" in mediapipe.error
    assert older.ok


@pytest.mark.slow
def test_a_machine_without_a_gpu(
    tiny_artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = there("gpu")
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nowhere/icd.json")
    assert cli.main(["verify", str(tiny_artifacts["fp32"]), "--images", "1", *words]) == 1
    assert "LiteRT, GPU alone: no GPU: Vulkan has no driver that it can use" in capsys.readouterr().out
