"""The site: README, docs/, the notebooks as they were executed, results' tables, and the API from the docstrings."""

from pathlib import Path

project, author, copyright = "asc_kit", "the asc_kit authors", "the asc_kit authors, MIT"
extensions = ["myst_nb", "autoapi.extension", "sphinx.ext.napoleon", "sphinx-mathjax-offline"]
html_theme = "furo"
html_title = "asc_kit"
html_theme_options = {"sidebar_hide_name": False}
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autoapi_dirs = [str(Path(__file__).resolve().parents[3] / "asc_kit")]  # the repository's, from build/site-source/docs
autoapi_root = "api"
napoleon_use_ivar = True  # attributes are described once, by autoapi
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_keep_files = False
autoapi_add_toctree_entry = False
suppress_warnings = ["myst.xref_missing", "myst.header", "mystnb.unknown_mime_type", "autoapi", "ref.python",
                     "misc.highlighting_failure", "toc.not_included"]  # fmt: skip
