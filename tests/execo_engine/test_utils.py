"""Names that are safe in a path."""

from __future__ import annotations

import pytest

from execo_engine import slugify


@pytest.mark.parametrize(("value", "slug"), [
    ("Hello World", "hello-world"),
    ("  spaces   and -- dashes ", "spaces-and-dashes"),
    ("élan à Nancy", "elan-a-nancy"),
    ("a/b:c*d", "abcd"),
    ("under_score", "under_score"),
    ({"n": 1}, "n-1"),
    (3.5, "35"),
    ("日本", ""),
    ("", ""),
])
def test_slugify(value, slug):
    assert slugify(value) == slug


@pytest.mark.parametrize(("separator", "slug"), [("_", "a_b-c"), ("", "ab-c"), ("+", "a+b-c"), ("\\1", "a\\1b-c")])
def test_the_separator_of_slugify_is_taken_as_it_is(separator, slug):
    assert slugify("a  b-c", separator) == slug
