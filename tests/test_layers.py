"""The order of the layers: a file imports only from files above it, and from the standard library.

Imports inside functions count; imports under `if TYPE_CHECKING:` do not, for they never run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

# Lowest first.  A file that is not named has the place of its folder.
EXECO_LAYERS = """
_version
config
exception
log
time_utils
utils
hostset
host
substitutions
_ssh_failure
ssh_utils
report
_conductor
_conductor.mailbox
_conductor.timers
_conductor.spawn
_conductor.reap
_conductor.streams
_conductor.watchdog
_conductor.handlers
_conductor.run
_conductor.loop
conductor
_process
_process.state
_process.output
_process.expect
_process.observers
_process.base
_process.local
_process.shared
_process.mux
_process.masters
_process.ssh
_process.serial
_taktuk
_taktuk.quoting
_taktuk.lines
_taktuk.command
_taktuk.copies
_taktuk.seat
_taktuk.tree
_taktuk.trees
_process.taktuk
process
_chain
_chain.plan
_chain.protocol
_chain.process
_chain.coordinator
_action
_action.base
_action.quoting
_action.release
_action.start_at
_action.remote
_action.copy
_action.taktuk
_action.chain
_action.compose
_action.factory
_action.daemon_script
_action.daemon
action
daemon
_localcluster
localcluster
__init__
""".split()

ENGINE_LAYERS = """
_version
log
_words
plot
_sweep
_sweep.owners
_sweep.journal_file
_sweep.pulse
_sweep.compaction
_sweep.quarantine
_sweep.store
_sweep.stores
_sweep.legacy_import
_sweep.plan
_sweep.sets
_sweep.claims
_sweep.records
_sweep.sweeper
_space
_space.sizes
_space.draw
_space.plain
_space.product
_space.choosers
_space.views
_space.space
sweep
_plain_json
_files
_outputs
utils
_old_options
_results
_results.lines
_results.names
_results.table
_results.store
results
_notebook
_notebook.commands
_notebook.environment
_notebook.git
_notebook.hardware
_notebook.processes
_notebook.book
_notebook.differ
notebook
engine
_testbeds
_testbeds.protocol
_testbeds.static
_testbeds.cluster
_testbeds.slurm
testbeds
_workflow
_workflow.durations
_workflow.schedule
_workflow.plan
_workflow.stint
_workflow.replay
_workflow.order
_workflow.experiment
_workflow.needs
_workflow.signals
_workflow.steps
_workflow.answers
_workflow.choice
_workflow.outcome
_workflow.runner
_workflow.reservations
workflow
_cli
_cli.numbers
_cli.look
_cli.status
_cli.main
__main__
__init__
""".split()

G5K_LAYERS = """
_version
config
_clock
_oar.formats
_oar.parse
_oar.submission
_api.names
_api.secrets
_api.reader
_api.connection
_api.cache
_api.fetch
_api.reference
_api.catalog
_api
api_utils
utils
_oar
oar
oargrid
_charter
charter
_planning.intervals
_planning.state
_planning.build
_planning.elements
_planning.slots
_planning
planning
_topology
topology
_kadeploy.progress
_kadeploy.parse
_kadeploy
kadeploy
_vm.description
_vm.placement
_vm.domain
_vm.script
_vm.virsh
_vm.outcome
_vm.moves
_vm.setup
_vm.lending
_vm.remote
_vm.actions
_vm.waiting
_vm.migration
_vm.probes
_vm.deployment
_vm.vm5k
_vm
vmutils
_testbed
testbed
vmengine
_gridbox.tables
_gridbox.site
_gridbox.command_socket
_gridbox.http
_gridbox.oarapi
_gridbox.oarapi_standin
_gridbox.status
_gridbox.scheduler.predicate
_gridbox.scheduler.request
_gridbox.scheduler.model
_gridbox.scheduler
_gridbox.oar_real
_gridbox
gridbox
_cli
__main__
__init__
""".split()

LAYERS = {"execo": EXECO_LAYERS, "execo_engine": ENGINE_LAYERS, "execo_g5k": G5K_LAYERS}

# The only module of execo_g5k that knows the engine: a testbed is duck-typed, a campaign with virtual machines is a SweepEngine.
ALLOWED_TO_ONE = {("execo_g5k", "vmengine"): {"execo_engine"}}
# What a package may import beside the standard library and itself.
ALLOWED = {
    "execo": {"paramiko"},
    "execo_engine": {"execo", "simplejson"},
    "execo_g5k": {"execo", "paramiko", "requests", "simplejson", "matplotlib", "networkx", "psycopg", "keyring", "pandas"},
}


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _modules(package: str) -> dict[str, Path]:
    """{name inside the package: file}; the façade of a folder has the folder's name."""
    folder = _package_folder(package)
    found = {}
    for file in sorted(folder.rglob("*.py")):
        inside = file.relative_to(folder).with_suffix("")
        if inside.parts[0] in ("setup", "build"):           # not part of the package: its build
            continue
        parts = inside.parts[:-1] if inside.name == "__init__" and len(inside.parts) > 1 else inside.parts
        found[".".join(parts)] = file
    return found


