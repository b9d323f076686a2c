"""What every plug-in of a kind promises, as one function per kind. Run them over your own:

    from accord.testing.checks import check_calibration
    check_calibration(my_calibration)

A check raises AssertionError that says which promise was broken. Options keep their defaults; to check another setting,
bind it with functools.partial. Promises of a single method, such as its worked example, belong in its own tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accord.testing.array_checks import check_calibration, check_selector, check_target
from accord.testing.family_check import check_family
from accord.testing.scorer_check import check_scorer
from accord.testing.tensor_checks import check_loss, check_noise, check_timestep_sampling, check_weighting

__all__ = [
    "CHECKS",
    "check_calibration",
    "check_family",
    "check_loss",
    "check_noise",
    "check_scorer",
    "check_selector",
    "check_target",
    "check_timestep_sampling",
    "check_weighting",
]

#: Kind of the registry to its check, for kinds whose plug-ins can be called as they are. A scorer has to be opened and
#: given images that it can score, a family opened with a model: see check_scorer and check_family.
CHECKS: dict[str, Callable[[Any], None]] = {
    "calibrations": check_calibration,
    "selectors": check_selector,
    "targets": check_target,
    "losses": check_loss,
    "noises": check_noise,
    "weightings": check_weighting,
    "timestep_samplings": check_timestep_sampling,
}
