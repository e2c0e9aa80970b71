"""The verbs of `ordinal-pipeline`, a file for each that is more than a page; `pipeline.__main__` names them."""
