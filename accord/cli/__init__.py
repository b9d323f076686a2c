"""The command line: one command per stage, and a few that look on. It holds no logic of its own."""

from accord.cli.app import main

__all__ = ["main"]
