"""The whole GPU programme: pretraining slices, speed, agreement with the CPU. Needs numpy, scipy, torch.

Pack the training images once, where nibabel is::

    n2a-tools pretrain --brains ... --heads ... --validation ... --pack heads.npz

then, on the GPU machine, as often as there is time (every call resumes)::

    PYTHONPATH=. python tests/gpu/programme.py heads.npz OUT --network resunet-t1w --hours 1 --slice-minutes 9

``OUT`` receives ``<network>.pt``, a checkpoint that ``n2a-tools pretrain --checkpoint OUT/<network>.pt
--hours 1`` (same network, brains and validation) turns into weights with a model card, and
``figures.json``: loss, seconds per step, achieved TFLOP/s against the device's own large matrix product,
peak memory, and the largest difference between GPU and CPU predictions.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from n2a_bids.algorithms.inference import predict
from n2a_bids.algorithms.network import MUNet, ResidualUNet
from n2a_bids.algorithms.pretraining import new_state, pretrain
from n2a_bids.algorithms.pretraining_blocks import PretrainingConfig, TrainingHead, draw_batch

SEED = 7
NETWORKS = {"resunet-t1w": ResidualUNet, "munet-t1w": MUNet}


def read_heads(path: Path) -> list[TrainingHead]:
    """Training heads of a packed file."""
    packed = np.load(path, allow_pickle=False)
    heads = []
    for name in [key.removesuffix("/image") for key in packed.files if key.endswith("/image")]:
        distance = packed[f"{name}/distance"] if f"{name}/distance" in packed.files else None
        heads.append(
            TrainingHead(
                name,
                packed[f"{name}/image"].astype(np.float32) * packed[f"{name}/step"],
                packed[f"{name}/brain"],
                distance=distance,
                share=float(packed[f"{name}/share"]),
            )
        )
    return heads


def ceiling_tflops(device: torch.device) -> float:
    """Rate of a large bfloat16 matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    seconds = _time(lambda: matrix @ matrix, device)
    return 2 * size**3 / seconds / 1e12


def _time(work, device: torch.device, repeats: int = 5) -> float:
    work()
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait(device)
    return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def agreement(network: torch.nn.Module, device: torch.device) -> float:
    """Largest difference between predictions on the device and on the CPU, in z-scores."""
    image = np.random.default_rng(0).standard_normal((64, 64, 64)).astype(np.float32)
    noise_sd = np.full(image.shape, 0.5, np.float32)
    network = network.eval()
    on_device = predict(network.to(device), image, noise_sd, device=device)
    on_cpu = predict(network.to("cpu"), image, noise_sd, device=torch.device("cpu"))
    network.to(device)
    return float(np.abs(on_device - on_cpu).max())


def main() -> None:
    """Run one slice and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resunet-t1w")
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--slice-minutes", type=float, default=9.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps-per-report", type=int, default=50)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device, config = torch.device(args.device), PretrainingConfig(batch_size=args.batch_size)
    heads = read_heads(args.heads)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / f"{args.network}.pt"
    torch.manual_seed(SEED)
    state = new_state(NETWORKS[args.network], device, config)
    # What n2a-tools pretrain keeps in its checkpoints.
    story = {"seconds": 0.0, "initial_sha256": "", "curve": []}
    if checkpoint.is_file():
        content = torch.load(checkpoint, weights_only=True, map_location=device)
        state.load_state_dict(content["state"])
        story = content["story"]
    spent = story["seconds"]
    started, first = time.perf_counter(), state.step
    while time.perf_counter() - started < args.slice_minutes * 60:
        done = (spent + time.perf_counter() - started) / (args.hours * 3600)
        if done >= 1:
            break
        loss = pretrain(
            state,
            partial(draw_batch, heads, config),
            config,
            seed=SEED,
            n_steps=args.steps_per_report,
            progress=lambda step, p=done: p,
            device=device,
        )
        print(json.dumps({"step": state.step, "done": round(done, 4), "loss": round(loss, 5)}), flush=True)
    seconds = time.perf_counter() - started
    torch.save({"state": state.state_dict(), "story": story | {"seconds": spent + seconds}}, checkpoint)
    figures = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "steps": state.step - first,
        "seconds_per_step": seconds / max(state.step - first, 1),
        "ceiling_tflops": ceiling_tflops(device),
        "peak_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
        "largest_difference_to_cpu": agreement(state.averaged, device),
    }
    (args.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
