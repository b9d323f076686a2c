"""One file per stage: read files of the run folder, do the work, write files of the run folder. Stages never import
one another; what two of them share lives below them.

Each is a function `stage(config, redo=False, progress=no_progress) -> Outcome`.
"""
