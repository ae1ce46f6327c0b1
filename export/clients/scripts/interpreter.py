"""MODEL IMAGES.npy OUT.npy MODULE: the interpreter of an older TensorFlow Lite, as many apps still pin it.

MODULE has it: tensorflow.lite.python.interpreter, or tflite_runtime.interpreter.
"""

import importlib
import sys

import numpy as np
from shared import fed, real, write

TITLES = {"tensorflow": "TensorFlow", "tflite_runtime": "tflite-runtime"}


def main(path, images, out, module):
    """Run the model on the images and write what comes out."""
    interpreter = importlib.import_module(module).Interpreter(model_path=path)
    interpreter.allocate_tensors()
    (image,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for pixels in np.load(images):
        interpreter.set_tensor(image["index"], fed(pixels[None], image))
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"])[0])
    package = module.partition(".")[0]
    version = f"{TITLES[package]} {importlib.import_module(package).__version__}"
    write(out, real(np.stack(found), result), version=version)


main(*sys.argv[1:])
