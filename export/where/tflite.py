"""What each client makes of a ``.tflite``, computed from the facts of the file."""

from collections import Counter
from collections.abc import Sequence

from footseg.clients import COMPUTED, IN_PART, NOT, RUNS, UNKNOWN, WRONG, Standing, released
from footseg.export import versions
from footseg.export.where import rules
from footseg.export.where.facts import Facts

# The types that a client has arrays of: Kotlin's CompiledModel, LiteRT.js 2.5.3.
TYPES = {
    "kotlin": ("float32", "int32", "int8", "bool", "int64"),
    "web": ("float32", "int32", "uint8"),
    "webgpu": ("float32", "int32", "uint8"),
}
# Verdicts from the worst on: one thing that stands against a file is enough.
WORST = (NOT, WRONG, IN_PART, UNKNOWN, RUNS)

# So many kinds of operators are named.
MOST_KINDS = 3

# A verdict with its reason.
Found = tuple[str, str]


def standings(facts: Facts) -> tuple[Standing, ...]:
    """Of each client that takes ``.tflite``, what it makes of a file."""
    operators = _operators(facts)
    by_gpu, on_gpu = _by_rules("gpu", facts)
    by_gpu += _rounded(facts)
    by_openvino, on_openvino = _by_rules("openvino", facts)
    by_213, on_213 = _by_rules("tf213", facts)
    return (
        _standing("cpu", "LiteRT, CPU", operators),
        _standing("gpu", "LiteRT, GPU alone", by_gpu, on_gpu),
        _standing("kotlin", "CompiledModel, Kotlin", [*operators, *_ends("kotlin", facts)]),
        _standing("mediapipe", "MediaPipe", [*operators, *_mediapipe(facts)]),
        _tensorflow(facts, by_213),
        _standing("tf213", "TensorFlow Lite 2.13", [*operators, *by_213, *_pinned("2.13", facts)], on_213),
        _standing("web", "LiteRT.js, wasm", [*operators, *_ends("web", facts)]),
        _standing("webgpu", "LiteRT.js, WebGPU", [*by_gpu, *_ends("webgpu", facts)], on_gpu),
        _standing("openvino", "OpenVINO", [*by_openvino, *_plain(facts)], on_openvino),
    )


def _standing(
    client: str, title: str, found: Sequence[Found], against: Counter[str] | None = None
) -> Standing:
    """A client's row, of the worst that was found and of all reasons, worst first."""
    ordered = sorted(found, key=lambda one: WORST.index(one[0]))
    verdict = ordered[0][0] if ordered else RUNS
    basis = UNKNOWN if verdict == UNKNOWN else COMPUTED
    why = "; ".join(dict.fromkeys(why for _, why in ordered))
    return Standing(client, title, verdict, basis, why, dict(against or {}))


def _operators(facts: Facts) -> list[Found]:
    """Whether the runtimes of today have all operators: those that rules of versions know."""
    return [] if facts.since else [(UNKNOWN, f"no rule knows {', '.join(facts.asking)}")]


def _ends(client: str, facts: Facts) -> list[Found]:
    """Whether a client has arrays of the types at the ends."""
    unfit = {tensor.kind for tensor in (*facts.inputs, *facts.outputs)} - set(TYPES[client])
    return [(NOT, f"it has no arrays of {' or '.join(sorted(unfit))}, as the file's ends are")] * bool(unfit)


def _by_rules(client: str, facts: Facts) -> tuple[list[Found], Counter[str]]:
    """What rules say of the operators, and how many of each kind they speak against."""
    spoken: dict[rules.Rule, Counter[str]] = {}
    strange: Counter[str] = Counter()
    for operator in facts.graph.operators:
        if rule := rules.against(client, operator, facts.graph):
            spoken.setdefault(rule, Counter())[operator.op] += 1
        elif not rules.known(client, operator, facts.graph):
            strange[operator.op] += 1
    found = [(rule.verdict, f"{_counted(kinds)}: {rule.why}") for rule, kinds in spoken.items()]
    if strange:
        found.append((UNKNOWN, f"not seen there yet: {', '.join(sorted(strange))}"))
    return found, sum(spoken.values(), Counter())


