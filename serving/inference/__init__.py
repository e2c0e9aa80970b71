"""The Open Inference Protocol, version 2: the same models for clients that know tensors only."""
