"""Pages of the site that stand outside of docs/ in the repository: README, changes, how to contribute."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"index.md": "README.md", "changes.md": "CHANGES.md", "contributing.md": "CONTRIBUTING.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside; their links are those of the root of the repository."""
    for page, source in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=links_from_docs(text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links out of docs/ lead to the pages of the site; other pages of those names stay as they are."""
    if page.file.src_uri in OUTSIDE:
        return outside_links(markdown)
    pages = {source: name for name, source in OUTSIDE.items()}
    # Files of the package have no page: their names stand in.
    markdown = re.sub(r"\[([^\]]+)\]\((?:\.\./)+n2a_bids/[^)]+\)", r"`\1`", markdown)
    # The site has no docs/ above its pages: one step up less.
    out_of_docs = re.compile(rf"\]\(\.\./((?:\.\./)*)({'|'.join(map(re.escape, pages))})(?=[)#])")
    return out_of_docs.sub(lambda found: f"]({found[1]}{pages[found[2]]}", markdown)


def links_from_docs(text: str) -> str:
    """Links into docs/ as seen from docs/; files without a page become their names."""
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\[([^\]]+)\]\((?:CITATION\.cff|LICENSE)\)", r"`\1`", text)


def outside_links(text: str) -> str:
    """Names of the pages of `OUTSIDE` in place of those of their files."""
    for page, source in OUTSIDE.items():
        text = re.sub(rf"\]\({re.escape(source)}(?=[)#])", f"]({page}", text)
    return text
