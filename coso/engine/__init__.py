"""Containers as people know them: with names, logs and an end that is remembered, and no daemon.

Every container has a directory (`record`).  One that is kept, or runs in the
background, has a monitor: a small process forked from a zygote, which starts
it (`start`), keeps its logs, and sees to its end.
"""
