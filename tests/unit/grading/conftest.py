"""The symbolic workers of these tests end with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from posttrain.grading import pool


@pytest.fixture(autouse=True, scope="module")
def _end_the_pool() -> Iterator[None]:
    yield
    pool.close_shared_pool()
