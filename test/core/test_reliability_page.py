"""docs/RELIABILITY.md says what was measured."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_generator_makes_of_the_figures():
    generator = runpy.run_path(str(ROOT / "tools" / "reliability.py"))
    result = generator["read_figures"](ROOT / "benchmarks" / "durability.json")
    others = generator["read_others"]()
    assert (ROOT / "docs" / "RELIABILITY.md").read_text() == generator["page"](result, others)
    other = generator["page"](result | {"lost": 12345}, others)
    assert "| lost | 12345 |" in other


def test_every_test_file_that_the_page_names_exists():
    text = (ROOT / "docs" / "RELIABILITY.md").read_text()
    named = {word.strip("`,;()") for word in text.split() if word.startswith("`test/")}
    assert len(named) >= 6
    assert all((ROOT / name).is_file() for name in named)
