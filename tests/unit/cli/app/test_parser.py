"""Every option reaches its setting, and the command line overrules the settings file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import n2a_bids.cli.app.settings as settings_module
from n2a_bids.cli.app.parser import build_parser
from n2a_bids.cli.app.settings import parse_config
from n2a_bids.cli.main import main
from n2a_bids.config import Config
from n2a_bids.config.toml import format_settings
from n2a_bids.errors import ConfigError
from n2a_bids.system.resources import GpuProbe
from n2a_bids.workflows.denoise import init_denoise_node

POSITIONAL = ["/data/bids", "/data/out", "participant"]


@pytest.fixture(autouse=True)
def _machine(monkeypatch, tmp_path):
    """Four processors, 20 GB, no GPU, and a work directory of its own."""
    monkeypatch.setattr(settings_module, "available_cpus", lambda environ: 4)
    monkeypatch.setattr(settings_module, "available_memory_gb", lambda environ: 20.0)
    monkeypatch.setattr(settings_module, "probe_gpus", lambda: GpuProbe(problem="none here"))
    monkeypatch.chdir(tmp_path)


def parse(*arguments: object, environ: dict[str, str] | None = None) -> Config:
    return parse_config([*POSITIONAL, *map(str, arguments)], environ or {})


def setting(config: Config, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


OPTIONS = [
    ("--participant-label 01 sub-02", "selection.participants", ("01", "02")),
    ("--participant_label sub-a --participant-label b a", "selection.participants", ("a", "b")),
    ("--exclude-participant-label sub-03", "selection.exclude_participants", ("03",)),
    ("--session-label ses-pre post", "selection.sessions", ("pre", "post")),
    ("--session-id pre", "selection.sessions", ("pre",)),
    ("--modalities dwi", "selection.modalities", ("dwi",)),
    ("-m T1w", "selection.modalities", ("T1w",)),
    ("--dwi-pairing split", "selection.dwi_pairing", "split"),
    ("--dwi-corrected", "selection.dwi_corrected", True),
    ("--b0-threshold 100", "selection.b0_threshold", 100.0),
    ("--dwi-own-grid", "outputs.dwi_own_grid", True),
    ("--micr-frames 2", "selection.micr_frames", 2),
    ("--micr-float", "outputs.micr_float", True),
    ("--ignore-phase", "selection.ignore_phase", True),
    ("--complex-output", "outputs.complex_output", True),
    ("--viewer", "outputs.viewer", True),
    ("--viewer-head", "outputs.viewer_head", True),
    ("--ratings-dir /ratings", "outputs.ratings_dir", Path("/ratings")),
    ("--keep-noise-floor", "denoise.keep_noise_floor", True),
    ("--run-id 1 2", "selection.runs", (1, 2)),
    ("--require-repetitions", "selection.require_repetitions", True),
    ("--single", "selection.single", True),
    ("--filter-t1w acquisition=hi run=1,2", "selection.bids_filters.t1w", {"acq": "hi", "run": ["1", "2"]}),
    (
        "--filter-T1w acq:none --filter-t1w rec:required",
        "selection.bids_filters.t1w",
        {"acq": "Query.NONE", "rec": "Query.REQUIRED"},
    ),
    ("--filter-dwi direction:any", "selection.bids_filters.dwi", {"dir": "Query.OPTIONAL"}),
    ("--filter-micr sample=A", "selection.bids_filters.micr", {"sample": "A"}),
    *(
        (f"--filter-{name} acq:none", f"selection.bids_filters.{name.lower()}", {"acq": "Query.NONE"})
        for name in ("T2w", "FLAIR", "PDw", "T2starw", "inplaneT1", "inplaneT2", "UNIT1")
    ),
    ("--modalities T2w anat", "selection.modalities", ("T2w", "anat")),
    ("--bids-database-dir /db", "selection.database_dir", Path("/db")),
    ("--bids-database-wipe --bids-database-dir /db", "selection.wipe_database", True),
    ("--skip-bids-validation", "selection.skip_validation", True),
    ("--skip_bids_validation", "selection.skip_validation", True),
    ("--strategy noise2noise", "denoise.strategy", "noise2noise"),
    ("--recipe thorough", "denoise.recipe", "thorough"),
    ("--recipe faithful --strategy noise2average", "denoise.recipe", "faithful"),
    ("--weights-dir /tmp", "denoise.weights_dir", Path("/tmp")),
    ("--mask-method template", "mask.method", "template"),
    ("--templateflow-download", "mask.templateflow_download", True),
    ("--mask-method template --mask-template OASIS30ANTs --reports-only", "mask.template", "OASIS30ANTs"),
    ("--regions Mine:atlas-A --reports-only", "outputs.regions", "Mine:atlas-A"),
    (
        "--regions /a_dseg.nii.gz --regions-template Mine --reports-only",
        "outputs.regions_template",
        "Mine",
    ),
    ("--align-space midspace", "align.space", "midspace"),
    ("--skull-strip", "denoise.skull_strip", True),
    ("--skull-strip --no-skull-strip", "denoise.skull_strip", False),
    ("--random-seed 7", "denoise.random_seed", 7),
    ("--nprocs 3", "resources.n_procs", 3),
    ("--nthreads 3", "resources.n_procs", 3),
    ("--n-cpus 3", "resources.n_procs", 3),
    ("--n_cpus 3", "resources.n_procs", 3),
    ("--omp-nthreads 2", "resources.omp_nthreads", 2),
    ("--omp-nthreads 9", "resources.omp_nthreads", 4),
    ("--mem 1.5G", "resources.memory_gb", 1.5),
    ("--mem 8192M", "resources.memory_gb", 8.0),
    ("--mem-gb 3", "resources.memory_gb", 3.0),
    ("--mem 1T", "resources.memory_gb", 20.0),
    ("--low-mem", "resources.low_mem", True),
    ("--device cpu", "denoise.device", "cpu"),
    ("--dry-run", "stage", "dry-run"),
    ("--reports-only", "stage", "reports-only"),
    ("--boilerplate-only", "stage", "boilerplate-only"),
    ("--level minimal", "denoise.strategy", "mean"),
    ("--level full", "denoise.strategy", "auto"),
    ("--md-only-boilerplate", "outputs.md_only_boilerplate", True),
    ("--output-layout bids", "output_dir", Path("/data/out")),
    ("--aggregate-session-reports 2", "outputs.sessions_in_a_report", 2),
    ("", "outputs.sessions_in_a_report", 4),
    ("--report-output-level session", "outputs.report_level", "session"),
    ("--fmriprep-derivatives", "outputs.fmriprep_derivatives", True),
    ("--emit-raw-like /raw", "outputs.raw_like_dir", Path("/raw")),
    ("-w /scratch", "work_dir", Path("/scratch")),
    ("--work-dir /scratch", "work_dir", Path("/scratch")),
    ("--clean-workdir", "outputs.clean_workdir", True),
    ("-v", "debug.verbosity", 1),
    ("-vv", "debug.verbosity", 2),
    ("--debug", "debug.show_traceback", True),
    ("--debug pdb", "debug.pdb", True),
    ("--debug all", "debug.pdb", True),
    ("--stop-on-first-crash", "debug.stop_on_first_crash", True),
    ("--crashfile-format pklz", "debug.crashfile_format", "pklz"),
    ("--resource-monitor", "debug.resource_monitor", True),
    ("--write-graph", "outputs.write_graph", True),
    ("--sloppy", "sloppy", True),
    ("--sloppy", "denoise.recipe", "fast"),
    ("--sloppy --recipe default", "denoise.recipe", "default"),
    ("--sloppy", "mask.dwi_method", "otsu"),
    ("--sloppy --dwi-mask-method template", "mask.dwi_method", "template"),
    ("", "mask.dwi_method", "auto"),
    ("--dwi-in-place", "selection.dwi_in_place", True),
    ("--notrack --no-datalad-get", "sloppy", False),
    ("--train-epochs 7", "train.epochs", 7),
    ("--train-steps 7", "train.steps", 7),
    ("--train-patience 3", "train.patience", 3),
    ("--train-targets noise2noise", "train.targets", "noise2noise"),
    ("--train-from-scratch", "train.from_scratch", True),
    ("--train-validation 2", "train.validation_subjects", 2),
    ("--train-test 2", "train.test_subjects", 2),
    ("--train-rate 0.001", "train.rate", 0.001),
    ("--train-batch 3", "train.batch_size", 3),
    ("--train-block 32", "train.block_edge", 32),
    ("--train-processes 2", "train.processes", 2),
    ("--train-out /weights", "train.out_dir", Path("/weights")),
    ("", "resources.n_procs", 4),
    ("", "resources.memory_gb", 18.0),
    ("", "resources.n_gpu_procs", 0),
    ("", "denoise.strategy", "auto"),
]


@pytest.mark.parametrize(("line", "name", "value"), OPTIONS)
def test_option_reaches_its_setting(line, name, value):
    """One row per spelling of every option."""
    assert setting(parse(*line.split()), name) == value


def test_every_option_is_in_the_table():
    """An option without a test of what it does is a promise nobody keeps."""
    tested_elsewhere = {
        "--help", "--version", "--bids-filter-file", "--derivatives", "--config-file",
        "--use-plugin", "--n-gpu-procs", "--cuda-graphs",
    }  # fmt: skip
    words = {word for line, *_ in OPTIONS for word in line.split()} | tested_elsewhere
    for action in build_parser()._actions:
        assert not action.option_strings or words & set(action.option_strings), action.option_strings


@pytest.mark.parametrize(
    "line",
    [
        "--strategy best", "--nprocs 0", "--nprocs two", "--mem much", "--random-seed -1",
        "--bids-filter-file none.json", "--derivatives missing=/no/such", "--dry-run --reports-only",
        "--unknown", "--recip fast",
        "--filter-t1w acq", "--filter-t1w acq=", "--filter-t1w acq:maybe", "--filter-t1w acq=a acq=b",
        "--aggregate-session-reports 0", "--report-output-level folder", "--run-id one",
        "--train-validation 0", "--train-test 0",
    ],
)  # fmt: skip
def test_unusable_arguments_exit_with_2(line, capsys):
    """argparse explains, and abbreviations are not guessed."""
    with pytest.raises(SystemExit) as caught:
        parse(*line.split())
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_settings_file_fills_in_what_the_command_line_leaves_open(tmp_path):
    """Command line over settings file over defaults."""
    file = tmp_path / "a.toml"
    file.write_text(
        "sloppy = true\n[denoise]\nrecipe = 'fast'\nskull_strip = true\n[resources]\nn_procs = 2\n"
    )
    config = parse("--config-file", file, "--recipe", "thorough", "--no-skull-strip")
    assert config.sloppy
    assert config.denoise.recipe == "thorough"
    assert config.denoise.skull_strip is False
    assert config.denoise.strategy == "auto"
    assert config.resources.n_procs == 2


@pytest.mark.parametrize(
    "text",
    [
        "[denoise]\nstrategy = 'best'",
        "[resources]\nn_procs = 0",
        "[resources.nipype_plugin_args]\nn_procs = '4'",
        "[selection]\nmodalities = []",
        "what = 1",
    ],
)
def test_settings_file_is_held_to_the_same_rules(tmp_path, text):
    """What the parser would refuse is refused from a file, too."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError):
        parse("--config-file", tmp_path / "a.toml")


