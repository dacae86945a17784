"""Displays for the notebooks, and explorers (one module each) that answer a question without code.

An explorer is a box of named controls above what they change; it is made for JupyterLab, and a batch never shows it.
"""

from asc_kit.lab.explorer import limits, listen, show_mel

__all__ = ["limits", "listen", "show_mel"]
