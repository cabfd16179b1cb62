"""What is said of a version in several places is the same in all of them."""

import re
from pathlib import Path

import mlxsched_compiled

ROOT = Path(__file__).parents[1]


def test_the_version_and_its_date_are_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    cited = re.findall(r'^version: (.+)\ndate-released: "(.+)"$', citation, re.MULTILINE)
    changed = re.findall(r"^## \[([0-9.]+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert cited == changed[:1]
    assert cited[0][0] == mlxsched_compiled.__version__
