"""Readers of networks: ``.tflite`` and ``.onnx`` files as a plain graph, Keras models as their calls."""
