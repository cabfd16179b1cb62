"""Draws the picture of the README, each panel below the call that makes it: ``python docs/draw_overview.py``."""

from __future__ import annotations

from pathlib import Path

from mlxsched_compiled import from_config

CALLS = [
    "warmup_cosine_decay(1e-3, 100, 1000)",
    "warmup_stable_decay(1e-3, 100, 600, 300)",
    "one_cycle(1e-3, 1000)",
    "warmup(cosine_restarts(1e-3, 300, decay=0.7), 100)",
    "linear_schedule(1e-3, 0, 1000) * cyclic(0.5, 1, 50)",
    "cooldown(noam(512, 100, 0.2), 800, 200)",
]


def draw(file: Path) -> None:
    """Draws it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 3, figsize=(12, 4.8), dpi=100, layout="constrained")
    for ax, call in zip(panels.flat, CALLS, strict=True):
        from_config(call).plot(1000, ax=ax)
        ax.set_title(call, fontsize=8, family="monospace")
        ax.set(xlabel="", ylabel="")
        if ax.get_legend():
            ax.get_legend().remove()
    figure.savefig(file)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).parent / "overview.png")
