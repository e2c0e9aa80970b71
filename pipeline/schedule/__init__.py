"""Retraining by the clock: Prefect's server says when, a process of ours runs it, one at a time.

server.py       Prefect's server, started where there is none and again where it dies
flow.py         what is run: one retraining, whose verdict is the message of its last state
one_run.py      the process that it is run in
held.py         who may serve a schedule, who may run, and which run was cut off: files of this folder
deployment.py   the schedule as Prefect knows it
flow_runs.py    what is asked of and told to Prefect
going.py        the process of a run, from the side that starts it
served.py       the loop: what is due is started, what is one too many is cancelled, what died is told
serve.py        all of that together: what the command does
"""
