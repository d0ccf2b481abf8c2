"""Environments that Kadeploy knows: those that come with the box, and those that users register or describe.  No process, no network."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

VISIBILITIES = ("public", "shared", "private")
VERSION = 2026010100
PUBLIC = (
    ("debian12-min", "Debian 12 (bookworm) min"), ("debian12-std", "Debian 12 (bookworm) std"),
    ("debian12-nfs", "Debian 12 (bookworm) nfs"), ("debian12-big", "Debian 12 (bookworm) big"),
    ("debian11-min", "Debian 11 (bullseye) min"), ("ubuntu2204-min", "Ubuntu 22.04 min"),
)
"""(name, description) of those that come with the box, of the user `OWNER`."""
OWNER = "deploy"


class BadEnvironment(Exception):
    """A description is none; the text says why."""


@dataclass(frozen=True)
class Environment:
    """One version of an environment."""

    name: str
    version: int
    user: str
    visibility: str = "private"
    description: str = ""
    arch: str = "x86_64"
    others: Mapping[str, Any] = field(default_factory=dict)
    """More fields of its description: image, boot, filesystem..."""

    @property
    def uid(self) -> str:
        """As the API names it."""
        return f"{self.name}_{self.arch}_{self.version}_{self.user}"

    def is_for(self, user: str | None) -> bool:
        """Whether a user may list it and deploy it."""
        return self.visibility != "private" or user == self.user

    def item(self) -> Json:
        """Its description."""
        return {"name": self.name, "arch": self.arch, "version": self.version, "description": self.description,
                "visibility": self.visibility, "destructive": False, "os": "linux", **self.others, "user": self.user}

    def shown(self) -> Json:
        """As Kadeploy shows what a node runs."""
        return {"name": self.name, "version": self.version, "user": self.user}

    def os_release(self) -> str:
        """The /etc/os-release of a node that runs it: the machine's own programs are what there is, and its name."""
        text = re.sub(r'["\\$`\n]', "", self.description or self.name)
        return (f'PRETTY_NAME="{text}"\nNAME="{self.name}"\nID={self.name}\nVERSION_ID="{self.version}"\nVARIANT_ID={self.name}\n'
                f'BUILD_ID="{self.uid}"\n')


class Environments:
    """Those of a site.  Any thread may call the methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[Environment] = [
            Environment(name, VERSION, OWNER, "public", f"{description} for x64",
                        others={"image": {"file": f"server:///grid5000/images/{name}.tar.zst", "kind": "tar", "compression": "zstd"},
                                "boot": {"kernel": "/vmlinuz", "initrd": "/initrd.img"}, "filesystem": "ext4", "partition_type": 131})
            for name, description in PUBLIC]

    def find(self, name: str, asker: str | None, user: str | None = None, version: str | int | None = None) -> Environment | None:
        """The one to deploy: of that user, else of who asks, else of the platform; the latest version unless one is given."""
        for owner in [user] if user is not None else [asker, OWNER]:
            found = [one for one in self.all(asker) if one.name == name and one.user == owner
                     and (version is None or str(one.version) == str(version))]
            if found:
                return max(found, key=lambda one: one.version)
        return None

    def all(self, asker: str | None, last: bool = False) -> list[Environment]:
        """What a user may see.

        :param last: of each only the latest version.
        """
        with self._lock:
            seen = [one for one in self._known if one.is_for(asker)]
        seen.sort(key=lambda one: (one.name, one.user, one.version))
        return [one for number, one in enumerate(seen) if not last or number + 1 == len(seen)
                or (seen[number + 1].name, seen[number + 1].user) != (one.name, one.user)]

    def add(self, environment: Environment) -> None:
        """:raises BadEnvironment: if there is that version of it."""
        with self._lock:
            if any((one.name, one.version, one.user) == (environment.name, environment.version, environment.user) for one in self._known):
                raise BadEnvironment(f"An environment with the name '{environment.name}' and the version '{environment.version}' has "
                                     f"already been recorded for the user '{environment.user}'")
            self._known.append(environment)

    def remove(self, name: str, user: str, version: str | None = None) -> bool:
        """Forget one of a user's own; False if he has none of that name and version."""
        with self._lock:
            mine = [one for one in self._known if (one.name, one.user) == (name, user) and (version is None or str(one.version) == version)]
            if mine:
                self._known.remove(max(mine, key=lambda one: one.version))
            return bool(mine)

    def change(self, name: str, user: str, version: str | None = None, visibility: str | None = None) -> bool:
        """Have others see one of a user's own, or not; False if he has none of that name and version.

        :raises BadEnvironment: for a visibility that there is not.
        """
        if visibility is not None and visibility not in VISIBILITIES:
            raise BadEnvironment(f"field 'visibility': expected one of {', '.join(VISIBILITIES)}, found {visibility!r}")
        with self._lock:
            mine = [one for one in self._known if (one.name, one.user) == (name, user) and (version is None or str(one.version) == version)]
            if mine and visibility is not None:
                latest = max(mine, key=lambda one: one.version)
                self._known[self._known.index(latest)] = replace(latest, visibility=visibility)
            return bool(mine)


