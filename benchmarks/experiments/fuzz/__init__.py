"""Damaged files of every kind that footseg reads, given to the commands that read them.

``corpus`` makes the files by footseg's own commands, ``cases`` says which command reads which, ``damage``
changes them (``fields`` inside flatbuffers), ``trial`` runs one command on one of them in a process of its
own and judges how it ended, ``__main__`` keeps the books.
"""
