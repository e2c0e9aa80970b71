"""Load on a running service: requests at a rate, how long each took, and whether its answer is right.

`load` is the engine, which knows nothing of gRPC; `run` measures a service with it.
"""
