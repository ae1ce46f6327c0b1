"""Phones and emulated Arm processors: the runner that runs there, and the ways to it (adb, QEMU).

Standard library only: what it finds are plain values, which ``benchmarks`` makes measurements of.
"""
