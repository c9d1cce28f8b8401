"""Laws about the code itself: imports go down, algorithms are pure, functions and files stay small."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from layers import LAYERS, PACKAGE, RANK, draw, imported_names, modules, part_of, tree_of

ALLOWED_IN_ALGORITHMS = {"numpy", "scipy", "torch", "n2a_bids"}
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 8
MAX_FILE_LINES = 300
MAX_FOLDER_FILES = 15
MAX_UNTYPED_DICTS = 10
MAX_INTERFACE_LINES = 25
LABORATORY = {"lab", "tools", "cli", "__main__"}
"""Parts that may know of simulation, pretraining and benchmarks."""


def test_imports_go_down_only():
    """No part imports from a layer above its own, and every part has a layer."""
    wrong = []
    for path in modules():
        part = part_of(path)
        if part == "__init__":
            continue
        assert part in RANK, f"{path}: give n2a_bids.{part} a place in LAYERS"
        for name in imported_names(path):
            pieces = name.split(".")
            if pieces[0] == "n2a_bids" and len(pieces) > 1 and RANK.get(pieces[1], -1) > RANK[part]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_imported_name_exists():
    """Also those that are imported inside of functions, which no other test may call."""
    wrong = []
    for path in modules():
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("n2a_bids"):
                continue
            home = PACKAGE.joinpath(*node.module.split(".")[1:])
            own = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
            known = _names_of(tree_of(own)) | {part.stem for part in home.glob("*")}
            wrong += [
                f"{path.relative_to(PACKAGE)}: {node.module} has no {name.name}"
                for name in node.names
                if name.name not in known and "__getattr__" not in known
            ]
    assert not wrong, "\n".join(wrong)


def _names_of(tree: ast.Module) -> set[str]:
    """What a module defines or imports, at whatever depth outside of functions and classes."""
    found, left = set(), list(tree.body)
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(name.asname or name.name).split(".")[0] for name in node.names}
        else:
            found |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            left += [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]
    return found


def test_algorithms_name_only_numpy_scipy_torch():
    """Algorithms run on any machine that has these three; of the package they see nothing but themselves."""
    own = {"algorithms", *LAYERS[0]}
    wrong = []
    for path in modules(PACKAGE / "algorithms"):
        for name in imported_names(path):
            top, *rest = name.split(".")
            foreign = top not in ALLOWED_IN_ALGORITHMS and top not in sys.stdlib_module_names
            upward = top == "n2a_bids" and rest[:1] not in ([name] for name in own)
            if foreign or upward:
                wrong.append(f"{path.name} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_algorithms_import_where_nothing_else_is_installed():
    """All of them load in a process in which any other third-party import fails."""
    names = [
        ".".join(("n2a_bids", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in modules(PACKAGE / "algorithms")
    ]
    code = f"""
import importlib, sys
blocked = {{"nipype", "nibabel", "bids", "ants", "dipy", "pandas", "matplotlib", "nilearn", "sklearn",
           "skimage", "niworkflows", "nireports", "templateflow", "deepbet", "safetensors", "psutil"}}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(name + " is blocked: algorithms need numpy, scipy and torch only")
sys.meta_path.insert(0, Blocker())
for name in {names!r}:
    importlib.import_module(name.removesuffix(".__init__"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert done.returncode == 0, done.stderr


def seeded_in_a_fork(path: Path) -> set[ast.AST]:
    """Nodes inside ``with torch.random.fork_rng``: there the global state is given back untouched."""
    forks = (
        node
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item) for item in node.items)
    )
    return {inner for fork in forks for inner in ast.walk(fork)}


