"""What rules look at in a ``.tflite``: its graph, and what the file says of itself. Nothing is run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg.errors import FootsegError
from footseg.export import versions
from footseg.graphs import metadata, tflite
from footseg.graphs.graph import Graph, Tensor

# Of the words that a file has for its own things, so many characters are shown.
LONGEST = 40


@dataclass(frozen=True)
class Facts:
    """A file as the rules look at it.

    ``since`` is the oldest TensorFlow Lite that has all operators, by the versions that stand in the file and
    by what the operators do; None where one of them has no rule. ``asking`` are those that ask for it
    ("TRANSPOSE_CONV 3"), or those without a rule. ``stated`` is the file's own min_runtime_version, "" if it
    has none. ``outside`` counts buffers behind the flatbuffer, ``uncoded`` operators whose older code is not
    written, by kind. ``normalized`` is whether TFLite Metadata says how pixels become the
    input, the same for all channels.
    """

    graph: Graph
    since: str | None
    asking: tuple[str, ...]
    stated: str
    outside: int
    uncoded: Counter[str]
    normalized: bool

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that an app fills."""
        return tuple(self.graph.tensors[key] for key in self.graph.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that an app reads."""
        return tuple(self.graph.tensors[key] for key in self.graph.outputs)


def read(path: Path) -> Facts:
    """The facts of a file.

    Raises:
        FootsegError: not a whole .tflite file.
    """
    graph = tflite.read(path)
    try:
        return _facts(graph, path.read_bytes(), _said(path))
    # As in the reader of graphs: a flatbuffer shows damage as any error.
    except Exception as error:
        raise FootsegError(f"{path} is damaged ({error}): export it again") from error


def _said(path: Path) -> metadata.Metadata:
    """What a file says of itself; nothing where that is damaged, as to whoever wants to read it."""
    try:
        return metadata.read(path)
    except FootsegError:
        return metadata.Metadata()


def _facts(graph: Graph, data: bytes, said: metadata.Metadata) -> Facts:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    uncoded = Counter(
        operator.op
        for operator, packed in zip(graph.operators, model.subgraphs[0].operators or (), strict=True)
        if _uncoded(model.operatorCodes[packed.opcodeIndex])
    )
    for code in model.operatorCodes:
        code.builtinCode = tflite.code_number(code)
    needed = {(_name(entry), entry.version): entry for entry in _needed(model)}
    since = versions.runtime(needed.values())
    return Facts(
        graph,
        since,
        tuple(sorted(name for name in _asking(needed, since))),
        shown(said.runtime),
        sum(buffer.offset > 1 for buffer in model.buffers),
        uncoded,
        len(set(said.mean)) == len(set(said.std)) == 1,
    )


def _uncoded(code: Any) -> bool:
    """Whether the older of the two fields for an operator's code is left at 0, which is ADD."""
    return code.deprecatedBuiltinCode == 0 and code.builtinCode != 0


def _needed(model: Any) -> list[Any]:
    """Entries of the table of kinds in the versions that a runtime must have: the written, or a higher one.

    A quantizer may leave lower numbers than its operators need.
    """
    from ai_edge_litert import schema_py_generated as schema

    found = []
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            written = model.operatorCodes[operator.opcodeIndex]
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.customCode = written.builtinCode, written.customCode
            entry.version = max(written.version, versions.lowest(operator, written, graph.tensors))
            found.append(entry)
    return found


def _asking(needed: Mapping[tuple[str, int], Any], since: str | None) -> list[str]:
    """The kinds, with versions, that came with the release ``since``; None: those that no rule knows."""
    alone = {f"{name} {version}": versions.runtime([entry]) for (name, version), entry in needed.items()}
    return [name for name, release in alone.items() if release == since]


def _name(entry: Any) -> str:
    kind = versions.kind(entry)
    return f"CUSTOM {shown((entry.customCode or b'').decode(errors='replace'))}" if kind == "CUSTOM" else kind


def shown(text: str) -> str:
    """A word out of a file, which may be anybody's, as it can be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST]
