"""What is wrong with this machine's set-up, each finding with its mend.

A file a subject. Each has a function that looks at the world, and pure ones that judge what was seen.
Nothing here imports the packages that are judged, so that a broken one is a finding and no traceback.
"""
