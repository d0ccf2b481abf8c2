"""YAML as the clients of Kadeploy print it."""

from __future__ import annotations

import re


def dump(value: object) -> str:
    """A document: tables, lists, and what is in them."""
    if isinstance(value, (dict, list)) and value:
        return "\n".join(["---", *_lines(value, "")]) + "\n"
    return f"--- {_scalar(value)}\n"


def _lines(value: object, indent: str) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict):
        for name, inner in value.items():
            nested = isinstance(inner, (dict, list)) and bool(inner)
            lines.append(f"{indent}{name}:" + ("" if nested else f" {_scalar(inner)}"))
            if nested:
                lines += _lines(inner, indent + "  ")
    elif isinstance(value, list):
        for inner in value:
            first, *others = _lines(inner, indent + "  ")
            lines += [f"{indent}- {first.lstrip()}", *others]
    else:
        lines.append(indent + _scalar(value))
    return lines


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    text = str(value)
    return text if isinstance(value, (int, float)) or re.fullmatch(r"[A-Za-z/][\w ./:+-]*", text) else f'"{text}"'
