"""Running artifacts on Android phones and emulated Arm processors: not built yet.

Its place is held so that the import directions are: it may use the standard library only.
"""
