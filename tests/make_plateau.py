"""Has PyTorch reduce rates on plateaus of random metrics, for plateau.json: ``python tests/make_plateau.py``.

It needs ``pip install torch==2.13.0``. Metrics are numbers of float32, and rates are given as fractions of the first.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("plateau.json")
RULES: list[dict[str, Any]] = [
    {},
    {"patience": 0, "factor": 0.5},
    {"patience": 2, "cooldown": 3, "factor": 0.7},
    {"patience": 1, "threshold": 0.1, "min_rate": 0.02},
    {"patience": 1, "threshold": 0.05, "threshold_mode": "abs", "factor": 0.3},
    {"patience": 1, "mode": "max", "factor": 0.5},
    {"patience": 2, "mode": "max", "threshold_mode": "abs", "threshold": 0.25, "cooldown": 1},
    {"patience": 0, "mode": "max", "threshold": 0.0, "cooldown": 2, "factor": 0.9},
    {"patience": 3, "threshold": 0.0, "factor": 0.9, "min_rate": 0.5},
]


def metrics(generator: random.Random, mode: str) -> list[float]:
    """A noisy way down (up, in the other mode), with repetitions, NaN and infinities."""
    found: list[float] = []
    level = 4.0
    for _ in range(120):
        level *= generator.choice([1.0, 1.0, 0.97])
        value = round((level + generator.choice([0, 0.2]) * generator.gauss(0, 1)) * 256) / 256
        value = generator.choice([value] * 9 + [found[-1] if found else value])
        value = float("nan") if generator.random() < 0.03 else value
        value = generator.choice([float("inf"), -float("inf")]) if generator.random() < 0.005 else value
        found.append(-value if mode == "max" else value)
    return found


def main() -> None:
    """Computes all, and writes the file."""
    import torch

    cases = []
    for number, rules in enumerate(RULES * 3):
        values = metrics(random.Random(number), rules.get("mode", "min"))
        options = {("min_lr" if name == "min_rate" else name): value for name, value in rules.items()}
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **options)
        rates = []
        for value in values:
            scheduler.step(value)
            rates.append(optimizer.param_groups[0]["lr"])
        cases.append({"rules": rules, "metrics": values, "rates": rates})
    FILE.write_text(json.dumps({"torch": torch.__version__.partition("+")[0], "cases": cases}))


if __name__ == "__main__":
    main()