def test_filter_file_and_derivatives(tmp_path):
    """JSON queries with null and '*'; named and unnamed derivative folders, several times."""
    (tmp_path / "filter.json").write_text(json.dumps({"t1w": {"acquisition": None, "run": "*"}}))
    (tmp_path / "masks").mkdir()
    config = parse(
        "--bids-filter-file", tmp_path / "filter.json", "-d", f"a={tmp_path}", "-d", tmp_path / "masks"
    )  # fmt: skip
    assert config.selection.bids_filters == {"t1w": {"acquisition": "Query.NONE", "run": "*"}}
    assert config.derivatives == {"a": tmp_path, "masks": tmp_path / "masks"}


def test_filters_of_the_command_line_are_laid_over_those_of_files(tmp_path):
    """Entity by entity, whether the file calls it by its long or its short name; null survives TOML."""
    (tmp_path / "filter.json").write_text(json.dumps({"t1w": {"acquisition": None, "run": [1, None]}}))
    over = ["--filter-t1w", "acq=hi", "rec:any"]
    first = parse("--bids-filter-file", tmp_path / "filter.json", *over)
    expected = {"acq": "hi", "run": [1, "Query.NONE"], "rec": "Query.OPTIONAL"}
    assert first.selection.bids_filters == {"t1w": expected}
    (tmp_path / "a.toml").write_text(format_settings(first, {}))
    again = parse("--config-file", tmp_path / "a.toml", "--filter-dwi", "run=1")
    assert again.selection.bids_filters == {"t1w": expected, "dwi": {"run": "1"}}


