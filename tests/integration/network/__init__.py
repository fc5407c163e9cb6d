"""Real packets between real namespaces.

The session's own network namespace stands for the host; `outer` is a host
beyond it, `box` a process with an empty network of its own, as any runtime
makes one.  Containers are coso's.
"""
