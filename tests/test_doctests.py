"""The examples in the docstrings of the modules that a reader opens first."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["features", "augmentations", "blocks", "network", "trainer", "metrics", "kernels"])
def test_examples_of_the_core_hold(name):
    found = doctest.testmod(import_module(f"asc_kit.{name}"))
    assert found.failed == 0 < found.attempted
