"""From a run to a smaller run: prune, cluster, cut channels, train for int8. What each costs is in the run."""
