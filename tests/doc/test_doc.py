"""Each example of the documentation runs: a page is one program, typed from top to bottom in an empty folder.

In a page, ``.. code-block:: python`` is run, and a ``.. code-block:: text`` of class ``output`` that follows it is what it prints; ``...``
stands for anything.  What an example logs is part of what it prints: warnings that the page does not show are an error.
A block of python of class ``namespaces``, ``taktuk`` or ``grid5000`` is run where these can be had; tests/execo_g5k runs the last.

Run as a program, with a page as argument, this file runs that page.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ordinary_user import run_as_ordinary_user
from requirements import available

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "doc"
README = ROOT / "README.md"
SAMPLES = DOC / "code_samples"
DEMO = SAMPLES / "demo.py"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SECONDS = 100
NEEDS = {":class: namespaces": ("namespaces", "nft"), ":class: taktuk": ("taktuk",), ":class: grid5000": ("grid5000",)}


class Example(NamedTuple):
    """One block of code, and what it prints (None: whatever it wants, but no warning)."""

    line: int
    code: str
    output: str | None


def indented_block(lines: list[str], start: int) -> tuple[list[str], int]:
    """The indented lines from `start` on, and the number of the first line after them."""
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end][:1].isspace()):
        end += 1
    return lines[start:end], end


def examples_of(text: str) -> list[Example]:
    """The examples of a page of reStructuredText."""
    lines = text.splitlines()
    found: list[Example] = []
    after = -1              # the line where the output of the last example would begin
    number = 0
    while number < len(lines):
        directive = re.fullmatch(r"\.\. code-block:: (\w+)", lines[number])
        if directive is None:
            if lines[number].strip():
                after = -1
            number += 1
            continue
        block, end = indented_block(lines, number + 1)
        options = [line.strip() for line in block[: block.index("")]]
        body = textwrap.dedent("\n".join(block[block.index(""):])).strip("\n") + "\n"
        needs = [need for option in options for need in NEEDS.get(option, ())]
        if directive[1] == "python" and not all(map(available, needs)):
            after = -1
        elif directive[1] == "python":
            found.append(Example(number + 1 + block.index("") + 2, body, None))
            after = end
        else:
            if directive[1] == "text" and ":class: output" in options and after >= 0:
                found[-1] = found[-1]._replace(output=body)
            after = -1
        number = end
    return found


def markdown_examples(text: str) -> list[Example]:
    return [Example(text.count("\n", 0, found.start()) + 2, found[1], None)
            for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def output_blocks(text: str) -> str:
    """All blocks of class `output` of a page, together."""
    lines = text.splitlines()
    blocks = []
    for number, line in enumerate(lines):
        if line == ".. code-block:: text" and ":class: output" in lines[number + 1]:
            blocks.append(textwrap.dedent("\n".join(indented_block(lines, number + 2)[0])))
    return "\n".join(blocks)


def masked(text: str) -> str:
    """Without what changes from run to run."""
    for pattern, word in ((r"127\.\d+\.\d+\.", "127.x.y."), (r"port \d+", "port N"), (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
                          (r"\b[\d.]+s\b", "SECONDS"), (r"this is \S+", "this is HOST"), (r"served by \w+", "served by SERVER"),
                          (r"about [\d.]+", "about PI")):
        text = re.sub(pattern, word, text)
    return text


def difference(expected: str, printed: str) -> str:
    """'' if `printed` is what was expected, but for dates, durations and the like; else both, for a human."""
    expected, printed = masked(expected), masked(printed)
    checker = doctest.OutputChecker()
    if checker.check_output(expected, printed, FLAGS):
        return ""
    return checker.output_difference(doctest.Example("", expected), printed, FLAGS)


def run_page(page: Path) -> int:
    """Run its examples in this interpreter; returns how many failed, and says why."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "__main__"}
    failed = 0
    for line, code, expected in (markdown_examples if page.suffix == ".md" else examples_of)(text):
        printed = io.StringIO()
        problem = ""
        with contextlib.redirect_stdout(printed):
            try:
                # so that a traceback names the line of the page
                exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)
            except BaseException:
                problem = traceback.format_exc()
        said = printed.getvalue()
        if not problem and expected is not None:
            problem = difference(expected, said)
        elif not problem and re.search(r"^[-0-9 :,]+ (WARNING|ERROR|CRITICAL)", said, re.MULTILINE):
            problem = f"it logs what the page does not show:\n{said}"
        if problem:
            failed += 1
            print(f"\n{page.name}, line {line}:\n{problem}", file=sys.stderr)
    return failed


