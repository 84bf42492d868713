"""docs/reference is generated from the models (`make reference`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_as_the_models_are(generator):
    """`make reference` writes it again."""
    written = {path.name: path.read_text() for path in (DOCS / "reference").iterdir()}
    stale = [name for name, text in generator.pages().items() if written.get(name) != text]
    assert stale == []


def test_every_field_that_users_write_is_described(generator):
    assert generator.undescribed() == []
