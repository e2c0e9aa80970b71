"""Numbers as people write them, as patterns that Arrow matches a whole column by; see `data.kinds`."""

from __future__ import annotations

# RE2: \d is an ASCII digit, and \z the very end.
NUMBER = r"(?i)\A[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|nan)\z"
COMMA = r"\A[+-]?\d*,\d+\z"
THOUSANDS = r"\A[+-]?[1-9]\d{0,2},\d{3}\z"
"""3,500 may be 3.5 or 3500."""
