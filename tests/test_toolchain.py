"""The kit for Arm processors: made once, whole or not at all, and what is missing is named."""

import os
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from footseg.android_harness import errors, toolchain
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.toolchain import Kit

VARIABLE = "FOOTSEG_LITERT_AARCH64"


@pytest.fixture(scope="module")
def kit() -> Kit:
    return toolchain.prepare()


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    return tmp_path / "cache" / "footseg" / "arm"


def machine(path: Path) -> int:
    """What processor an ELF file is for: 62 x86-64, 183 aarch64."""
    return int.from_bytes(path.read_bytes()[18:20], "little")


def test_the_kit_is_for_arm_and_all_in_one_folder(kit: Kit) -> None:
    names = {path.name for path in kit.libraries}
    assert names == {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"}
    files = (kit.runner, kit.library, kit.loader, *kit.libraries)
    assert {machine(path) for path in files} == {183}
    assert {path.parent for path in (*files, kit.plugin)} == {kit.runner.parent}
    assert os.access(kit.runner, os.X_OK)
    assert os.access(kit.loader, os.X_OK)
    assert kit.litert_version == toolchain.litert_version()


def test_every_library_that_is_needed_is_there(kit: Kit) -> None:
    """As the loader sees it, which lists what it would load and from where."""
    command = ["qemu-aarch64", str(kit.loader), "--inhibit-cache", "--library-path", str(kit.runner.parent)]
    for path in (kit.runner, kit.library):
        done = subprocess.run([*command, "--list", str(path)], capture_output=True, text=True, check=True)
        places = [line.split("=>")[1].split()[0] for line in done.stdout.splitlines() if "=>" in line]
        assert places
        assert {Path(place).parent for place in places} == {kit.runner.parent}


def test_the_runner_needs_no_more_than_any_64_bit_phone_has(kit: Kit) -> None:
    """The compiler says in the file what it was told to compile for."""
    from footseg.android_harness.toolchain import RUNNER_FLAGS

    assert "-march=armv8-a" in RUNNER_FLAGS
    command = ["aarch64-linux-gnu-objdump", "-d", str(kit.runner)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # The calibration multiplies in vectors and by lanes, which is what comes near the peak of a core.
    assert text.count("fmla\tv") >= 24
    assert "sdot" not in text
    assert "ldadd\t" not in text


def test_it_is_made_once(new: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(kit.library))
    made = toolchain.prepare()
    assert made.runner.parent.parent == new
    before = made.runner.stat().st_mtime_ns
    monkeypatch.setattr(toolchain, "_make", None)
    assert toolchain.prepare() == made
    assert made.runner.stat().st_mtime_ns == before
    assert [path.name for path in new.iterdir()] == [made.runner.parent.name]


def test_another_library_is_another_kit(
    new: Path, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "libLiteRt.so"
    own.write_bytes(kit.library.read_bytes() + b"\0")
    monkeypatch.setenv(VARIABLE, str(own))
    made = toolchain.prepare()
    assert made.runner.parent.name != kit.runner.parent.name
    assert made.library.read_bytes() == own.read_bytes()


def test_a_kit_that_another_process_made_first_is_taken(
    new: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(kit.library))
    take = toolchain._take_shared

    def slow(folder: Path) -> None:
        """While the libraries are copied another process finishes."""
        take(folder)
        monkeypatch.setattr(toolchain, "_take_shared", take)
        toolchain.prepare()

    monkeypatch.setattr(toolchain, "_take_shared", slow)
    made = toolchain.prepare()
    assert [path.name for path in new.iterdir()] == [made.runner.parent.name]


def test_what_a_killed_process_left_half_made_is_removed(
    new: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(kit.library))
    left, at_work = (new / f"{toolchain.MAKING}{name}" for name in ("left", "at_work"))
    for folder in (left, at_work):
        (folder / "kit").mkdir(parents=True)
    before = time.time() - toolchain.STALE_SECONDS - 1
    os.utime(left, (before, before))
    made = toolchain.prepare()
    assert {path.name for path in new.iterdir()} == {made.runner.parent.name, at_work.name}


def wheel(path: Path, library: bytes | None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ai_edge_litert/__init__.py", "")
        if library is not None:
            archive.writestr("ai_edge_litert/libLiteRt.so", library)
    return path


def test_a_wheel_of_the_same_version_will_do(
    new: Path, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"ai_edge_litert-{toolchain.litert_version()}-cp311-cp311-manylinux_2_27_aarch64.whl"
    monkeypatch.setenv(VARIABLE, str(wheel(tmp_path / name, kit.library.read_bytes())))
    assert toolchain.prepare().library.read_bytes() == kit.library.read_bytes()


def test_files_that_are_not_the_library(
    new: Path, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = toolchain.litert_version()

    def said(path: Path) -> str:
        monkeypatch.setenv(VARIABLE, str(path))
        with pytest.raises(HarnessError) as caught:
            toolchain.prepare()
        assert not list(new.glob("*")), "nothing is left of a kit that could not be made"
        assert VARIABLE in str(caught.value)
        return str(caught.value)

    assert "cannot be read (No such file" in said(tmp_path / "none.so")
    other = wheel(tmp_path / "ai_edge_litert-1.0.0-cp311-cp311-linux_aarch64.whl", b"")
    assert f"is not ai-edge-litert {version}" in said(other)
    empty = wheel(tmp_path / f"ai_edge_litert-{version}-cp311-cp311-linux_aarch64.whl", None)
    assert "is cut off or has no libLiteRt.so" in said(empty)
    empty.write_bytes(empty.read_bytes()[:40])
    assert "is cut off" in said(empty)
    here = Path(shutil.which("gcc") or "").resolve()
    assert machine(here) != 183
    assert "holds no library for aarch64" in said(here)
    (tmp_path / "text.so").write_text("text")
    assert "holds no library for aarch64" in said(tmp_path / "text.so")


def test_without_network_a_file_is_asked_for(new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(HarnessError, match=f"cannot be downloaded: give {VARIABLE}=FILE") as caught:
        toolchain.prepare()
    assert caught.value.returncode == 1
    assert "pip" in caught.value.command


def test_a_cache_that_cannot_be_written(kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(HarnessError, match=r"cannot be made in .* set XDG_CACHE_HOME to another folder"):
        toolchain.prepare()


def test_what_is_missing_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(need.path for need in toolchain.needs())
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    assert [need.name for need in toolchain.needs() if need.path] == []
    with pytest.raises(HarnessError, match=r"make arm \(or apt-get install gcc gcc-aarch64-linux-gnu lib"):
        toolchain.prepare()


def test_adb_need_not_be_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sdk" / "platform-tools" / "adb"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    assert [(need.name, need.path) for need in toolchain.needs() if need.path] == [("adb", program)]


def test_make_arm_installs_all_that_is_needed() -> None:
    listed = toolchain.PACKAGES.read_text().split()
    assert {need.package for need in toolchain.needs()} <= set(listed)
    assert listed == sorted(listed)


def test_c_that_does_not_compile_is_an_error_with_what_the_compiler_says(tmp_path: Path) -> None:
    (tmp_path / "wrong.c").write_text("int main() { return none; }")
    with pytest.raises(HarnessError, match=r"exit code 1: .*none.* undeclared"):
        toolchain.compile_c("gcc", tmp_path / "wrong.c", tmp_path / "out", ())


# ---- processes


def test_a_process_says_all_it_said() -> None:
    done = errors.run(["sh", "-c", "cat; echo in; echo err >&2; printf '\\377'"], timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, "in\n\N{REPLACEMENT CHARACTER}", "err\n")


def test_a_process_that_fails_is_told_with_its_own_words() -> None:
    with pytest.raises(
        HarnessError, match=r"^sh -c 'echo no room >&2; exit 3' failed, exit code 3: no room$"
    ) as e:
        errors.run(["sh", "-c", "echo no room >&2; exit 3"], timeout=10)
    assert (e.value.returncode, e.value.stderr) == (3, "no room\n")
    with pytest.raises(HarnessError, match="ended by SIGTERM"):
        errors.run(["sh", "-c", "kill -TERM $$"], timeout=10)
    assert errors.run(["false"], timeout=10, check=False).returncode == 1


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(
        HarnessError, match=r"^no-such-program cannot be started \(No such file or directory\)$"
    ):
        errors.run(["no-such-program"], timeout=10)


def test_nothing_is_left_of_a_process_whose_time_is_up(tmp_path: Path) -> None:
    """A grandchild that would write a file a little later is ended with its parent."""
    late = tmp_path / "late"
    with pytest.raises(HarnessError, match=r"did not end within 0\.2 s and was stopped: begun$"):
        errors.run(["sh", "-c", f"echo begun >&2; (sleep 0.6; touch {late}) & wait"], timeout=0.2)
    subprocess.run(["sleep", "0.8"], check=True)
    assert not late.exists()