def run_alone(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in an empty folder, as a user without configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SSH_", "LC_"))}
    environment |= {"HOME": str(folder), "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, encoding="utf-8", timeout=SECONDS)


EXPLAINED = ("demo.py", "darts.py", "execo_conf.py", "broadcast.py", "broadcast_peer.py", "independent.py", "collocation.py",
             "migration.py", "vm_conf.py")
"""Samples with a test of their own."""
PAGES = [*sorted(page for page in DOC.rglob("*.rst") if examples_of(page.read_text(encoding="utf-8"))), README]


@pytest.mark.requires("ssh")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    done = run_alone([__file__, str(page)], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.requires("ssh")
@pytest.mark.parametrize("script", sorted(set(SAMPLES.glob("*.py")) - {SAMPLES / name for name in EXPLAINED}),
                         ids=lambda script: script.name)
def test_a_sample_script_runs_and_prints_what_its_end_says(script: Path, tmp_path: Path) -> None:
    done = run_alone([str(script)], tmp_path)
    assert done.returncode == 0, done.stderr
    _, found, prints = script.read_text(encoding="utf-8").partition("\n# It prints:\n")
    assert found, f"{script.name} has no part '# It prints:'"
    assert not difference(textwrap.dedent(prints.replace("#", "")), done.stdout), done.stdout


@pytest.mark.requires("ssh")
def test_the_script_that_is_explained_line_by_line_prints_what_its_page_shows(tmp_path: Path) -> None:
    done = run_alone([str(SAMPLES / "darts.py")], tmp_path)
    assert done.returncode == 0, done.stderr
    assert not difference(output_blocks((DOC / "guide" / "darts.rst").read_text(encoding="utf-8")), done.stdout), done.stdout


# The demo: as an ordinary user, without qemu; and its virtual machine. CI runs all of it, as root, at its end

@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One that any user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def path_without_qemu(folder: Path) -> str:
    """A folder with links to all programs but qemu."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(place).glob("[!q]*"):
            link = folder / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    return str(folder)


def run_demo(place: Path, results: str) -> subprocess.CompletedProcess[str]:
    """As an ordinary user, where that can be had."""
    script = place / DEMO.name              # where that user can read it
    shutil.copy(DEMO, script)
    if available("root"):
        return run_as_ordinary_user(place, f"os.environ['PYTHONPATH'] = os.pathsep.join(sys.path); os.environ['TZ'] = 'UTC'\n"
                                    f"os.chdir(os.environ['HOME']); sys.argv = [{str(script)!r}, {results!r}]\n"
                                    "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')\n", timeout=170)
    return subprocess.run([sys.executable, script, results], cwd=place, capture_output=True, text=True, timeout=170, check=False)


@pytest.mark.requires("ssh", "matplotlib")
def test_the_demo_prints_what_its_page_shows(public_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path_without_qemu(public_folder / "bin"))
    done = run_demo(public_folder, "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not difference(output_blocks((DOC / "demo.rst").read_text(encoding="utf-8")), done.stdout), done.stdout
    assert "processes on the nodes, not virtual machines: " in done.stdout
    assert re.search("left out: .*grid5000.fr", done.stdout), done.stdout             # the node that died, in the next job
    folder = next(public_folder.glob("**/results")) / "pi"
    lines = [json.loads(line)["result"] for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({tuple(line["parameters"].values()) for line in lines}) == len(lines) == 12
    assert all(line["metrics"]["error"] < 1 for line in lines)
    assert (folder / "pi.png").read_bytes().startswith(b"\x89PNG")
    assert len({line["run"] for line in lines}) == 2


@pytest.mark.requires("qemu")
def test_its_virtual_machine_throws_darts_and_goes(tmp_path: Path) -> None:
    from execo import Process  # not above: the log of the pages is to be among what they print

    demo: dict[str, Any] = runpy.run_path(str(DEMO))
    arguments = demo["try_guest"](tmp_path / "guest")
    assert arguments == ["--guest", str(tmp_path / "guest")]
    guest = Process(demo["in_guest"](demo["DARTS"].format(seed=1, side=8, grid=1), arguments[1]), shell=True, timeout=60).run()
    assert guest.ok, guest.stderr
    assert abs(float(guest.stdout) - 3.14) < 0.5


def test_the_sample_of_a_configuration_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".execo.conf.py").write_bytes((SAMPLES / "execo_conf.py").read_bytes())
    done = run_alone(["-c", "from execo import *; print(configuration['fanout'], default_connection_params['user'])"], tmp_path)
    assert (done.stdout, done.stderr) == ("200 root\n", "")


def test_each_page_and_sample_is_reached() -> None:
    pages = {page.relative_to(DOC).with_suffix("").as_posix() for page in DOC.rglob("*.rst")}
    texts = {page: page.read_text(encoding="utf-8") for page in DOC.rglob("*.rst")}
    listed = {"index"}
    shown = set()
    for page, text in texts.items():
        for tree in re.findall(r"^\.\. toctree::\n((?:[ \t]+.*\n|\n)*)", text, re.MULTILINE):
            names = [name.strip() for name in tree.splitlines() if name.strip() and not name.strip().startswith(":")]
            listed |= {(page.parent / name).relative_to(DOC).as_posix() for name in names}
        shown |= {Path(name).name for name in re.findall(r"^\.\. literalinclude:: (\S+)", text, re.MULTILINE)}
    assert listed == pages
    assert shown == {script.name for script in SAMPLES.glob("*.py")}


def test_a_page_with_a_wrong_output_or_a_hidden_warning_fails(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.rst"
    wrong.write_text(".. code-block:: python\n\n   print(1)\n\n.. code-block:: text\n   :class: output\n\n   2\n")
    assert run_page(wrong) == 1
    wrong.write_text(".. code-block:: python\n\n   from execo import Process\n   Process('false').run()\n")
    assert run_alone([__file__, str(wrong)], tmp_path).returncode == 1


if __name__ == "__main__":
    sys.exit(min(1, run_page(Path(sys.argv[1]))))