def _counted(kinds: Counter[str]) -> str:
    """Kinds with their numbers; of many kinds the number alone."""
    if len(kinds) > MOST_KINDS:
        return f"{kinds.total()} operators"
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _rounded(facts: Facts) -> list[Found]:
    """Whether a GPU, which computes integers in float, rounds them otherwise now and then.

    Of one operator's codes it gives up to 0.01 % another value, where two are as near, and each makes others
    in what follows. On 100 photographs 0.14 and 0.05 % of pixels (benchmarks/results/gpu.json).
    """
    tensors = facts.graph.tensors
    coded = any(
        tensors[key].kind in ("int8", "uint8")
        for operator in facts.graph.operators
        if operator.op not in ("QUANTIZE", "DEQUANTIZE")
        for key in operator.outputs
    )
    why = "CPU only: in integers a GPU rounds otherwise, and about 0.1 % of pixels have another class"
    return [(WRONG, why)] * coded


def _mediapipe(facts: Facts) -> list[Found]:
    """What MediaPipe's ImageSegmenter asks of a file's ends and of its description."""
    if len(facts.inputs) != 1:
        return [(NOT, f"it feeds one image, and the file has {len(facts.inputs)} inputs")]
    (image,), found = facts.inputs, []
    if image.kind not in ("float32", "uint8"):
        found.append((NOT, f"its input is float32 or uint8, not {image.kind}"))
    if image.kind == "float32" and not facts.normalized:
        found.append((NOT, "a float32 input needs NormalizationOptions in TFLite Metadata"))
    if image.shape is None or len(image.shape) != 4 or image.shape[0] != 1 or image.shape[3] not in (3, 4):
        found.append((NOT, "it feeds an image (1, H, W, 3 or 4)"))
    if facts.outside:
        found.append((UNKNOWN, f"{facts.outside} buffers behind the flatbuffer were not tried there"))
    for tensor in facts.outputs:
        if tensor.kind != "float32":
            found.append((WRONG, f"it misreads masks in {tensor.kind}"))
        elif tensor.shape is None or len(tensor.shape) != 4:
            found.append((UNKNOWN, "the output is not (1, H, W, channels)"))
        elif tensor.shape[3] == 1:
            found.append((WRONG, "of one channel it makes a category mask with 0 for the foreground"))
    return found


def _tensorflow(facts: Facts, by_rules: Sequence[Found]) -> Standing:
    """The oldest TensorFlow Lite that runs a file, and whether the file says the same of itself."""
    client, title, behind = "tflite", "TensorFlow Lite", _behind(facts)
    if facts.since is None or behind or by_rules:
        found = [
            *_operators(facts),
            *((UNKNOWN, f"not 2.13 or older: {why}") for _, why in (*behind, *by_rules)),
        ]
        return _standing(client, title, found)
    said, needed = facts.stated, released(facts.since)
    if said == facts.since:
        why = f"min_runtime_version says so: {said}"
    else:
        why = (
            f"min_runtime_version says {said}, not {needed}"
            if said
            else "the file has no min_runtime_version"
        )
    return Standing(client, title, RUNS, COMPUTED, why, since=facts.since, asking=facts.asking)


def _pinned(release: str, facts: Facts) -> list[Found]:
    """What stands against a file on one older TensorFlow Lite."""
    found = _behind(facts)
    if facts.since and versions.numbers(facts.since)[:2] > versions.numbers(release)[:2]:
        found.append((NOT, f"{released(facts.since)} is needed for {' and '.join(facts.asking)}"))
    return found


def _behind(facts: Facts) -> list[Found]:
    if not facts.outside:
        return []
    return [(NOT, f"{facts.outside} buffers lie behind the flatbuffer, where it does not look")]


def _plain(facts: Facts) -> list[Found]:
    """What stands against a file with readers that know older flatbuffers only."""
    found = _behind(facts)
    if facts.uncoded:
        found.append(
            (NOT, f"{_counted(facts.uncoded)}: without deprecated_builtin_code, so that it reads ADD")
        )
    return found
