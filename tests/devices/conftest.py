"""Fixtures for device tests."""

from __future__ import annotations

import pytest
from workbench import GuestTime, Wire


@pytest.fixture
def time() -> GuestTime:
    return GuestTime()


@pytest.fixture
def wire() -> Wire:
    return Wire()
