"""What a run is made of besides its code: interpreter, packages, chosen variables of the environment."""

from __future__ import annotations

import os
import platform
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# A list of what may be kept, not of what may not: nobody knows the names of all secrets.
KEPT = frozenset("""
    CUDA_VISIBLE_DEVICES GOMP_CPU_AFFINITY HOSTNAME KMP_AFFINITY LANG LANGUAGE LC_ALL LC_COLLATE LC_CTYPE LC_NUMERIC LC_TIME LD_LIBRARY_PATH
    LD_PRELOAD LOADEDMODULES LOGNAME MALLOC_ARENA_MAX MKL_NUM_THREADS NUMBA_NUM_THREADS NUMEXPR_NUM_THREADS
    OAR_JOBID OAR_JOB_ID OAR_JOB_NAME OAR_JOB_WALLTIME_SECONDS OAR_PROJECT_NAME OMPI_COMM_WORLD_SIZE OMP_NUM_THREADS OMP_PLACES
    OMP_PROC_BIND
    OPENBLAS_NUM_THREADS PATH PYTHONDONTWRITEBYTECODE PYTHONHASHSEED PYTHONOPTIMIZE PYTHONPATH PYTHONUNBUFFERED SHELL
    SLURM_CLUSTER_NAME SLURM_CPUS_ON_NODE SLURM_JOB_ID SLURM_JOB_NAME SLURM_JOB_NODELIST SLURM_JOB_NUM_NODES SLURM_JOB_PARTITION
    SLURM_NTASKS
    TMPDIR TZ USER VIRTUAL_ENV CONDA_DEFAULT_ENV CONDA_PREFIX
""".split())


def kept_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those variables that are known to hold no secret, sorted."""
    return {name: environment[name] for name in sorted(KEPT & environment.keys())}


def python_facts() -> dict[str, Any]:
    return {"version": platform.python_version(), "implementation": platform.python_implementation(), "executable": sys.executable,
            "prefix": sys.prefix, "flags": {name: value for name in ("optimize", "hash_randomization", "utf8_mode", "isolated")
                                            if (value := getattr(sys.flags, name))}}


def packages() -> dict[str, str]:
    """{name: version} of the distributions that Python finds, sorted; the first of a name counts, as for imports."""
    from importlib.metadata import distributions  # slow to import, and not needed before an engine starts

    found: dict[str, str] = {}
    for distribution in distributions():
        try:
            name = distribution.metadata["Name"]
            if name:
                found.setdefault(name, distribution.version)
        except Exception:           # a package that was half removed: its metadata can be anything
            continue
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def environment_facts() -> dict[str, Any]:
    return {"python": python_facts(), "packages": packages(), "environment": kept_variables(os.environ)}
