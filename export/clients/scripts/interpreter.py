"""MODEL IMAGES.npy OUT.npy tensorflow|tflite_runtime: the interpreter of an older TensorFlow Lite.

Many apps still pin the one of 2.13, and small computers tflite-runtime, the last of that name.
"""

import sys

import numpy as np
from shared import fed, real, write


def main(path, images, out, package):
    """Run the model on the images and write what comes out."""
    kind, version = found(package)
    interpreter = kind(model_path=path)
    interpreter.allocate_tensors()
    (image,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = []
    for pixels in np.load(images):
        interpreter.set_tensor(image["index"], fed(pixels[None], image))
        interpreter.invoke()
        values.append(interpreter.get_tensor(result["index"])[0])
    write(out, real(np.stack(values), result), version=version)


def found(package):
    """The interpreter of a package, and its version."""
    if package == "tensorflow":
        import tensorflow as tf

        return tf.lite.Interpreter, f"TensorFlow {tf.__version__}"
    import tflite_runtime
    from tflite_runtime.interpreter import Interpreter

    return Interpreter, f"tflite-runtime {tflite_runtime.__version__}"


main(*sys.argv[1:])
