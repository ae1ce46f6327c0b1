"""Model files of others: LiteRT is asked in a process of its own whether it survives them.

A flatbuffer may be whole and yet lead LiteRT out of its memory: of 600 files with a few bytes changed, 4
ended the process in ``allocate_tensors``; one of 520 bytes may ask for any amount of memory.
"""

import resource
import subprocess
import sys
from pathlib import Path

from footseg import artifact, children
from footseg.errors import FootsegError
from footseg.graphs.tflite import read

# What a file may take: a network for phones takes a hundredth of both.
SECONDS, BYTES = 60, 4 * 2**30


def check(path: Path) -> None:
    """Load and run a ``.tflite`` in a child, unless its sidecar says that footseg wrote it; others pass.

    Raises:
        FootsegError: it crashes LiteRT, or takes too long or too much memory.
    """
    if path.suffix != ".tflite" or not path.is_file() or _ours(path):
        return
    if (largest := _largest_tensor(path)) > BYTES:
        raise FootsegError(
            f"{path} asks for a tensor of {largest / 2**30:.1f} GB, and may have {BYTES / 2**30:.0f}: it is "
            "damaged, or no network for phones"
        )
    words = [*children.command("footseg.strangers"), str(path)]
    try:
        done = subprocess.run(
            words, capture_output=True, check=False, timeout=SECONDS, env=children.environment()
        )
    except subprocess.TimeoutExpired as error:
        raise FootsegError(
            f"{path} keeps LiteRT busy for more than {SECONDS} s: it is damaged, or no network for phones"
        ) from error
    if done.returncode < 0:
        raise FootsegError(
            f"{path} ends LiteRT by signal {-done.returncode}: it is damaged, or takes more memory than "
            f"{BYTES / 2**30:.0f} GB; export it again, or take another copy"
        )


def _largest_tensor(path: Path) -> int:
    """Bytes; 0 where the file cannot be read, which is told by whoever runs it."""
    try:
        return max((tensor.bytes or 0 for tensor in read(path).tensors.values()), default=0)
    except FootsegError:
        return 0


def _ours(path: Path) -> bool:
    try:
        return bool(artifact.load(path).created)
    except FootsegError:  # a sidecar that is damaged, or of another file
        return False


def main(path: str) -> None:
    """Load and run it; errors that Python sees are told where it is used."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from footseg import runtime

    try:
        loaded = runtime.interpreter(Path(path))
        loaded.invoke()
    except (FootsegError, RuntimeError, ValueError):
        return


if __name__ == "__main__":
    main(sys.argv[1])
