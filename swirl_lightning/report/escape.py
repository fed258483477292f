"""Text from outside, made safe for the page."""

from __future__ import annotations

import html
import re

# What XML 1.0 forbids: control characters, lone surrogates, two non-characters.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: object) -> str:
    """``text`` for an element or a quoted attribute: markup is escaped, a forbidden character becomes U+FFFD."""
    return html.escape(FORBIDDEN.sub("\ufffd", str(text)))
