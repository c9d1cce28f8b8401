"""Reads the file of ``--nipype-plugin-file``: which nipype plugin runs the nodes, with what arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from n2a_bids.errors import ConfigError
from n2a_bids.record.typed_json import JsonObject

_PLUGINS = (
    "Linear", "MultiProc", "LegacyMultiProc", "SLURM", "PBS", "SGE", "LSF", "OAR", "Condor",
    "IPython", "Debug",
)  # fmt: skip
_COUNTS = {"n_procs": 1, "omp_nthreads": 1, "n_gpu_procs": 0}
"""Arguments that count something, and the lowest number of each."""
_GRAPH_PLUGINS = ("SLURMGraph", "PBSGraph", "SGEGraph", "CondorDAGMan", "SomaFlow")


def read_plugin_file(path: Path) -> tuple[str | None, JsonObject]:
    """Read the choice of a nipype plugin.

    Parameters
    ----------
    path : Path
        YAML or JSON with ``plugin`` and ``plugin_args``, both optional.

    Returns
    -------
    plugin : str or None
        Name of the plugin; None keeps ours.
    plugin_args : dict
        What is laid over our own arguments.

    Raises
    ------
    ConfigError
        If the file cannot be read, holds anything else, or names a plugin that cannot work here.
    """
    import yaml  # not at the top: --help must not wait for it

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: the plugin file cannot be read as YAML or JSON: {error}") from error
    if not isinstance(content, dict) or set(content) - {"plugin", "plugin_args"}:
        raise ConfigError(f"{path}: expected 'plugin' and 'plugin_args' and nothing else; correct the file")
    plugin, plugin_args = content.get("plugin"), content.get("plugin_args") or {}
    if plugin in _GRAPH_PLUGINS:
        raise ConfigError(
            f"{path}: {plugin} hands all nodes over at once and nobody waits for them, so failures would not "
            "be seen and the report would be written before the results; use SLURM, PBS or SGE without "
            "'Graph', or an array job with one participant per task ('n2a-tools slurm')"
        )
    if plugin is not None and plugin not in _PLUGINS:
        raise ConfigError(f"{path}: nipype has no plugin {plugin!r}; known are {', '.join(_PLUGINS)}")
    if not isinstance(plugin_args, dict):
        raise ConfigError(f"{path}: 'plugin_args' should be a mapping, found {plugin_args!r}")
    check_plugin_args(plugin_args, path)
    return plugin, plugin_args


def check_plugin_args(plugin_args: Mapping[str, object], source: Path) -> None:
    """Refuse resources that are no numbers, or too small; what else a plugin takes is its own affair.

    Parameters
    ----------
    plugin_args : mapping
        Laid over our own arguments.
    source : Path
        File that they come from.

    Raises
    ------
    ConfigError
        With the name of the argument.
    """
    for name, value in plugin_args.items():
        if name in _COUNTS and not (type(value) is int and value >= _COUNTS[name]):
            expected = f"a whole number from {_COUNTS[name]}"
        elif name == "memory_gb" and not (type(value) in (int, float) and value > 0):
            expected = "a positive number of GB"
        else:
            continue
        raise ConfigError(
            f"{source}: {name} of the plugin should be {expected}, found {value!r}; correct the file"
        )
