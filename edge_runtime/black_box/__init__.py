"""The black box: the last seconds of a run, always in memory, on disk after every incident."""
