"""The clients that footseg knows: a row each."""

from footseg.export.clients.client import Client, Need

SWIFTSHADER = Need("libvk_swiftshader.so", "chromium", ("/usr/lib/chromium/libvk_swiftshader.so",))
VULKAN = Need(
    "libvulkan.so.1",
    "libvulkan1",
    ("/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "/usr/lib/aarch64-linux-gnu/libvulkan.so.1"),
)
CHROMIUM = Need("chromium", "chromium", ("chromium", "google-chrome", "chrome"))
LITERT_JS = ("@litertjs/core@2.5.3",)
TFLITE = (".tflite",)

CLIENTS = (
    Client("cpu", "LiteRT, CPU", TFLITE, "litert.py", ("cpu",)),
    Client("gpu", "LiteRT, GPU alone", TFLITE, "litert.py", ("gpu",), needs=(SWIFTSHADER, VULKAN)),
    Client("ort", "ONNX Runtime", (".onnx",), "onnx_runtime.py"),
    Client(
        "openvino", "OpenVINO", (".tflite", ".onnx"), "openvino_.py",
        environment="openvino", packages=("openvino==2026.4.1",),
    ),
    Client(
        "mediapipe", "MediaPipe", TFLITE, "mediapipe_.py",
        environment="mediapipe", packages=("mediapipe==1.2.2",), masks=True,
    ),
    Client(
        "tf213", "TensorFlow Lite 2.13", TFLITE, "tflite213.py",
        environment="tf213", packages=("tensorflow-cpu==2.13.1",),
    ),
    Client(
        "web", "LiteRT.js, wasm", TFLITE, "web.py", ("wasm", "{modules}", "{shape}"),
        npm=LITERT_JS, needs=(CHROMIUM,),
    ),
    Client(
        "webgpu", "LiteRT.js, WebGPU", TFLITE, "web.py", ("webgpu", "{modules}", "{shape}"),
        npm=LITERT_JS, needs=(CHROMIUM, SWIFTSHADER),
    ),
)  # fmt: skip
NAMES = tuple(client.name for client in CLIENTS)