def described(text: str, user: str) -> Environment:
    """The environment of a description, in YAML.

    :raises BadEnvironment: if it is none.
    """
    try:
        fields = parse_yaml(text)
    except ValueError as error:
        raise BadEnvironment(f"Invalid environment description: {error}") from None
    if not isinstance(fields, dict):
        raise BadEnvironment("Invalid environment description: not a table of fields")
    name, version = fields.pop("name", None), fields.pop("version", 1)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
        raise BadEnvironment(f"Invalid environment description: field 'name': expected a name, found {name!r}")
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise BadEnvironment(f"Invalid environment description: field 'version': expected a number, found {version!r}")
    visibility = fields.pop("visibility", "private")
    if visibility not in VISIBILITIES:
        raise BadEnvironment(f"Invalid environment description: field 'visibility': expected one of {', '.join(VISIBILITIES)}, "
                             f"found {visibility!r}")
    image = fields.get("image")
    if not isinstance(image, dict) or not image.get("file"):
        raise BadEnvironment("Invalid environment description: the field 'image' has no 'file'")
    fields.pop("user", None)
    return Environment(name, version, user, visibility, str(fields.pop("description", "")), str(fields.pop("arch", "x86_64")), fields)


def parse_yaml(text: str) -> Any:
    """What descriptions of environments have of YAML: tables, lists and plain or quoted scalars, by indentation.

    :raises ValueError: with the line that is something else.
    """
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.rstrip()
        if bare and not bare.lstrip().startswith("#") and bare not in ("---", "..."):
            if "\t" in bare[:len(bare) - len(bare.lstrip())]:
                raise ValueError(f"line {number}: a tab before {bare.strip()!r}")
            lines.append((number, len(bare) - len(bare.lstrip()), bare.strip()))
    value, rest = _block(lines, lines[0][1] if lines else 0)
    if rest:
        raise ValueError(f"line {rest[0][0]}: not expected here: {rest[0][2]!r}")
    return value


_Line = tuple[int, int, str]


def _block(lines: list[_Line], indent: int) -> tuple[Any, list[_Line]]:
    """(value, lines that are left) of the block that begins here."""
    table: dict[str, Any] = {}
    items: list[Any] = []
    while lines and lines[0][1] == indent:
        number, _, text = lines[0]
        if (text == "-" or text.startswith("- ")) and not table:
            inner = text[1:].lstrip()
            column = indent + len(text) - len(inner)
            if not inner:
                value, lines = _nested(lines[1:], indent + 1)
            elif _pair(inner):
                value, lines = _block([(number, column, inner), *lines[1:]], column)
            else:
                value, lines = _scalar(inner), lines[1:]
            items.append(value)
            continue
        if items:                   # what follows a list that stands below its name
            break
        pair = _pair(text)
        if pair is None:
            raise ValueError(f"line {number}: expected 'name: value', found {text!r}")
        name, rest = pair
        if rest:
            table[name], lines = _scalar(rest), lines[1:]
        else:
            # the items of a list may stand below its name
            as_list = len(lines) > 1 and lines[1][1] == indent and lines[1][2].startswith("-")
            table[name], lines = _nested(lines[1:], indent if as_list else indent + 1)
    return items or table, lines


def _nested(lines: list[_Line], at_least: int) -> tuple[Any, list[_Line]]:
    return _block(lines, lines[0][1]) if lines and lines[0][1] >= at_least else (None, lines)


def _pair(text: str) -> tuple[str, str] | None:
    found = re.match(r"([\w.-]+):(?:\s+(.*))?$", text)
    return (found[1], found[2] or "") if found else None


def _scalar(text: str) -> Any:
    if text[:1] in "\"'":
        found = re.match(r"([\"'])(.*?)\1\s*(#.*)?$", text)
        if found is None:
            raise ValueError(f"a quoted text that does not end: {text!r}")
        return found[2]
    text = re.sub(r"\s+#.*", "", text)
    if text[:1] in "[{|>&*":
        raise ValueError(f"not understood here: {text!r}")
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    return {"true": True, "false": False, "null": None, "~": None}.get(text, text)
