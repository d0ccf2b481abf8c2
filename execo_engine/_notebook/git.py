"""The state of the repository that holds the script of an experiment."""

from __future__ import annotations

import os
import time

from .commands import Answer, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIFF_LIMIT = 1 << 20
"""Bytes of the difference to the commit that are kept."""
_SECONDS = 10.0
_UNTRACKED_LIMIT = 1000
# No other program of the user's configuration is run: no pager, monitor, textconv, or driver for differences.
_GIT = ["git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"]


def git_facts(folder: str, diff_limit: int = DIFF_LIMIT) -> dict[str, Any] | None:
    """Commit, branch and difference to the commit of the repository that holds `folder`; None if there is none, or no git.

    What cannot be found out within 10 s is left out, and told under "error".
    """
    deadline = time.monotonic() + _SECONDS
    # GIT_DIR and its like, set in a hook, mean another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}

    def git(*arguments: str, limit: int = 1 << 20) -> Answer:
        return ask([*_GIT, *arguments], folder=folder, environment=environment, deadline=deadline, limit=limit)

    top = git("rev-parse", "--show-toplevel")
    if not top.ok:
        if not top.error or "not a git repository" in top.error or "No such file" in top.error:
            return None
        return {"error": top.error}
    facts: dict[str, Any] = {"repository": top.text.strip()}
    commit = git("rev-parse", "--verify", "-q", "HEAD")
    facts["commit"] = commit.text.strip() or None           # no commit yet
    facts["branch"] = git("symbolic-ref", "-q", "--short", "HEAD").text.strip() or None
    difference = git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", *(["HEAD"] if commit.ok else ["--cached"]),
                     "--", ":/", limit=diff_limit)
    facts["diff"] = difference.text
    facts["diff_truncated"] = difference.cut
    untracked = git("ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", ":/")
    names = [name for name in untracked.text.split("\0") if name]
    facts["untracked"] = names[:_UNTRACKED_LIMIT]
    facts["dirty"] = bool(difference.text or difference.cut or names)
    failed = [answer.error or "no answer in time" for answer in (difference, untracked) if not answer.ok and not answer.text]
    if failed:
        facts["error"] = "; ".join(failed)
    return facts
