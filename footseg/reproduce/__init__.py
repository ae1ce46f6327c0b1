"""Published results made anew: each step is a footseg command, and what is done stays done.

``settings`` says what is made, ``steps`` in which order, ``runner`` runs what is not done yet; ``results``
reads what the commands left, ``claims`` holds it against the thesis, ``tables`` and ``grid`` write it down;
``thesis`` is the command.
"""
