"""The process of one scheduled run: `python -m pipeline.tied pipeline.schedule.one_run FLOW_RUN`.

Processes that train are started from this module's name, so that it has to be light; what does the work is
not. It is `python -m prefect.engine` without the stack trace after a run that says itself why it failed.
"""

from __future__ import annotations

import sys
from uuid import UUID


def main() -> None:
    """Run what Prefect knows by that id, and leave it in its last state."""
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow_run, run_flow

    from pipeline.schedule.flow import scheduled

    scheduled.on_crashed_hooks.clear()  # whoever has started this tells, and knows whether it was ordered
    flow_run = load_flow_run(UUID(sys.argv[1]))
    with handle_engine_signals(flow_run.id):
        run_flow(scheduled, flow_run=flow_run, return_type="state")


if __name__ == "__main__":
    main()
