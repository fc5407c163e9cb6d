"""Thin, typed system calls, one file per kernel facility.

Imports `os` and C modules only: everything here is on the path from
`coso run` to execve, where each further import costs more than the calls.
"""
