"""``footseg describe``: a copy of a ``.tflite`` that says what it is, whoever made it."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from footseg import artifact as artifacts
from footseg import files, runtime, strangers
from footseg.artifact import Artifact
from footseg.data.images import Size
from footseg.description import Description
from footseg.errors import FootsegError
from footseg.export import metadata, where
from footseg.graphs import ends, tflite
from footseg.graphs.graph import Graph
from footseg.graphs.metadata import Metadata
from footseg.graphs.metadata import read as read_metadata


def describe_file(
    path: Path,
    out: Path,
    classes: Sequence[str],
    *,
    mean: float = 0.0,
    std: float = 255.0,
    replace: bool = False,
) -> tuple[Artifact, Description]:
    """Write ``path`` with labels and TFLite Metadata to ``out``, and its sidecar with what stood in it.

    ``classes`` are named in the order of the channels, of one channel of foreground both. A float input takes
    (pixel - ``mean``) / ``std``. ``replace`` is for what ``path`` says of itself already, and for a file that
    ``out`` is.

    Raises:
        ValueError: classes that are empty, doubled, of more than a line or not as many as the file has; a
            ``mean`` or ``std`` that is no number to divide by.
        FootsegError: not a .tflite, not one photograph in and masks out, it describes itself already, ``out``
            is there already, or the copy gives other numbers.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError(f"mean {mean:g} and std {std:g}: expected numbers, std above 0, as 127.5 and 127.5")
    source = artifacts.load(path)
    if source.format != "tflite":
        raise FootsegError(f"{path} is no .tflite: TFLite Metadata is for these; export writes it into .onnx")
    if out.suffix != ".tflite":
        raise ValueError(f"--out {out} is no name of a .tflite file: end it so")
    before = _before(path, replace)
    if out.exists() and not replace:
        raise FootsegError(f"{out} is there already: take another name, or --force to replace it")
    graph = tflite.read(path)
    size, found = image_size(path, graph), _ends(path)
    check_classes(classes, found.classes)
    said = Description(
        network=before.network if before else path.stem,
        classes=tuple(classes),
        size=size,
        input=found.input.type,
        output=found.output.name,
        recipe=before.recipe if before else source.recipe,
        parent=before.parent if before else source.parent or source.sha256,
        mean=mean,
        std=std,
    )
    with files.atomic_path(out) as temporary:
        temporary.write_bytes(metadata.describe(path.read_bytes(), said))
        _check_same(path, temporary)
    made = dataclasses.replace(
        source,
        path=out,
        sha256=files.sha256(out),
        classes=said.classes,
        input_shape=(1, *size, 3),
        clients=where.of_verified(out),
    )
    made.save_sidecar()
    return made, said


def image_size(path: Path, graph: Graph) -> Size:
    """Height and width of a file's photograph.

    Raises:
        FootsegError: it does not take one photograph, or gives something else than masks of its size.
    """
    shapes = [graph.tensors[key].shape for key in (*graph.inputs, *graph.outputs)]
    expected = "describe is for one photograph (1, H, W, 3) in and masks (1, H, W, channels) out"
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or None in shapes:
        raise FootsegError(f"{path} has {len(graph.inputs)} inputs, {len(graph.outputs)} outputs: {expected}")
    image, result = (shape or () for shape in shapes)
    if len(image) != 4 or image[3] != 3 or len(result) not in (3, 4) or image[:3] != result[:3]:
        raise FootsegError(f"{path} takes {image} and gives {result}, which are no masks: {expected}")
    return image[1], image[2]


def check_classes(classes: Sequence[str], count: int) -> None:
    """Refuse labels that do not fit a file with so many classes.

    Raises:
        ValueError: they are empty, doubled, of more than a line, or of another number.
    """
    if len(classes) != count:
        given = f"{len(classes)} ({', '.join(classes)})" if classes else "none"
        raise ValueError(f"the file has {count} classes, and the labels are {given}: name each of them once")
    for name in classes:
        if not name.strip() or len(name.splitlines()) != 1:
            raise ValueError(f"a label is {name!r}: expected a name on one line")
    doubled = sorted({name for name in classes if list(classes).count(name) > 1})
    if doubled:
        raise ValueError(f"labels stand there twice: {', '.join(doubled)}; an app tells classes by them")


def _ends(path: Path) -> ends.Ends:
    found = ends.read(path)
    if found.input.type not in ends.INPUTS:
        raise FootsegError(f"{path} takes {found.input.type}: describe knows {', '.join(ends.INPUTS)}")
    return found


def _before(path: Path, replace: bool) -> Description | None:
    """What footseg wrote into a file.

    Raises:
        FootsegError: the file describes itself already, and nobody asked to replace that.
    """
    try:
        found = read_metadata(path)
    except FootsegError:
        if not replace:
            raise
        found = Metadata()
    if found.described and not replace:
        labels = f" (labels: {', '.join(found.labels)})" if found.labels else ""
        raise FootsegError(f"{path} describes itself already{labels}: --force replaces that in the copy")
    return found.ours


def _check_same(path: Path, copy: Path) -> None:
    """Hold a described copy against its file, on noise.

    Raises:
        FootsegError: its numbers are others.
    """
    strangers.check(path)
    results = []
    for file in (path, copy):
        interpreter = runtime.interpreter(file)
        (image,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(image["index"], runtime.noise(image))
        interpreter.invoke()
        results.append(interpreter.get_tensor(result["index"]))
    before, after = results
    if not np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
        raise FootsegError(f"a described copy of {path} gives other numbers: it was not written")
