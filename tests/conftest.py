"""What tests share: real photographs where they are there, and small generated data everywhere."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs that stands beside the project, never in it."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data").is_dir():
            return parent / "shared" / "data"
    pytest.skip("shared/data does not stand beside the project: this test needs its photographs")
