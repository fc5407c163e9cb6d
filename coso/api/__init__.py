"""coso from Python: containers of the calling process, started by a small process beside it."""
