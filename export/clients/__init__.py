"""Other people's runtimes, and what they make of our files.

Each runs in a process of its own, some in an environment of their own.
"""
