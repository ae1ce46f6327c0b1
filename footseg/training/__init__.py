"""From a data set to a run: ``config`` says what can be asked for, ``train`` does it."""
