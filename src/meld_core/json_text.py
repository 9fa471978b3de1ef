"""JSON from elsewhere: an object, or one clear sentence."""

from __future__ import annotations

import json
from typing import Any


def parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: on anything else: no JSON, other JSON, or nested deeper than Python can follow.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{type(raw).__name__} where a JSON object was expected")
    return raw