def test_names_of_input_and_output_are_no_derivatives(tmp_path, capsys):
    """A derivative called raw would take the place of the input in all links and sources."""
    (tmp_path / "raw").mkdir()
    for words in (f"raw={tmp_path}", f"={tmp_path}", "raw"):
        with pytest.raises(SystemExit):
            parse("-d", words)
        assert "expected a name other than" in capsys.readouterr().err
    assert parse("-d", "masks=raw").derivatives == {"masks": tmp_path / "raw"}


def test_queries_are_known_in_any_spelling(tmp_path):
    """The suffix is T1w, the query t1w; the queries of other programs in the file are left to these."""
    (tmp_path / "filter.json").write_text(json.dumps({"T1w": {"run": 1}, "bold": {"task": "rest"}}))
    filters = parse("--bids-filter-file", tmp_path / "filter.json").selection.bids_filters
    assert filters == {"t1w": {"run": 1}, "bold": {"task": "rest"}}
    (tmp_path / "a.toml").write_text("[selection.bids_filters.DWI]\nrun = 1\n")
    assert parse("--config-file", tmp_path / "a.toml").selection.bids_filters == {"dwi": {"run": 1}}
    (tmp_path / "filter.json").write_text(json.dumps({"T1w": {"run": 1}, "t1w": {"run": 2}}))
    with pytest.raises(ConfigError, match="'t1w' twice"):
        parse("--bids-filter-file", tmp_path / "filter.json")


