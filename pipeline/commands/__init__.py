"""The verbs of `ordinal-pipeline`, a file for each that is large; `pipeline.__main__` names them."""