def _imports(package: str, module: str, tree: ast.Module, is_package: bool) -> Iterator[str]:
    """Absolute names of what the file imports: `execo.log`, `execo.log.logger`, `os`."""
    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for alternative in child.orelse:
                    yield alternative
                    yield from walk(alternative)
                continue
            yield child
            yield from walk(child)

    here = [package] if module == "__init__" else [package, *module.split(".")]
    if not is_package:
        here = here[:-1]
    for node in walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield ".".join([*base, alias.name])


def _imported_modules(package: str, module: str, file: Path) -> Iterator[tuple[str, str]]:
    """(top-level package, module inside it) for each import; the module is "" for other packages."""
    modules = _modules(package)
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for name in _imports(package, module, tree, file.name == "__init__.py"):
        top, _, inside = name.partition(".")
        if top != package:
            yield top, ""
            continue
        parts = inside.split(".") if inside else []
        while parts and ".".join(parts) not in modules:     # the last part may be a name in the module
            parts.pop()
        yield top, ".".join(parts) or "__init__"


def _rank(package: str, module: str) -> int:
    parts = module.split(".")
    while parts and ".".join(parts) not in LAYERS[package]:
        parts.pop()
    assert parts, f"{package}/{module}: give it a place in LAYERS"
    return LAYERS[package].index(".".join(parts))


def _cases() -> list[tuple[str, str]]:
    return [(package, module) for package in ALLOWED for module in _modules(package)]


@pytest.mark.parametrize(("package", "module"), _cases(), ids=str)
def test_a_file_imports_only_from_lower_layers(package: str, module: str) -> None:
    wrong = []
    for top, inside in _imported_modules(package, module, _modules(package)[module]):
        if top != package:
            if top not in sys.stdlib_module_names and top not in ALLOWED[package] | ALLOWED_TO_ONE.get((package, module), set()):
                wrong.append(f"{top} is neither in the standard library nor in ALLOWED[{package!r}]")
        elif package in LAYERS and _rank(package, inside) > _rank(package, module):
            wrong.append(f"{package}.{inside} is above it")
    assert not wrong, f"{package}.{module} imports what it must not:\n" + "\n".join(wrong)


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_the_table_of_layers_names_no_file_twice(layers: list[str]) -> None:
    assert len(set(layers)) == len(layers)


@pytest.mark.parametrize("package", LAYERS)
def test_every_file_that_the_table_names_is_there_or_optional(package: str) -> None:
    optional = {"_localcluster", "_ssh_failure"}
    missing = set(LAYERS[package]) - set(_modules(package)) - optional
    assert not missing


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import os.path", {("os", "")}),
        ("from ..log import logger", {("execo", "log")}),
        ("from . import timers", {("execo", "_conductor.timers")}),
        ("from .timers import Timers", {("execo", "_conductor.timers")}),
        ("from execo import process", {("execo", "process")}),
        ("import execo", {("execo", "__init__")}),
        ("def f():\n    from execo.action import Remote", {("execo", "action")}),
        ("if TYPE_CHECKING:\n    from execo.action import Remote", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import paramiko", {("paramiko", "")}),
    ],
)
def test_imports_are_found_wherever_they_are(source: str, imported: set[tuple[str, str]], tmp_path: Path) -> None:
    file = tmp_path / "loop.py"
    file.write_text(source)
    assert set(_imported_modules("execo", "_conductor.loop", file)) == imported