def test_algorithms_touch_nothing_outside():
    """No files, no environment, no printing, no global random state: arrays in, arrays out."""
    forbidden_calls = {"open", "print", "input"}
    forbidden_attributes = {
        ("os", "environ"),
        ("os", "getenv"),
        ("torch", "manual_seed"),
        ("torch", "seed"),
        ("np", "save"),
        ("np", "load"),
    }
    global_random = {
        "seed",
        "rand",
        "randn",
        "random",
        "normal",
        "uniform",
        "randint",
        "permutation",
        "shuffle",
    }
    wrong = []
    for path in modules(PACKAGE / "algorithms"):
        own_state = seeded_in_a_fork(path)
        for node in ast.walk(tree_of(path)):
            found = None
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in forbidden_calls
            ):
                found = node.func.id
            if isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value)
                if (owner, node.attr) in forbidden_attributes and node not in own_state:
                    found = f"{owner}.{node.attr}"
                if owner in ("np.random", "numpy.random") and node.attr in global_random:
                    found = f"{owner}.{node.attr}"
            if found:
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} uses {found}")
    assert not wrong, "\n".join(wrong)


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, less the docstring."""
    total = function.end_lineno - function.lineno + 1
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    return total - (first.end_lineno - first.lineno + 1 if is_docstring else 0)


def test_every_module_says_what_it_is_for():
    """The first line of a file is a whole sentence: the first lines are the table of contents."""
    files = [*modules(), *Path(__file__).parent.rglob("*.py")]
    first = {path: (ast.get_docstring(tree_of(path)) or "").partition("\n")[0] for path in files}
    poor = [str(path) for path, line in first.items() if len(line.split()) < 3 or not line.endswith(".")]
    assert not poor, "\n".join(poor)


def test_a_returns_section_says_more_than_the_signature():
    """A lone ``name : Type`` is written twice; only the Python functions of users keep it (`api`)."""
    lone = re.compile(r"^Returns\n-+\n\w+ : (.+)(?=\n\n|\Z)", re.MULTILINE)
    wrong = []
    for path in modules():
        if part_of(path) == "api":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and node.returns:
                for said in lone.findall(ast.get_docstring(node) or ""):
                    written = re.sub(r"\blist of (\w+)", r"list[\1]", said).replace(" or None", " | None")
                    if written == ast.unparse(node.returns):
                        wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}: {said}")
    assert not wrong, "\n".join(wrong)


def test_functions_and_files_stay_small():
    """Long functions and files are split by meaning."""
    long = []
    for path in modules():
        name = path.relative_to(PACKAGE)
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        if n_lines > MAX_FILE_LINES:
            long.append(f"{name}: {n_lines} lines, at most {MAX_FILE_LINES}")
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if (n := code_lines(node)) > MAX_FUNCTION_LINES:
                long.append(f"{name}:{node.lineno} {node.name}: {n} code lines, at most {MAX_FUNCTION_LINES}")
    assert not long, "\n".join(long)


def test_functions_take_few_parameters():
    """What belongs together is handed over as one record; only the functions of users list all they take."""
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}: {count} parameters, at most {MAX_PARAMETERS}"
        for path in modules()
        if part_of(path) != "api"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
        and (count := len(node.args.args) + len(node.args.kwonlyargs)) > MAX_PARAMETERS
    ]
    assert not long, "\n".join(long)


def test_imports_are_declared_as_dependencies():
    """What the package imports stands in setup.cfg, and nothing else does."""
    names = {"ants": "antspyx", "bids": "pybids", "yaml": "pyyaml", "PIL": "pillow"}
    # Baselines of the benchmark, found when the user installed them, never asked for (bm3d and bm4d are free
    # for non-commercial use only); and what an extra of the package names.
    optional = {"bm3d", "bm4d", "patch_denoise", "skimage", "zarr"}
    own_and_standard = {"n2a_bids", *sys.stdlib_module_names}
    imported = {
        name.partition(".")[0] for path in modules() for name in imported_names(path)
    } - own_and_standard
    settings = configparser.ConfigParser()
    settings.read(PACKAGE.parent / "setup.cfg")
    lines = settings["options"]["install_requires"].split("\n")
    declared = {re.split(r"[\s<>=!~\[;]", line.strip())[0].lower() for line in lines if line.strip()}
    assert {names.get(name, name) for name in imported} - optional == declared


def test_file_names_are_nouns_with_meaning():
    """A drawer called utils fills with everything."""
    names = {path.stem for path in modules()}
    assert not names & {"utils", "helpers", "managers", "misc", "common", "tools2"}


def test_no_bare_except_and_no_open_ends():
    """Nothing is swallowed, and nothing is left to be done later."""
    wrong = []
    for path in modules():
        text = path.read_text(encoding="utf-8")
        wrong += [f"{path.name}: {word}" for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X ") if word in text]
        wrong += [
            f"{path.name}:{node.lineno} bare except"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.ExceptHandler) and node.type is None
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", ["n2a_bids", "tests"])
def test_no_path_of_a_developers_machine(path):
    """Files name no folder that exists on one machine only."""
    # Not after a letter, dot or brace: a folder inside another may have any name.
    absolute = re.compile(r"(?<![\w.})])/(?:work|root|home/(?!n2a\b))/?\w+")
    wrong = [
        f"{file.name}: {match}"
        for file in modules(PACKAGE.parent / path)
        for match in absolute.findall(file.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_test_folders_are_those_of_the_package():
    """Who looks for the tests of a module finds them under the same path."""
    unit = Path(__file__).parent / "unit"
    strangers = [
        folder.relative_to(unit)
        for folder in unit.rglob("*")
        if folder.is_dir()
        and folder.name != "__pycache__"
        and not (PACKAGE / folder.relative_to(unit)).is_dir()
    ]
    assert not strangers


def test_a_test_that_is_named_as_a_module_lies_as_deep():
    """Those named otherwise tell of several modules."""
    unit = Path(__file__).parent / "unit"
    astray = []
    for test in sorted(unit.rglob("test_*.py")):
        name, folder = test.stem.removeprefix("test_"), test.parent.relative_to(unit)
        beside = PACKAGE / folder / name
        if folder == Path() or beside.is_dir() or beside.with_suffix(".py").is_file():
            continue
        deeper = list((PACKAGE / folder).rglob(f"{name}.py"))
        if len(deeper) == 1:
            astray.append(f"{test.relative_to(unit)}: tests {deeper[0].relative_to(PACKAGE)}")
    assert not astray


def test_the_picture_of_the_layers_is_up_to_date():
    """Drawn anew by: python tests/layers.py docs/layers.svg."""
    picture = PACKAGE.parent / "docs" / "layers.svg"
    assert picture.read_text(encoding="utf-8") == draw()


def test_the_app_needs_no_laboratory():
    """Simulation, pretraining and benchmarks can be taken away without harm to a run."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules()
        if part_of(path) not in LABORATORY
        for name in imported_names(path)
        if name.startswith("n2a_bids.lab")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_laboratory_needs_no_workflow():
    """Benchmarks call what the app's nodes call: science, files and other programs, without nipype."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules(PACKAGE / "lab")
        for name in imported_names(path)
        if name.startswith(("n2a_bids.interfaces", "n2a_bids.workflows", "nipype"))
    ]
    assert not wrong, "\n".join(wrong)


def test_transforms_are_inverted_in_one_place():
    """`Affine` composes and inverts; the other inverse is that of a covariance."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if "linalg.inv(" in path.read_text(encoding="utf-8")
    }
    assert found == {"algorithms/transforms.py", "algorithms/diffusion/volume_prediction.py"}


