"""The report of a candidate, one self-contained page with a decision explorer.

render.py    puts the page together: templates/, with assets/style.css and the scripts inside
summary.py   its head, and the gate's checks
parts.py     its parts, wrong.py the rows it was most wrong about, explorer.py what the explorer is given
charts.py    charts as inline SVG, made of svg.py

Of the scripts decide.js decides, grid.js is the matrix that is edited, results.js shows what comes of it,
code.js writes it as TOML and Python, explorer.js holds the state, page.js does the rest of the page.
"""

from pipeline.report.page.render import build

__all__ = ["build"]
