"""From a run to a smaller run: prune, cluster, cut channels, train for int8; with what each has cost."""
