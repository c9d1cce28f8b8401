"""``n2a-tools doctor``: a tiny training and the speed of this machine, in a child process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from n2a_bids.record.typed_json import JsonObject
from n2a_bids.tools.doctor.checks import Finding, ask_child

_STEPS = 10
_FINE_TUNE_LIMIT_S = 600


def check_fine_tune(device: str) -> list[Finding]:
    """Train the network for a few steps in a child process, and time it and what else denoising does.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    findings : list of Finding
        Seconds per step, and the speed to expect; or the last words of the child.
    """
    name = f"fine-tune on {device}"
    found = ask_child(["-m", "n2a_bids.tools.doctor.speed", device], _FINE_TUNE_LIMIT_S, "rates")
    if "failure" in found:
        return [Finding(name, "failed", f"training on {device}: {found['failure']}")]
    trained = Finding(
        name,
        f"{found['seconds_per_step']:.3f} s per step of 32 x 32 x 32 voxels in {found['precision']}, "
        f"{found['threads']} threads, loss {found['losses'][0]:.4f} to {found['losses'][-1]:.4f}",
    )
    return [trained, Finding(f"speed on {device}", describe_speed(found))]


def describe_speed(found: Mapping[str, Any]) -> str:
    """What the processor or GPU gives, and how long a T1w pair will take on it when nothing else runs.

    Parameters
    ----------
    found : mapping
        ``kind``, ``precision``, ``rates`` (fields of `Rates`) and ``minutes`` by recipe.
    """
    rates = found["rates"]
    minutes = ", ".join(f"{recipe} {value:.1f} min" for recipe, value in found["minutes"].items())
    return (
        f"{found['kind']}: {rates['training'] / 1000:,.0f} thousand voxels/s in training, "
        f"{rates['prediction'] / 1000:,.0f} in prediction ({found['precision']}), "
        f"{rates['nonlocal_bayes'] / 1000:,.0f} in non-local Bayes; "
        f"denoising two T1w images of 160 x 224 x 256 voxels: {minutes}"
    )


def train_a_little(device_name: str) -> JsonObject:
    """Train the network of ``auto`` on one noisy ball: called in the child process.

    Parameters
    ----------
    device_name : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    found : dict
        ``losses`` of the first and the second half, ``seconds_per_step`` of the second,
        ``precision``, ``threads``.
    """
    import torch

    from n2a_bids.algorithms.nn.networks import ResidualUNet
    from n2a_bids.algorithms.nn.precision import precision_for
    from n2a_bids.algorithms.nn.training import Batch, Schedule, fit

    device = torch.device(device_name)
    torch.manual_seed(0)
    axis = torch.linspace(-1, 1, 32)
    clean = (sum(part**2 for part in torch.meshgrid(axis, axis, axis, indexing="ij")) < 0.5).float()[
        None, None
    ]
    noise_sd = torch.full_like(clean, 0.3)
    noisy, target = (clean + noise_sd * torch.randn_like(clean) for _ in range(2))
    batch = Batch(*(block.to(device) for block in (noisy, noise_sd, target, torch.ones_like(clean))))
    times: list[float] = []
    losses = fit(
        ResidualUNet().to(device),
        lambda: batch,
        Schedule(n_epochs=2, steps_per_epoch=_STEPS // 2, learning_rate=6e-4),
        device=device,
        on_epoch=lambda epoch, loss: times.append(time.monotonic()),
    )
    return {
        "losses": losses,
        "seconds_per_step": (times[1] - times[0]) / (_STEPS // 2),
        "precision": str(precision_for(device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def find_speed(device_name: str) -> JsonObject:
    """Measure rates, and tell what they mean for a whole head: called in the child process.

    Parameters
    ----------
    device_name : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    found : dict
        ``kind`` of processor or GPU, ``rates``, ``minutes`` by recipe.
    """
    import torch

    from n2a_bids.algorithms.nn.rates import measure_rates
    from n2a_bids.algorithms.strategies import get_strategy
    from n2a_bids.io.weights import load_all_weights
    from n2a_bids.lab.benchmark.machine import processor_kind
    from n2a_bids.tools.doctor.auto_time import TYPICAL_HEAD, expected_seconds

    rates = measure_rates(torch.device(device_name))
    auto, minutes = get_strategy("auto"), {}
    for recipe in ("default", "fast", "zero-shot"):
        settings = auto.config(recipe, *load_all_weights(auto.facts.weights_of(recipe)))
        minutes[recipe] = sum(expected_seconds(TYPICAL_HEAD, settings, rates).values()) / 60
    kind = processor_kind() if device_name == "cpu" else torch.cuda.get_device_name()
    return {"kind": kind, "rates": asdict(rates), "minutes": minutes}


if __name__ == "__main__":
    print("FOUND " + json.dumps(train_a_little(sys.argv[1]) | find_speed(sys.argv[1])))
