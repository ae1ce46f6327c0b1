"""MODEL IMAGES.npy OUT.npy: MNN on the processor, of a file that MNN's own converter has made of ours."""

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

# The converter itself: the command mnnconvert, which wraps it, installs a package of Alibaba's into whatever
# Python is on the path, and sends it a log.
import _tools
import MNN
import numpy as np
from shared import write

expr = MNN.expr


def main(path, images, out):
    """Convert the model, run it on the images and write what comes out."""
    kind, layout = ("ONNX", expr.NCHW) if path.endswith(".onnx") else ("TFLITE", expr.NHWC)
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/model.mnn"
        _tools.mnnconvert(["", "-f", kind, "--modelFile", path, "--MNNModel", made, "--bizCode", "x"])
        if not Path(made).is_file():
            sys.exit("mnnconvert made no file of it")
        network = MNN.nn.load_module_from_file(made, [], [])
        found = []
        for pixels in np.load(images):
            image = pixels[None].astype(np.float32) / np.float32(255)
            # A graph from ONNX turns our order of axes itself: as "NCHW" MNN leaves the image as it is.
            (result,) = network.forward([expr.const(image, list(image.shape), layout, expr.float)])
            if kind == "TFLITE":
                result = expr.convert(result, expr.NHWC)
            found.append(np.array(result.read())[0])
    write(out, np.stack(found), version=f"MNN {version('MNN')}")


main(*sys.argv[1:])
