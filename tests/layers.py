"""The layers of the package, from the bottom up, and a picture of them measured from the code.

python tests/layers.py docs/layers.svg
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "n2a_bids"
LAYERS = (
    (
        "errors",
        "lazy_names",
        "packaged",
        "config",
        "record",
        "strategy_table",
        "contrasts",
        "enumeration",
        "sentences",
    ),
    ("algorithms",),
    ("io", "viz", "system", "external"),
    ("dataset",),
    ("denoising",),
    ("training",),
    ("interfaces",),
    ("api",),
    ("workflows",),
    ("reports",),
    ("app",),
    ("lab",),
    ("tools",),
    ("cli",),
    ("__main__",),
)
"""A part of the package imports from its own layer and from those before it."""
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
_WIDTH, _ROW, _LEFT = 980, 46, 20


@cache
def tree_of(path: Path) -> ast.Module:
    """Syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def part_of(path: Path) -> str:
    """Folder or single file directly below the package that a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules(folder: Path = PACKAGE) -> list[Path]:
    """All modules of a folder."""
    return sorted(folder.rglob("*.py"))


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names of everything that a module imports, inside functions too."""
    package = ("n2a_bids", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, node.module) if node.module else start)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def count_imports() -> Counter[tuple[str, str]]:
    """Number of modules of one part that import from another."""
    pairs: Counter[tuple[str, str]] = Counter()
    for path in modules():
        parts = {name.split(".")[1] for name in imported_names(path) if name.startswith("n2a_bids.")}
        pairs.update((part_of(path), part) for part in parts if part in RANK and part != part_of(path))
    return pairs


def describe(part: str) -> str:
    """First sentence of the docstring of a part."""
    folder = PACKAGE / part
    entry = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return (ast.get_docstring(tree_of(entry)) or "").split("\n\n")[0].replace("\n", " ")


def draw() -> str:
    """Picture of the layers as SVG: uppermost first, each with what it imports from."""
    imports = count_imports()
    parts = [name for names in reversed(LAYERS) for name in names if name != "__main__"]
    parts = [name for name in parts if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()]
    rows = []
    for index, part in enumerate(parts):
        below = sorted((other for one, other in imports if one == part), key=lambda name: (-RANK[name], name))
        y = 40 + index * _ROW
        rows.append(
            f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - 2 * _LEFT}" height="{_ROW - 6}" rx="4"/>'
            f'<text x="{_LEFT + 10}" y="{y + 17}" class="name">{part}</text>'
            f'<text x="{_LEFT + 130}" y="{y + 17}">{_escape(describe(part))}</text>'
            f'<text x="{_LEFT + 130}" y="{y + 33}" class="small">'
            f"imports {', '.join(below) or 'nothing'}</text>"
        )
    height = 50 + len(parts) * _ROW
    style = (
        "rect{fill:#f4f6f8;stroke:#8a97a6}text{font:13px sans-serif;fill:#1c2733}"
        ".name{font-weight:bold}.small{font-size:11px;fill:#5a6775}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Layers of n2a_bids"><style>{style}</style>'
        f'<text x="{_LEFT}" y="24">Imports go down only: a part knows those below, never those above.</text>'
        + "".join(rows)
        + "</svg>\n"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("``", "")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
