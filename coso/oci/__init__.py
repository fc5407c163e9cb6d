"""Containers by the OCI runtime command line: made, started, watched and deleted by processes that come and go.

The same runtime as `coso run` makes them; here is what lies between the
commands: the state on disk, and the operations of runtime.md.
"""
