"""MODEL IMAGES.npy OUT.npy: the interpreter of an older TensorFlow, as many apps still pin it."""

import sys

import numpy as np
import tensorflow as tf
from shared import fed, real, write


def main(path, images, out):
    """Run the model on the images and write what comes out."""
    interpreter = tf.lite.Interpreter(model_path=path)
    interpreter.allocate_tensors()
    (image,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for pixels in np.load(images):
        interpreter.set_tensor(image["index"], fed(pixels[None], image))
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"])[0])
    write(out, real(np.stack(found), result), version=f"TensorFlow {tf.__version__}")


main(*sys.argv[1:])
