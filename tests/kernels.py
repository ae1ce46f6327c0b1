"""The numeric tests under other kernels: ``python -m tests.kernels``, part of ``make test-all``.

oneDNN, XLA and Eigen choose what they compute with by the processor. What another one would choose can be
asked for in part: an older instruction set, no oneDNN at all, one thread. TensorFlow's, JAX's and OpenMP's
threads are set together; LiteRT and ONNX Runtime always take what the processor has. ``make test`` is the run
with everything that the processor has.
"""

import os
import subprocess
import sys

# Name, variables, threads.
KERNELS = (
    ("without oneDNN, one thread", {"TF_ENABLE_ONEDNN_OPTS": "0"}, 1),
    ("AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}, 2),
    ("SSE4, one thread", {"ONEDNN_MAX_CPU_ISA": "SSE41", "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}, 1),
)
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def main(words: list[str]) -> int:
    """Run pytest once for each; ``words`` go to it, in place of all numeric tests."""
    chosen = words or ["-n", "2", "--dist", "loadfile", "-m", "numeric and not slow"]
    failed = []
    for name, variables, threads in KERNELS:
        print(f"numeric tests: {name}", flush=True)
        environment = os.environ | variables | dict.fromkeys(THREADS, str(threads))
        if subprocess.run([sys.executable, "-m", "pytest", *chosen], env=environment, check=False).returncode:
            failed.append(name)
    for name in failed:
        print(f"numeric tests failed: {name}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
