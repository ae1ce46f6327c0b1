"""The files that are asked for, and what cannot be asked of them: before any work begins."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from footseg.artifact import FORMATS
from footseg.errors import FootsegError, check_known
from footseg.export import onnx_quantize, quantize
from footseg.export.ends import Asked
from footseg.export.precisions import PRECISIONS

TITLES = {"tflite": "TFLite", "onnx": "ONNX", "coreml": "Core ML"}


@dataclass(frozen=True)
class Target:
    """One file to make."""

    format: str
    precision: str
    ends: Asked = quantize.FLOAT

    @property
    def trained(self) -> bool:
        """Whether a training for quantization is of this file."""
        return (self.format, self.precision) == ("tflite", "int8")


def asked_for(
    formats: Sequence[str], precisions: Sequence[str], asked: Asked, say: Callable[[str], None]
) -> list[Target]:
    """The files to make, without doubles, in the order of FORMATS and PRECISIONS.

    A format that is not written in a precision is left out, and said to be, where others are left.

    Raises:
        ValueError: an unknown format or precision, or none.
        FootsegError: no file is left.
    """
    for kind, names, known in (("format", formats, FORMATS), ("precision", precisions, PRECISIONS)):
        if not names:
            raise ValueError(f"no {kind} given: expected some of {', '.join(known)}")
        for name in names:
            check_known(f"unknown {kind}", name, known)
    wanted = [
        Target(format_, p, asked.of(p))
        for format_ in FORMATS
        for p in PRECISIONS
        if format_ in formats and p in precisions
    ]
    targets = [target for target in wanted if target.format in PRECISIONS[target.precision].formats]
    for format_ in FORMATS:
        left_out = [t.precision for t in wanted if t.format == format_ and t not in targets]
        written = ", ".join(name for name, row in PRECISIONS.items() if format_ in row.formats)
        if left_out and not targets:
            raise FootsegError(
                f"{TITLES[format_]} files are written in {written}, not in {' or '.join(left_out)}: "
                "take one of these or --to tflite"
            )
        if left_out:
            say(f"{TITLES[format_]} is written in {written} only: none in {' or '.join(left_out)}")
    return targets


def check_options(
    targets: Sequence[Target], asked: Asked, ranges: str, keep: Collection[str], made_for: str = "any"
) -> None:
    """Refuse options that the files cannot have; ends that only some can have are float32 in the others.

    Raises:
        ValueError: an unknown one, ends that none has, or what only a ``.tflite`` has: other ends, in int8
            ranges that clip weights, tensors to keep, or a file for processors alone.
    """
    precisions = [target.precision for target in targets]
    able = [precision for precision in precisions if asked.of(precision) == asked]
    quantize.check_options((able or precisions)[0], asked, ranges)
    others = [target for target in targets if target.format != "tflite"]
    integers = any(target.precision == "int8" for target in others)
    given = [f"io {asked.input}"] if asked.input != "float32" else []
    given += [f"output {asked.output}"] if asked.output != "logits" else []
    given += [f"for {made_for}"] if made_for != "any" else []
    given += ["keep"] if keep and integers else []
    if others and given:
        title = TITLES[others[0].format]
        raise ValueError(f"{given[0]} is for .tflite files: export {title} apart, without it")
    if integers:
        onnx_quantize.check_ranges(ranges)
