"""What other people's runtimes ("clients") made of files: the record that ``footseg verify`` gives.

It is read and shown by those that run no client themselves: pages, tables, sidecars.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from footseg.paired import Decision

Status = Literal["ok", "failed", "not run", "not installed", "not concerned"]


@dataclass(frozen=True)
class Row:
    """What one client made of one file.

    ``client`` is its name on the command line, ``title`` that in tables. ``equal_cpu`` is the share of pixels
    of the class that the file has on this machine's processor (LiteRT; ONNX Runtime for ``.onnx``),
    ``equal_reference`` of that which the reference has. ``logit_max`` and ``logit_mean`` are the largest and
    the mean difference of logits from the processor's, in standard deviations of these; None where a client
    gives masks. ``iou`` and ``boundary_f`` are the client's minus the reference's. ``worst`` has the images
    with most pixels of another class than the reference's, and that share. An accelerator ran
    ``accelerated`` operators and left ``fallen`` to the processor, None where it does not say; ``refused``
    are the kinds that it did not take, with its reasons. ``simulated`` says that the client is no runtime
    of anybody's but arithmetic like it. A client that opens a file and runs nothing has read ``operators`` of
    its operators, and has no other figure.

    ``failures`` are limits that it does not hold. A client that gave nothing has no figures, and in
    ``error`` why, or how it is installed (``absent``). ``note`` says what is to be known though all is well:
    of one that there is nothing to ask (``unconcerned``), why.
    """

    client: str
    title: str
    version: str = ""
    images: int = 0
    simulated: bool = False
    equal_cpu: float | None = None
    equal_reference: float | None = None
    logit_max: float | None = None
    logit_mean: float | None = None
    iou: Decision | None = None
    boundary_f: Decision | None = None
    worst: Mapping[str, float] = field(default_factory=dict)
    accelerated: int | None = None
    fallen: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    operators: int | None = None
    failures: tuple[str, ...] = ()
    error: str = ""
    note: str = ""
    absent: bool = False
    unconcerned: bool = False

    @property
    def status(self) -> Status:
        """What is to be thought of it, in a word or two."""
        if self.unconcerned:
            return "not concerned"
        if self.absent:
            return "not installed"
        if self.error:
            return "not run"
        return "failed" if self.failures else "ok"

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against giving the file to the client; one that was not run is not ok."""
        return self.status in ("ok", "not concerned")

    @property
    def why(self) -> str:
        """Why it is not ok; "" where it is."""
        return self.error or "; ".join(self.failures)


@dataclass(frozen=True)
class Verified:
    """One file on several clients, on ``images`` images of a ``split`` of the data set called ``data``.

    ``reference`` says in words what the clients were held against, ``recipe`` is the file's precision, ""
    where no sidecar tells it.
    """

    file: str
    sha256: str
    recipe: str
    reference: str
    data: str
    split: str
    images: int
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether all of its clients are."""
        return all(row.ok for row in self.rows)


@dataclass(frozen=True)
class Verifications:
    """What one ``footseg verify`` found, of each file; ``machine`` and ``versions`` are this side's."""

    files: tuple[Verified, ...]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str

    @property
    def ok(self) -> bool:
        """Whether all clients of all files are."""
        return all(file.ok for file in self.files)


@dataclass(frozen=True)
class Shown:
    """An image that a client gets wrong: uint8 ``image`` (H, W, 3), and classes (H, W) of three kinds.

    ``truth`` has 255 where it counts nowhere; ``reference`` is the mask that the reference gave, ``mask``
    that of the client.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
