"""One configuration: what wins, what is refused, and that the file says the same as the flags."""

from pathlib import Path

import pytest

from footseg.errors import FootsegError
from footseg.training import config

BASE = {"network": "fast_linknet", "data": "feet"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "options.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = written(tmp_path, "epochs = 7\nlearning_rate = 1\nsize = 128\n")
    resolved = config.resolve(preset="quick", file=file, flags={**BASE, "epochs": 3})
    assert resolved.epochs == 3  # flag
    assert resolved.learning_rate == 1.0  # file
    assert resolved.size == (128, 128)  # file, one number for both sides
    assert resolved.ema == config.PRESETS["quick"]["ema"]  # preset
    assert resolved.batch == 16  # default


@pytest.mark.parametrize("preset", [None, *config.PRESETS])
def test_the_file_reads_back_as_what_was_written(tmp_path: Path, preset: str | None) -> None:
    first = config.resolve(preset=preset, file=None, flags={**BASE, "network_options": {"width": 0.5}})
    again = config.resolve(preset=None, file=written(tmp_path, config.dump(first)), flags={})
    assert again == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "did you mean 'epochs'"),
        ("epochs = 'three'", "is not a whole number"),
        ("epochs = true", "is not a whole number"),
        ("loss = 3", "is not a list of names"),
        ("size = [256]", "is not a height and a width"),
        ("epochs = 0", "epochs is 0: it must be at least 1"),
        ("ema = 1.0", "ema is 1.0: it must be at least 0 and less than 1"),
        ("learning_rate = 0", "must be more than 0"),
        ("learning_rate = true", "is not a number"),
        ("learning_rate = nan", "must be more than 0"),
        ("temperature = 0", "temperature is 0.0: it must be more than 0 and at most 1000"),
        ("hint_until = 1.5", "hint_until is 1.5: it must be more than 0 and at most 1"),
        ("extra_share = 1", "extra_share is 1.0: it must be more than 0 and less than 1"),
        ("balance = -0.1", "balance is -0.1: it must be at least 0 and at most 1"),
        ("precision = 'float16'", "precision: .*known: float32, mixed_bfloat16, .* not 'float16'"),
        ("weighting = 'inner'", "weighting: known: direct, outer, not 'inner'"),
        ("freeze_encoder = 1", "is not true or false"),
        ("extra_data = [1]", "is not a list of names"),
        ("network_options = 1", "is not a table of names and values"),
        ("epochs = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FootsegError, match=message) as caught:
        config.resolve(preset=None, file=written(tmp_path, text), flags=BASE)
    assert "options.toml" in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FootsegError, match=r"no such file: nowhere\.toml"):
        config.resolve(preset=None, file=Path("nowhere.toml"), flags=BASE)


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        config.resolve(preset="quik", file=None, flags=BASE)


@pytest.mark.parametrize("name", ["network", "data"])
def test_network_and_data_are_needed(name: str) -> None:
    with pytest.raises(ValueError, match=f"no {name} given"):
        config.resolve(preset=None, file=None, flags={key: BASE[key] for key in BASE if key != name})


def test_a_resumed_run_keeps_its_own_configuration(tmp_path: Path) -> None:
    first = config.resolve(preset=None, file=None, flags={**BASE, "epochs": 9})
    saved = written(tmp_path, config.dump(first))
    assert config.resolve(preset=None, file=None, flags={}, resumed=saved) == first
    assert config.resolve(preset=None, file=None, flags={"epochs": 9}, resumed=saved) == first
    with pytest.raises(ValueError, match="was started with epochs = 9, not 10"):
        config.resolve(preset=None, file=None, flags={"epochs": 10}, resumed=saved)
