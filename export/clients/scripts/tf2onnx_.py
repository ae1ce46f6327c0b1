"""MODEL IMAGES.npy OUT.npy: ONNX Runtime, of a file that tf2onnx has made of a .tflite of ours."""

import subprocess
import sys
import tempfile
from importlib.metadata import version

import numpy as np
import onnxruntime
from shared import write


def main(path, images, out):
    """Convert the model, run it on the images and write what comes out."""
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/model.onnx"
        asked = ["--opset", "17", "--tflite", path, "--output", made]
        convert = [sys.executable, "-m", "tf2onnx.convert", *asked]
        done = subprocess.run(convert, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr.strip().splitlines()[-1])
        session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
        (image,) = session.get_inputs()
        found = []
        for pixels in np.load(images):
            fed = pixels[None]
            if image.type != "tensor(uint8)":
                fed = fed.astype(np.float32) / np.float32(255)
            found.append(session.run(None, {image.name: fed})[0][0])
    write(out, np.stack(found), version=f"tf2onnx {version('tf2onnx')}")


main(*sys.argv[1:])
