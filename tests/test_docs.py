"""The pages in docs/: every factory is in them, and the pictures are those of the calls beside them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import mlxsched_compiled

from .schedules import FACTORIES, TYPICAL, call_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def script(name: str) -> ModuleType:
    """A script in docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [*FACTORIES, "Schedule"])
def test_the_gallery_shows_every_factory(name: str) -> None:
    schedules = script("draw_gallery").figures()[f"{name}.png"]
    assert any(name in repr(schedule) for schedule in schedules.values())


def test_what_the_gallery_lacks_is_added_with_the_call_of_its_example() -> None:
    module = script("draw_gallery")
    page = (DOCS / "gallery.md").read_text()
    assert module.missing(page) == []
    (added,) = module.missing(page.replace("gallery/rex_decay.png", ""))
    assert added.startswith("### rex_decay\n\nFrom ``init`` to ``end``, staying high")
    assert "![rex_decay](gallery/rex_decay.png)\n\n```python\nrex_decay(1, 100)\n```" in added


def test_the_other_pages_get_a_name_behind_the_one_before() -> None:
    listed = script("draw_gallery").listed
    for page, form, separator in (
        (DOCS / "api.md", "::: mlxsched_compiled.{}\n", "\n"),
        (ROOT / "README.md", "`{}`", ", "),
    ):
        text = page.read_text()
        assert listed(text, form, separator) == text
        last = form.format("rex_decay")
        without = text.replace(f"{separator}{last}", "")
        assert last not in without
        assert listed(without, form, separator) == text


def test_someone_who_comes_from_elsewhere_meets_every_factory() -> None:
    here = " ".join(re.findall(r"\| `.+?` \| `(.+?)` \|", (DOCS / "coming-from.md").read_text()))
    alone = {call_of(row.make, 0.1)[0] for row in TYPICAL.values() if row.alone}
    missing = {name for name in FACTORIES if not re.search(rf"\b{name}\(", here)}
    assert missing == alone, "A row in docs/coming-from.md, or alone=True in tests/schedules.py."


def test_the_start_page_leads_to_every_page() -> None:
    nav = re.findall(r"^ +- .+: ([\w-]+\.\w+)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    start, *pages = nav
    assert len(pages) > 10
    assert {*pages} <= {*re.findall(r"\]\(([\w-]+\.\w+)\)", (DOCS / start).read_text())}


def test_the_readme_names_every_factory() -> None:
    assert [name for name in FACTORIES if f"`{name}`" not in (ROOT / "README.md").read_text()] == []


def test_the_api_has_every_public_name_in_the_order_of_the_contents_page() -> None:
    shown = re.findall(r"^::: mlxsched_compiled\.(?:\w+\.)?(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert [name for name in shown if name in mlxsched_compiled.__all__] == mlxsched_compiled.__all__


def test_every_picture_is_drawn_and_every_drawing_shown() -> None:
    shown = re.findall(r"\(gallery/(\w+\.png)\)", (DOCS / "gallery.md").read_text())
    committed = {path.name: path.stat().st_size for path in (DOCS / "gallery").iterdir()}
    assert shown == [*script("draw_gallery").figures()]
    assert set(shown) == set(committed)
    assert max(committed.values()) < 40_000


def test_which_schedule_shows_pictures_of_the_gallery() -> None:
    shown = re.findall(r"!\[.*?\]\((.+?)\)", (DOCS / "which-schedule.md").read_text())
    assert len(shown) > 5
    assert all((DOCS / picture).exists() for picture in shown)


@pytest.mark.usefixtures("uncompiled")
def test_the_script_draws_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    module = script("draw_gallery")
    module.draw(tmp_path)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(drawn) == set(module.figures())
    assert all(image.startswith(b"\x89PNG") and len(image) < 40_000 for image in drawn.values())


def test_every_benchmark_has_its_tables_below_what_prints_them() -> None:
    text = (DOCS / "benchmarks.md").read_text()
    tables = re.findall(r"<!-- pytest bench/(\w+).py -->\n(.)", text)
    assert {name for name, _ in tables} == {path.stem for path in (DOCS.parent / "bench").glob("bench_*.py")}
    assert {first for _, first in tables} == {"|"}
