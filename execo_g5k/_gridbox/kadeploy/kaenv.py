"""kaenv3: the environments that Kadeploy knows."""

from __future__ import annotations

from .call import USAGE, VERSION, last, short_options
from .environments import OWNER, BadEnvironment, described
from .options import Failure, server_error
from .yaml import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .call import Call
    from .environments import Environment
    from .service import Kadeploy


def kaenv3(kadeploy: Kadeploy, call: Call) -> int:
    """List environments, print one, register one, or forget one."""
    get, _ = short_options(call, "a:d:p:lshvu:t:m:S:", (
        "add=", "delete=", "print=", "list", "user=", "env-user=", "env-version=", "last", "show-all-versions", "version", "help",
        "all-users", "visibility-tag=", "set-visibility-tag=", "update-image-checksum=", "files-to-move=", "move-files="),
        {"a": "add", "d": "delete", "p": "print", "l": "list", "u": "user", "s": "show-all-versions", "h": "help", "v": "version",
         "t": "visibility-tag", "m": "files-to-move"})
    if get("help") or get("version"):
        call.out(f"Kadeploy version: {VERSION}\n" if get("version") else USAGE.format("kaenv3"))
        return 0
    kadeploy.check_server()
    user = kadeploy.oar.user
    known, wanted = kadeploy.environments, last(get("env-user") or get("user"))
    version = last(get("env-version"))
    if get("add"):
        try:
            known.add(described(call.read_or_fetch(get("add")[-1]), user))
        except BadEnvironment as bad:
            kind = (10, "Existing element") if "already" in str(bad) else (7, "Invalid environment")
            raise server_error(kind[0], f"{kind[1]} -- {bad}") from None
        return 0
    if get("delete"):
        if not known.remove(get("delete")[-1], user, version):
            raise Failure(1, "Resource not found /environments")
        return 0
    if get("print"):
        found = known.find(get("print")[-1], user, wanted, version)
        if found is None:
            raise Failure(1, "Resource not found /environments")
        call.out(dump({name: value for name, value in found.item().items() if name != "user"}))
        return 0
    if get("set-visibility-tag") and not get("visibility-tag"):
        raise Failure(1, "You must choose a visibility tag")
    for name in [*get("set-visibility-tag"), *get("update-image-checksum")]:
        try:
            changed = known.change(name, user, version, last(get("visibility-tag")))
        except BadEnvironment as bad:
            raise server_error(7, f"Invalid environment -- {bad}") from None
        if not changed:
            raise Failure(1, "Resource not found /environments")
        return 0
    if not get("list"):
        raise Failure(1, "You must choose an operation")
    users = (OWNER, user) if wanted is None else (wanted,)
    shown = [one for one in known.all(user, last=not get("show-all-versions")) if "*" in users or one.user in users]
    call.out(_table(shown))
    return 0


def _table(environments: Sequence[Environment]) -> str:
    rows = [("Name", "Version", "User", "Description"),
            *((one.name, str(one.version), one.user, one.description) for one in environments)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows]
    lines[0:1] = [lines[0], "  ".join(["#" * width for width in widths] + ["#" * 11])]
    return "".join(f"{line}\n" for line in lines)
