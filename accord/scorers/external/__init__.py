"""Scorers in a process and an environment of their own, behind a pipe."""
