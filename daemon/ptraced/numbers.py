"""Numbers as users type them."""

from __future__ import annotations

# No number of 64 bits has more digits; Python refuses to read thousands of them.
_DIGITS_MAX = 64
TOO_LARGE = 1 << 64


def number(text: str) -> int:
    """The value of decimal digits, or of hexadecimal ones behind 0x; TOO_LARGE of very many.

    >>> number("010"), number("0x10")
    (10, 16)
    """
    if len(text) > _DIGITS_MAX:
        return TOO_LARGE
    return int(text, 16 if text[:2] in ("0x", "0X") else 10)
