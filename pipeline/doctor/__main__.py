"""`python -m pipeline.doctor`, for where the command itself does not start: it needs Python alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.doctor import page
from pipeline.doctor.examine import examine


def main() -> int:
    """Print the findings; return 1 where there is an error."""
    parser = argparse.ArgumentParser("python -m pipeline.doctor", description=__doc__)
    parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--imports", action="store_true")
    given = parser.parse_args()
    found = examine(given.config, given.imports)
    if given.as_json:
        print(page.as_json(found))
    else:
        page.show(found)
    return page.status(found)


if __name__ == "__main__":
    sys.exit(main())
