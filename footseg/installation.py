"""How this footseg was installed, and so how more of it is: from a checkout or a wheel, it is on no index.

``pip install footseg`` would take whatever has that name there.
"""

import json
import shlex
from typing import Any

PACKAGE = "footseg"
# What stands for the source where nothing tells it.
UNKNOWN = "CHECKOUT"


def command(extras: str = "") -> str:
    """The command that installs it again, with extras as "onnx,train", from where pip noted that it came."""
    from urllib.parse import unquote, urlsplit

    noted = _noted()
    address = urlsplit(str(noted.get("url", "")))
    source = unquote(address.path) if address.scheme == "file" else UNKNOWN
    # A folder that is worked on stays one.
    editable = "-e " if isinstance(kind := noted.get("dir_info"), dict) and kind.get("editable") else ""
    return f"pip install {editable}{shlex.quote(source + (f'[{extras}]' if extras else ''))}"


def _noted() -> dict[str, Any]:
    import importlib.metadata  # a quarter of what footseg --help imports

    try:
        noted = json.loads(importlib.metadata.distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
