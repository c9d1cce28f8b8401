"""The whole GPU programme: pretraining, speed, denoising, agreement with the CPU. Needs numpy, scipy, torch.

Pack the training images once, where nibabel is::

    n2a-tools pretrain --brains ... --heads ... --validation ... --pack heads.npz

then, on the GPU machine, as often as there is time (every call resumes)::

    PYTHONPATH=. python tests/gpu/programme.py heads.npz OUT --hours 1 --slice-minutes 9 \\
        --network resunet-t1w --block-edge 64 --batch-size 8 --workers 15 --from-shipped
    PYTHONPATH=. python tests/gpu/programme.py heads.npz OUT --hours 0 --speed --denoise --faithful

``OUT`` receives ``<network>.pt``, a checkpoint that ``n2a-tools pretrain --checkpoint OUT/<network>.pt
--hours 1`` (same network, brains and validation) turns into weights with a model card;
``<network>.npz``, its averaged weights in half precision; and ``metrics.json``, which grows as it goes:
seconds per step, achieved TFLOP/s against the device's own large matrix product, peak memory, and the largest
difference between GPU and CPU predictions. ``--speed`` adds the training step of both networks by block edge
(which block fits which card): as it is, recorded as a CUDA graph, and with ``--compiled`` compiled;
``--denoise`` the seconds of ``auto`` on a pair simulated from the first head, and ``--faithful``
those of the published schedule, both with plain and with recorded steps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from batches_ahead import draw_ahead

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.dataset_training.steps import new_state, train_steps
from n2a_bids.algorithms.nn.cuda_graphs import Recorder, record_cuda_graph
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.networks import MUNet, ResidualUNet
from n2a_bids.algorithms.nn.training import Batch, Schedule, fit
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.lab.benchmark.anat.engine_speed import measure_ceilings, measure_training
from n2a_bids.lab.pretraining.blocks import BlockPretraining, TrainingHead, distance_to_brain, draw_batch

SEED = 7
NETWORKS = {"resunet-t1w": ResidualUNet, "munet-t1w": MUNet}
WEIGHTS = Path(__file__).parents[2] / "n2a_bids" / "data" / "weights"
NOISE_SD = 0.3
"""Of each simulated repetition, in in-brain SDs."""


def read_heads(path: Path, n_processes: int = 1) -> list[TrainingHead]:
    """Training heads of a packed file."""
    packed = np.load(path, allow_pickle=False)
    names = [key.removesuffix("/image") for key in packed.files if key.endswith("/image")]
    with get_context("fork").Pool(max(1, n_processes)) as pool:
        distances = pool.map(distance_to_brain, [packed[f"{name}/brain"] for name in names])
    return [
        TrainingHead(
            name,
            (packed[f"{name}/image"].astype(np.float32) * packed[f"{name}/step"]).astype(np.float16),
            packed[f"{name}/brain"],
            distance=distance if packed[f"{name}/is_stripped"] else None,
            share=float(packed[f"{name}/share"]),
        )
        for name, distance in zip(names, distances)
    ]


def speed_rows(device: torch.device, hows: Sequence[str]) -> Iterator[dict[str, object]]:
    """Ceilings of the device, and training steps by network and block edge, plain and in other ways."""
    yield from measure_ceilings(device)
    for name in NETWORKS:
        for edge in (48, 64, 80) if device.type == "cuda" else (16,):
            yield measure_training(name, device, edge, 2)
            for how in hows:
                yield timed_step(how, name, device, edge)


def recorder_for(device: torch.device) -> Recorder:
    """CUDA graphs, or a stand-in that simply does the work again."""
    return record_cuda_graph if device.type == "cuda" else lambda work: work


def timed_step(how: str, name: str, device: torch.device, edge: int) -> dict[str, object]:
    """Seconds of the same step recorded, or with the network compiled; why not, where that fails."""
    network = NETWORKS[name]().to(device, memory_format=torch.channels_last_3d)
    recorder = recorder_for(device) if how == "recorded" else None
    if how == "compiled":
        network = torch.compile(network, backend="inductor" if device.type == "cuda" else "eager")
    block = torch.zeros(2, 1, edge, edge, edge, device=device).contiguous(
        memory_format=torch.channels_last_3d
    )
    batch = Batch(block, torch.ones_like(block), block, torch.ones_like(block))
    row: dict[str, object] = {"phase": f"{how} training step", "item": f"{name}, 2 x {edge}^3"}
    ends: list[float] = []
    n_steps = 40 if device.type == "cuda" else 4
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        # The first of two epochs compiles or records.
        fit(
            network,
            lambda: batch,
            Schedule(2, n_steps, 1e-6),
            device=device,
            on_epoch=lambda epoch, loss: ends.append(time.perf_counter()),
            recorder=recorder,
        )
    except Exception as error:  # what cannot be compiled or recorded must not end the programme
        return row | {"failed": f"{type(error).__name__}: {error}"[:300]}
    return row | {"seconds": (ends[1] - ends[0]) / n_steps, "peak_memory_gb": _peak_memory_gb(device)}


def denoise_pair(
    head: TrainingHead,
    strategy_name: str,
    recipe: str,
    edge: int | None,
    device: torch.device,
    recorder: Recorder | None,
) -> dict[str, object]:
    """Seconds and error of a strategy on a pair simulated from a head, or from a cube in its middle."""
    lows = [max(size - edge, 0) // 2 if edge else 0 for size in head.image.shape]
    cube = tuple(slice(low, low + edge if edge else None) for low in lows)
    clean, brain = head.image[cube], head.brain[cube]
    rng = np.random.default_rng(SEED)
    noise = rng.standard_normal((2, 2, *clean.shape)) * NOISE_SD
    data = np.hypot(clean + noise[0], noise[1]).astype(np.float32)
    repetitions = Repetitions(data[..., None], brain)
    strategy = get_strategy(strategy_name)
    weights = [read_weights(name) if name else None for name in strategy.facts.weights_of(recipe)]
    context = Context(torch.Generator().manual_seed(SEED), device, memory_gb=12.0, recorder=recorder)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    result = strategy.denoise(repetitions, strategy.config(recipe, *weights), context)
    error = [
        float(np.sqrt(np.mean((image - clean)[brain] ** 2)))
        for image in (data.mean(axis=0), result.data[..., 0])
    ]
    return {
        "strategy": f"{strategy_name}:{recipe}",
        "steps": "recorded" if recorder else "plain",
        "shape": list(clean.shape),
        "seconds": time.perf_counter() - started,
        "peak_memory_gb": _peak_memory_gb(device),
        "error_of_mean": error[0],
        "error_denoised": error[1],
    }


def read_weights(name: str) -> PretrainedWeights:
    """Weights of the package without its reader: a length, a JSON header, and the numbers (safetensors)."""
    content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    types = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for key, entry in header.items():
        if key != "__metadata__":
            values = np.frombuffer(numbers[slice(*entry["data_offsets"])], types[entry["dtype"]])
            tensors[key] = torch.from_numpy(values.reshape(entry["shape"]).astype(np.float32))
    return PretrainedWeights(name, hashlib.sha256(content).hexdigest(), tensors)


def _peak_memory_gb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def agreement(network: torch.nn.Module, device: torch.device) -> float:
    """Largest difference between predictions on the device and on the CPU, in z-scores."""
    image = np.random.default_rng(0).standard_normal((64, 64, 64)).astype(np.float32)
    noise_sd = np.full(image.shape, 0.5, np.float32)
    network = network.eval()
    on_device = predict(network.to(device), image, noise_sd, device=device)
    on_cpu = predict(network.to("cpu"), image, noise_sd, device=torch.device("cpu"))
    network.to(device)
    return float(np.abs(on_device - on_cpu).max())


def parse() -> argparse.Namespace:
    """Options of the programme."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resunet-t1w")
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--slice-minutes", type=float, default=9.0)
    parser.add_argument("--block-edge", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--peak-rate", type=float, default=7e-4)
    parser.add_argument("--randomisation", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw blocks")
    parser.add_argument("--from-shipped", action="store_true", help="start from the weights of the package")
    parser.add_argument("--steps-per-report", type=int, default=50)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipe", default="default", help="of --denoise")
    parser.add_argument("--edge", type=int, help="of a cube for --denoise and --faithful; all by default")
    for option in ("--speed", "--compiled", "--denoise", "--faithful"):
        parser.add_argument(option, action="store_true")
    return parser.parse_args()


def pretrain(args: argparse.Namespace, heads: list[TrainingHead], device: torch.device) -> dict[str, object]:
    """Train for a slice, from the checkpoint where there is one; writes it and the averaged weights."""
    config = BlockPretraining(
        batch_size=args.batch_size, block_edge=args.block_edge, peak_rate=args.peak_rate
    ).with_less_randomisation(args.randomisation)
    checkpoint = args.out / f"{args.network}.pt"
    torch.manual_seed(SEED)
    state = new_state(NETWORKS[args.network], device, config)
    # What n2a-tools pretrain keeps in its checkpoints.
    story = {"seconds": 0.0, "initial_sha256": "", "curve": []}
    if checkpoint.is_file():
        content = torch.load(checkpoint, weights_only=True, map_location=device)
        state.load_state_dict(content["state"])
        story = content["story"]
    elif args.from_shipped:
        shipped = read_weights(args.network)
        story["initial_sha256"] = shipped.sha256
        for network in (state.network, state.averaged):
            network.load_state_dict(shipped.tensors)
    draw = partial(draw_batch, heads, config)
    if args.workers and args.hours:
        draw = draw_ahead(draw, SEED, state.step, args.workers)
    spent, started, first = story["seconds"], time.perf_counter(), state.step
    while time.perf_counter() - started < args.slice_minutes * 60:
        done = (spent + time.perf_counter() - started) / max(args.hours * 3600, 1e-9)
        if done >= 1:
            break
        loss = train_steps(
            state,
            draw,
            config,
            seed=SEED,
            n_steps=args.steps_per_report,
            progress=lambda step, p=done: p,
        )
        passed = round(time.perf_counter() - started, 1)
        print(json.dumps({"step": state.step, "seconds": passed, "loss": round(loss, 5)}), flush=True)
    seconds = time.perf_counter() - started
    torch.save({"state": state.state_dict(), "story": story | {"seconds": spent + seconds}}, checkpoint)
    averaged = {key: value.half().cpu().numpy() for key, value in state.averaged.state_dict().items()}
    np.savez(args.out / f"{args.network}.npz", **averaged)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "steps": state.step - first,
        "seconds_per_step": seconds / max(state.step - first, 1),
        "peak_memory_gb": _peak_memory_gb(device),
        "largest_difference_to_cpu": agreement(state.averaged, device),
    }


def denoisings(
    args: argparse.Namespace, head: TrainingHead, device: torch.device
) -> Iterator[dict[str, object]]:
    """Denoise as asked, with plain and with recorded steps."""
    for is_chosen, strategy, recipe in (
        (args.denoise, "auto", args.recipe),
        (args.faithful, "noise2average", "faithful"),
    ):
        for recorder in (None, recorder_for(device)) if device.type == "cuda" else (None,):
            if is_chosen:
                yield denoise_pair(head, strategy, recipe, args.edge, device, recorder)


def main() -> None:
    """Run one slice; every measurement is written as soon as it is there."""
    args = parse()
    device = torch.device(args.device)
    heads = read_heads(args.heads, args.workers)
    args.out.mkdir(parents=True, exist_ok=True)
    metrics = pretrain(args, heads, device) | {"speed": [], "denoising": []}
    hows = ("recorded", "compiled") if args.compiled else ("recorded",)
    rows = chain(
        (("speed", row) for row in (speed_rows(device, hows) if args.speed else ())),
        (("denoising", row) for row in denoisings(args, heads[0], device)),
    )
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    for part, row in rows:
        print(part, json.dumps(row), flush=True)
        metrics[part].append(row)
        (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


if __name__ == "__main__":
    main()
