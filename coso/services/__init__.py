"""Compose files: read, checked, merged, and carried out with what the engine offers.

One way: text (`text`) → values with their places → variables put in
(`interpolation`) → each key in its long form (`service`, `resources`) →
files laid over each other (`merging`) → a project (`project`), in the words of
the Compose Specification.  What is done with it is planned (`plan`) before
anything is done (`carry_out`).
"""
