"""The denoising node of all workflows, with the memory, threads and GPU it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nipype import Node, Workflow

from n2a_bids.config import DenoiseConfig, ResourceConfig
from n2a_bids.interfaces.denoise import Denoise
from n2a_bids.io.weights import weights_checksums

DENOISED = {
    "denoised": "out_file",
    "mean": "mean_file",
    "residual": "residual_file",
    "noise_sd": "noise_sd_file",
    "uncertainty": "uncertainty_file",
    "repetitions": "repetition_files",
    "denoising": "record_file",
}
"""What later workflows call the results of the denoising node, and its output for each."""


def connect_fields(
    workflow: Workflow, source: Node | Workflow, target: Workflow, outputs: Mapping[str, str]
) -> None:
    """Bring outputs of a node to the input node of a workflow, as far as that has a field of their name.

    Parameters
    ----------
    workflow : Workflow
        In which they are connected.
    source, target : Node or Workflow
    outputs : mapping of str to str
        Field of the input node -> output of `source`.
    """
    fields = target.get_node("inputnode").inputs.copyable_trait_names()
    connected = [(output, f"inputnode.{field}") for field, output in outputs.items() if field in fields]
    workflow.connect([(source, target, connected)])


@dataclass(frozen=True, slots=True)
class DenoiseFacts:
    """What the images of a denoising node are, and what it writes beside the result; inputs of `Denoise`."""

    different_contrast: bool = False
    """The repetitions are echoes."""
    real_valued: bool = False
    """The images are real parts of complex ones."""
    micrograph: bool = False
    """The images are exposures of a microscope."""
    companion: Path | None = None
    """Another diffusion series that is learned from."""
    whole_image: bool = False
    """Denoise what lies around the brain of a diffusion series, too."""
    save_repetitions: bool = False
    """Write each repetition denoised, too."""
    save_uncertainty: bool = False
    """Write the error to expect in each voxel, too."""


def init_denoise_node(
    config: DenoiseConfig, resources: ResourceConfig, facts: DenoiseFacts = DenoiseFacts()
) -> Node:
    """Node that runs ``n2a-tools denoise``.

    Parameters
    ----------
    config : DenoiseConfig
        What the command is told.
    resources : ResourceConfig
        Threads and memory; with GPU slots the node is scheduled as a GPU job.
    facts : DenoiseFacts
        By default those of repetitions of one T1w contrast.
    """
    use_gpu = config.device == "cuda" or (config.device == "auto" and resources.n_gpu_procs > 0)
    interface = Denoise(
        omp_nthreads=resources.omp_nthreads,
        memory_gb=resources.memory_gb,
        use_gpu=use_gpu,
        gpu_slots=resources.n_gpu_procs,
        weights_sha256=weights_checksums(config.weights_dir),
    )
    for option, value in (asdict(config) | asdict(facts)).items():
        # False must stay undefined, or nipype would hash it apart from a run that never had the option.
        if value is not None and value is not False:
            setattr(interface.inputs, option, str(value) if isinstance(value, Path) else value)
    # nipype counts GPU slots by n_procs: more than one would never fit one GPU.
    n_procs = 1 if use_gpu else resources.omp_nthreads
    return Node(interface, name="denoise", mem_gb=resources.memory_gb, n_procs=n_procs)
