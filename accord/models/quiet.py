"""Silence for the libraries below: Accord's own errors and progress are what a user should read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet(keep_progress_bars: bool = False) -> Iterator[None]:
    """Hide log lines, warnings and progress bars of diffusers and transformers; their settings are put back after.

    `keep_progress_bars` is for downloads, which can take an hour.
    """
    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)  # their errors are raised as well, and told once
        if not keep_progress_bars:
            library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, (verbosity, has_bar) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if has_bar:
                library.enable_progress_bar()