def test_one_name_for_two_derivatives_is_refused(tmp_path):
    """The second would silently replace the first."""
    with pytest.raises(SystemExit):
        parse("-d", f"a={tmp_path}", f"a={tmp_path.parent}")


def test_weights_folder_comes_from_the_environment(tmp_path):
    """N2A_WEIGHTS_DIR, overruled by the option."""
    environ = {"N2A_WEIGHTS_DIR": str(tmp_path)}
    assert parse(environ=environ).denoise.weights_dir == tmp_path
    assert parse("--weights-dir", "/tmp", environ=environ).denoise.weights_dir == Path("/tmp")
    with pytest.raises(ConfigError, match="weights"):
        parse(environ={"N2A_WEIGHTS_DIR": "/no/such/folder"})


def test_relative_paths_are_made_absolute(tmp_path, monkeypatch):
    """Wherever they come from: each step runs in a folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    assert parse(environ={"N2A_WEIGHTS_DIR": "weights"}).denoise.weights_dir == tmp_path / "weights"
    assert parse(environ={"N2A_WEIGHTS_DIR": "~/weights"}).denoise.weights_dir == tmp_path / "weights"
    (tmp_path / "a.toml").write_text(
        "work_dir = 'w'\n[derivatives]\nmasks = 'm'\n[denoise]\nweights_dir = '~/weights'\n"
        "[outputs]\nraw_like_dir = '../raw'\n"
    )
    config = parse("--config-file", "a.toml")
    paths = (config.work_dir, *config.derivatives.values(), config.denoise.weights_dir)
    assert paths == (tmp_path / "w", tmp_path / "m", tmp_path / "weights")
    assert config.outputs.raw_like_dir.is_absolute()


def test_plugin_file_is_laid_over_the_defaults(tmp_path):
    """YAML with plugin and plugin_args."""
    (tmp_path / "p.yml").write_text("plugin: SLURM\nplugin_args: {sbatch_args: --mem=4G, max_jobs: 3}\n")
    resources = parse("--nipype-plugin-file", tmp_path / "p.yml").resources
    assert resources.nipype_plugin == "SLURM"
    assert resources.nipype_plugin_args == {"sbatch_args": "--mem=4G", "max_jobs": 3}
    (tmp_path / "q.json").write_text('{"plugin_args": {"n_procs": 2, "memory_gb": 5}}')
    resources = parse("--use-plugin", tmp_path / "q.json").resources
    assert (resources.nipype_plugin, resources.n_procs, resources.memory_gb) == (None, 2, 5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("plugin: SLURMGraph", "SLURMGraph hands all nodes over at once"),
        ("plugin: Dask", "no plugin 'Dask'"),
        ("plugin: Linear\nworkers: 3", "nothing else"),
        ("plugin_args: 3", "should be a mapping"),
        ("plugin_args: {n_procs: '4'}", "p.yml: n_procs of the plugin should be a whole number from 1"),
        ("plugin_args: {memory_gb: 4G}", "p.yml: memory_gb of the plugin should be a positive number"),
        ("plugin_args: {n_gpu_procs: -1}", "n_gpu_procs of the plugin should be a whole number from 0"),
        ("- a", "expected 'plugin'"),
        ("{", "cannot be read"),
    ],
)
def test_plugin_file_that_cannot_work_is_refused(tmp_path, text, complaint):
    """Graph plugins among them, with the reason."""
    (tmp_path / "p.yml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        parse("--nipype-plugin-file", tmp_path / "p.yml")


@pytest.mark.parametrize(
    "line", ["--device cuda", "--n-gpu-procs 2", "--cuda-graphs", "--device cuda --dry-run"]
)
def test_gpu_asked_for_but_absent_is_an_error(line):
    """No silent fallback to the CPU, and the ways to a GPU are named."""
    with pytest.raises(ConfigError, match="--nv") as caught:
        parse(*line.split())
    assert "none here" in str(caught.value)
    assert line.split()[0] in str(caught.value)


@pytest.mark.parametrize("stage", [(), ("--dry-run",)])
def test_template_that_is_not_on_disk_is_refused_before_anything(tmp_path, monkeypatch, stage):
    """A listing tells so, too; the report of an earlier run needs none."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    line = ("--mask-method", "template", "--mask-template", "NoSuch")
    with pytest.raises(ConfigError, match=r"--mask-template NoSuch: .*TEMPLATEFLOW_HOME"):
        parse(*line, *stage)
    assert parse(*line, "--reports-only").mask.template == "NoSuch"
    # Fetched when the run begins, and by a listing never.
    assert parse(*line, "--templateflow-download", *stage).mask.template == "NoSuch"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--regions Mine:atlas-A", "--regions Mine:atlas-A: expected tpl-Mine_res-01_atlas-A_dseg.nii.gz"),
        ("--regions Mine", "TEMPLATE:atlas-LABEL"),
        ("--regions Mine --templateflow-download", "TEMPLATE:atlas-LABEL"),
        ("--regions Mine:atlas-A --regions-template Mine", "--regions-template Mine has no effect"),
        ("--regions-template Mine", "no effect without --regions"),
        ("--regions my_dseg.nii.gz --regions-template Mine --templateflow-download", "my_dseg.nii.gz"),
    ],
)
@pytest.mark.parametrize("stage", [(), ("--dry-run",)])
def test_regions_that_cannot_be_had_are_refused_before_anything(
    tmp_path, monkeypatch, line, complaint, stage
):
    """A listing tells so, too, and fetches nothing."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=complaint):
        parse(*line.split(), *stage)
    assert not list(tmp_path.iterdir())


def test_regions_of_the_user_are_found_from_every_folder(tmp_path, monkeypatch):
    """Steps run in folders of their own; names of TemplateFlow stay names."""
    monkeypatch.chdir(tmp_path)
    for name in ("my_dseg.nii.gz", "my_dseg.tsv", "my_T1w.nii.gz"):
        Path(name).write_text("something")
    outputs = parse("--regions", "my_dseg.nii.gz", "--regions-template", "./my_T1w.nii.gz").outputs
    assert outputs.regions == str(tmp_path / "my_dseg.nii.gz")
    assert outputs.regions_template == str(tmp_path / "my_T1w.nii.gz")
    assert parse("--regions", "Mine:atlas-A", "--templateflow-download").outputs.regions == "Mine:atlas-A"


def test_gpu_slots_are_the_gpus_that_the_probe_names(monkeypatch):
    """nipype would count wrong; more only when asked for; none with --device cpu or for a listing."""
    monkeypatch.setattr(settings_module, "probe_gpus", lambda: GpuProbe(names=("H", "H")))
    assert parse().resources.n_gpu_procs == 2
    assert parse("--device", "cuda", "--n-gpu-procs", 4).resources.n_gpu_procs == 4
    assert parse("--device", "cpu").resources.n_gpu_procs == 0
    assert parse("--dry-run").resources.n_gpu_procs == 0
    Path("a.toml").write_text("[resources]\nn_gpu_procs = 3\n")
    assert parse("--config-file", "a.toml").resources.n_gpu_procs == 3
    assert parse("--config-file", "a.toml", "--n-gpu-procs", 1).resources.n_gpu_procs == 1
    with pytest.raises(ConfigError, match=r"--n-gpu-procs .* forbids"):
        parse("--device", "cpu", "--n-gpu-procs", 1)


def test_cuda_graphs_reach_the_denoiser_and_nothing_else(monkeypatch):
    """They change how fast a result comes, so neither its folder nor the hash of the node."""
    monkeypatch.setattr(settings_module, "probe_gpus", lambda: GpuProbe(names=("H",)))
    plain, graphs = (parse("--output-layout", "multiverse", *flags) for flags in ((), ("--cuda-graphs",)))
    assert graphs.denoise.cuda_graphs
    assert graphs.output_dir == plain.output_dir
    nodes = [init_denoise_node(config.denoise, config.resources) for config in (plain, graphs)]
    assert ["--cuda-graphs" in node.interface.cmdline for node in map(_filled, nodes)] == [False, True]
    assert nodes[0].interface.inputs.get_hashval() == nodes[1].interface.inputs.get_hashval()
    with pytest.raises(ConfigError, match=r"--cuda-graphs .* forbids"):
        parse("--device", "cpu", "--cuda-graphs")


def _filled(node):
    """With the files that a command line cannot be made without: any will do."""
    node.interface.inputs.trait_set(in_files=[__file__], mask_file=__file__)
    return node


@pytest.mark.parametrize(
    ("level", "stage"),
    [("group", "--dry-run"), ("group", "--reports-only"), ("train", "--boilerplate-only")],
)
def test_less_is_refused_where_a_level_would_do_everything_instead(level, stage):
    with pytest.raises(ConfigError, match=f"{stage} is not for the {level} level"):
        parse_config([*POSITIONAL[:2], level, stage], {})


def test_level_minimal_contradicts_another_strategy():
    """One of the two must be wrong."""
    with pytest.raises(ConfigError, match="--level minimal"):
        parse("--level", "minimal", "--strategy", "auto")


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("--recipe faithful", "--strategy noise2average"),
        ("--recipe faithful --strategy recorrupted", "--strategy noise2average"),
        ("--mask-template OASIS30ANTs", "--mask-method template"),
        ("--bids-database-wipe", "--bids-database-dir"),
    ],
)
def test_option_that_would_have_no_effect_is_refused(line, remedy):
    """Nobody should believe that it was honoured."""
    with pytest.raises(ConfigError, match=remedy):
        parse(*line.split())


def test_corrected_series_cannot_be_paired_for_correction():
    """One of the two must be wrong."""
    with pytest.raises(ConfigError, match="--dwi-corrected"):
        parse("--dwi-corrected", "--dwi-pairing", "reverse-pe")


@pytest.mark.parametrize("other", ["--dwi-pairing repeat", "--dwi-own-grid", "--dwi-corrected"])
def test_series_that_stay_where_they_lie_are_neither_paired_nor_corrected(other):
    """What is asked for besides has no meaning then."""
    with pytest.raises(ConfigError, match=f"--dwi-in-place .*{other.split()[0]}"):
        parse("--dwi-in-place", *other.split())


@pytest.mark.parametrize("work_dir", ["/data/bids", "/data/bids/work", "/data/out", "/data/out/sub-01"])
def test_work_directory_apart_from_input_and_output(work_dir):
    """Intermediate files in the input would be found as data."""
    with pytest.raises(ConfigError, match="-w"):
        parse("-w", work_dir)


def test_multiverse_folder_follows_what_shapes_the_result(tmp_path):
    """Same settings, same folder; another strategy or source of masks, another; resources do not matter."""
    first, again, other, masked = (
        parse("--output-layout", "multiverse", *extra).output_dir
        for extra in (
            ["--nprocs", 1], ["--participant-label", "01"], ["--strategy", "mean"], ["-d", f"m={tmp_path}"]
        )
    )  # fmt: skip
    assert first == again
    assert first.parent == other.parent == Path("/data/out")
    assert len({first, other, masked}) == 3


def test_help_is_quick_and_imports_nothing_heavy():
    """Neither torch nor nipype nor pybids for --help; well below a second on a free machine."""
    code = (
        "import sys\nfrom n2a_bids.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'nipype', 'bids', 'numpy', 'nibabel'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    start = time.process_time()
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert "--skull-strip" in child.stdout
    assert "--no-skull-strip " not in child.stdout.replace("(--no-skull-strip)", "")
    assert time.process_time() - start < 1


def test_config_errors_exit_with_2_in_one_paragraph(capsys):
    """No traceback for a mistake of the user."""
    assert main([*POSITIONAL, "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("n2a: error: --device cuda")
    assert "Traceback" not in error


def test_names_of_runs_follow_time_whatever_the_time_zone(monkeypatch):
    """A container in another zone than its host would leave runs in the wrong order: the new one outdated."""
    try:
        names = []
        for zone in ("Etc/GMT-12", "Etc/GMT+11"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            names.append(parse().run_uuid[:11])
        assert names[0] == names[1] or time.gmtime().tm_min == 0
    finally:
        monkeypatch.undo()
        time.tzset()
