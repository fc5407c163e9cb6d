"""Proof of isolation: checks that run inside a container, each with a control that must fail.

`checks` lists them; `probe` is the program that tries, inside; `bait` is what
the host lays out for it to reach; `run` starts the container and gathers the
results; `report` prints them.
"""
