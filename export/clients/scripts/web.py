"""MODEL IMAGES.npy OUT.npy litert|onnx wasm|webgpu MODULES: LiteRT.js or ONNX Runtime Web in Chromium.

MODULES is the folder ``node_modules`` that has them. Chromium stays in this script's process group, so that
whoever ends that ends both.
"""

import functools
import http.server
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from shared import write

# By runtime: the page that uses it, its package, its name.
RUNTIMES = {
    "litert": ("web.html", "@litertjs/core", "LiteRT.js"),
    "onnx": ("web_onnx.html", "onnxruntime-web", "ONNX Runtime Web"),
}
TYPES = {
    "Float32Array": np.float32,
    "Int32Array": np.int32,
    "BigInt64Array": np.int64,
    "Uint8Array": np.uint8,
}
JAVASCRIPT = "text/javascript"
KINDS = {".js": JAVASCRIPT, ".mjs": JAVASCRIPT, ".wasm": "application/wasm", ".html": "text/html"}
# As root in a container there is no sandbox; the other switches keep Chromium from calling home.
CHROMIUM = [
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]


SOCKET = "/org.chromium.Chromium.XXXXXX/SingletonSocket"


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the page, the packages, the model and the images; takes what comes out."""

    def __init__(self, files, said, *arguments):
        self.files, self.said = files, said
        super().__init__(*arguments)

    def do_GET(self):
        """Send what is asked for."""
        path = urlsplit(self.path).path
        file = self.files.get(path)
        if path.startswith("/modules/"):
            root = self.files["/modules/"].resolve()
            file = (root / path.removeprefix("/modules/")).resolve()
            file = file if file.is_relative_to(root) and file.is_file() else None
        if file is None:
            self.send_error(404)
            return
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", KINDS.get(file.suffix, "application/octet-stream"))
        # Threads and precise clocks of wasm need an isolated page.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        """Take what the page found."""
        asked = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.said.put((asked.path, parse_qs(asked.query), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


def main(path, images, out, runtime, accelerator, modules):
    """Run the model on the images and write what comes out."""
    page, package, title = RUNTIMES[runtime]
    said = queue.Queue()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "images"
        raw.write_bytes(np.load(images).tobytes())
        place = Path(__file__).with_name(page)
        files = {"/": place, "/model": Path(path), "/images": raw, "/modules/": Path(modules)}
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Page, files, said))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
        address = f"http://127.0.0.1:{server.server_port}/?accelerator={accelerator}"
        switches = [*CHROMIUM, *(WEBGPU if accelerator == "webgpu" else [])]
        process = subprocess.Popen(
            [browser, *switches, f"--user-data-dir={folder}/profile", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            found = list(outputs(said, process))
        finally:
            process.kill()
            process.wait()
            server.shutdown()
    version = json.loads(Path(modules, package, "package.json").read_text())["version"]
    write(out, np.stack(found), version=f"{title} {version}")


def outputs(said, process):
    """What the page sends, image by image, until it is done."""
    while True:
        try:
            what, query, body = said.get(timeout=1)
        except queue.Empty:
            if process.poll() is not None:
                # Its socket lies there, and the path of a socket has 107 bytes at most.
                long = len(tempfile.gettempdir() + SOCKET) > 107
                why = ", its temporary folder has a long path: set TMPDIR to a shorter one" if long else ""
                sys.exit(f"Error: Chromium ended with {process.returncode}{why}")
            continue
        if what == "/failed":
            sys.exit(f"Error: {body.decode()}")
        if what == "/done":
            return
        if what == "/said":
            print(body.decode(), file=sys.stderr)
            continue
        shape = [int(size) for size in query["shape"][0].split(",")]
        yield np.frombuffer(body, TYPES[query["type"][0]]).reshape(shape)[0]


main(*sys.argv[1:])