def test_folders_stay_small():
    """A folder can be seen at a glance."""
    folders = {path.parent for path in modules()}
    crowded = [
        str(folder.relative_to(PACKAGE))
        for folder in folders
        if len(list(folder.glob("*.py"))) > MAX_FOLDER_FILES
    ]
    assert not crowded, "\n".join(crowded)


def test_interfaces_are_thin():
    """Nipype interfaces open files, call a function and write files: what they compute stands elsewhere."""
    thick = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {code_lines(node)} code lines"
        for path in modules(PACKAGE / "interfaces")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
        and node.name == "_run_interface"
        and code_lines(node) > MAX_INTERFACE_LINES
    ]
    assert not thick, "\n".join(thick)


def test_linters_have_one_version_everywhere():
    """What passes before a commit passes in ``make lint``, too."""
    root = PACKAGE.parent
    hooks = (root / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    pinned = dict(
        line.split("==") for line in (root / "constraints.txt").read_text().splitlines() if "==" in line
    )
    revisions = dict(re.findall(r"repo: \S+/(ruff|codespell)\S*\n\s+rev: v(\S+)", hooks))
    assert revisions == {name: pinned[name] for name in ("ruff", "codespell")}


def test_arguments_are_parsed_in_cli_only():
    """Everything below takes typed settings: an option is a field of them."""
    wrong = [
        str(path.relative_to(PACKAGE))
        for path in modules()
        if part_of(path) != "cli" and any(name.split(".")[0] == "argparse" for name in imported_names(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_records_are_typed():
    """Dicts of anything are few, each with its reason: what passes between parts has a dataclass."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line_number}: {line.strip()}"
        for path in modules()
        for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"dict\[str, (Any|object)\]", line, flags=re.IGNORECASE)
    ]
    assert len(found) <= MAX_UNTYPED_DICTS, "\n".join(found)
