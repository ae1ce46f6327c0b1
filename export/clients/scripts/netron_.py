"""MODEL IMAGES.npy OUT.npy: Netron, which shows a file; what it gives are the kinds of operators it reads."""

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from shared import write


def main(path, images, out):
    """Have Netron's reader, which is JavaScript, open the model; write the operators that it finds."""
    (folder,) = importlib.util.find_spec("netron").submodule_search_locations
    reader = Path(__file__).with_name("netron.mjs")
    done = subprocess.run(["node", reader, folder, path], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    write(out, np.array(json.loads(done.stdout)), version=f"Netron {version('netron')}")


main(*sys.argv[1:])
