"""Randomness is an address."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accord.seeding import address, generator

parts = st.lists(st.one_of(st.integers(0, 10**6), st.text(max_size=8)), max_size=4)


@given(st.integers(0, 2**40), parts, st.integers(0, 2**40), parts)
def test_distinct_addresses_give_distinct_seeds(seed, what, other_seed, other_what):
    same = (seed, what) == (other_seed, other_what) and [type(p) for p in what] == [type(p) for p in other_what]
    assert (address(seed, *what) == address(other_seed, *other_what)) == same


def test_an_address_never_changes():
    """Stored runs depend on it: a change here makes every stored seed unrepeatable."""
    assert address(0, "image", "abc", 3) == 6704958356412573375
    assert 0 <= address(2**62, "x") < 2**63


def test_numbers_and_texts_that_print_alike_differ():
    assert address(0, 1) != address(0, "1")
    assert address(0, "a", "b") != address(0, "ab") != address(0, "a\x1fb")


def test_generator_depends_on_the_address_alone():
    first = generator(1, "noise", "p", 0).standard_normal(4)
    generator(1, "noise", "q", 0).standard_normal(1000)
    assert np.array_equal(first, generator(1, "noise", "p", 0).standard_normal(4))
