"""Draws the pictures of gallery.md, each from the calls below it: ``python docs/draw_gallery.py [folder]``.

A factory that the pages lack is added to them first: to the gallery with the call of its docstring's example, to the
API and to the table of the README behind the one that it follows in the catalogue.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxsched_compiled import Schedule
from mlxsched_compiled.config.catalogue import catalogue

HERE = Path(__file__).parent
STEPS = 1200
COLORS = ["#4269d0", "#ff725c", "#3ca951"]


def figures() -> dict[str, dict[str, Schedule]]:
    """The schedules of each picture, by the file's name and by the label, which is the comment behind the call."""
    names: dict[str, Any] = {}
    exec("from mlxsched_compiled import *", names)
    found: dict[str, dict[str, Schedule]] = {}
    blocks = r"^!\[\w+\]\(gallery/(\w+\.png)\)\n\n```python\n(.*?)```"
    for file, code in re.findall(blocks, (HERE / "gallery.md").read_text(), re.MULTILINE | re.DOTALL):
        calls = [line.partition("  # ") for line in code.splitlines()]
        found[file] = {label: eval(call, names) for call, _, label in calls}
    return found


def missing(page: str) -> list[str]:
    """A section for each factory that the page does not show."""
    sections = []
    for name, factory in catalogue().items():
        if f"gallery/{name}.png" in page:
            continue
        text = inspect.getdoc(factory) or ""
        examples = [example.source for example in doctest.DocTestParser().get_examples(text)]
        call = next(found for source in examples if (found := _call(name, source)))
        summary = text.partition("\n")[0]
        sections.append(f"### {name}\n\n{summary}\n\n![{name}](gallery/{name}.png)\n\n```python\n{call}\n```\n")
    return sections


def _call(name: str, source: str) -> str | None:
    """The first call of that name in a piece of code, as it is written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            return ast.get_source_segment(source, node)
    return None


def listed(page: str, form: str, separator: str) -> str:
    """A page that has all factories, each in a ``form``: those that it lacks follow the one before in the catalogue."""
    before = ""
    for name in map(form.format, catalogue()):
        if name not in page:
            start, _, rest = page.rpartition(before)
            page = start + before + separator + name + rest
        before = name
    return page


def draw(folder: Path) -> None:
    """Draws them all."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style: Any = {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.edgecolor": "#888888",
        "axes.labelcolor": "#444444",
        "font.size": 8,
        "grid.color": "#e8e8e8",
        "xtick.color": "#444444",
        "ytick.color": "#444444",
    }
    folder.mkdir(parents=True, exist_ok=True)
    steps = mx.arange(STEPS + 1)
    for file, schedules in figures().items():
        with pyplot.rc_context(style):
            figure, axes = pyplot.subplots(figsize=(4.8, 2.4), dpi=100, layout="constrained")
            for color, (label, schedule) in zip(COLORS, schedules.items(), strict=False):
                axes.plot(range(STEPS + 1), schedule(steps).tolist(), color=color, linewidth=1.5, label=label)
            axes.set(xlabel="step", ylabel="learning rate", xlim=(0, STEPS))
            axes.set_ylim(0, 1.08 * axes.dataLim.y1)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, -3))
            if len(schedules) > 1:
                figure.legend(frameon=False, fontsize=7, loc="outside upper right", ncols=len(schedules))
            figure.savefig(folder / file)
            pyplot.close(figure)


if __name__ == "__main__":
    gallery, api, readme = HERE / "gallery.md", HERE / "api.md", HERE.parent / "README.md"
    page = gallery.read_text()
    gallery.write_text("\n".join([page, *missing(page)]))
    api.write_text(listed(api.read_text(), "::: mlxsched_compiled.{}\n", "\n"))
    readme.write_text(listed(readme.read_text(), "`{}`", ", "))
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gallery")
