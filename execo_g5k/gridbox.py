"""Grid'5000 in a box: a small one on this machine, to write and debug a campaign before it is run, unchanged, on the real one.

    with GridBox() as grid:
        ((job, site),) = oarsub([(OarSubmission("nodes=2", walltime="0:10:0"), "lyon")])
        wait_oar_job_start(job, site)
        Remote("hostname", get_oar_job_nodes(job, site)).run()

``python -m execo_g5k.gridbox`` keeps one up for other programs; ``python -m execo_g5k.gridbox run campaign.py`` runs one.

**Shape.**  Three sites, lyon, nancy and rennes, six invented clusters, 40 nodes, with the peculiarities that Grid'5000 has today: clusters
in the queues default, production (`abaca`) and testing, an exotic one, GPUs, InfiniBand, disks and VLANs to be reserved, wattmeters, names
of network equipments that repeat.  Nodes are the hosts of an `execo.localcluster.LocalCluster`; each site has a frontend, reached by ssh,
and an OAR; one server answers as the REST API.  All of them are consistent: what OAR reserves is what the API shows, and what answers.

**OAR** is OAR itself as root and with its Debian packages, else a small scheduler of ours behind the same commands and resources of the
API.  `GridBox.oar_kind` and the log say which.  A real one follows the clock of the machine.  Ours can follow a `BoxClock`, as the API, the
charter, planning and testbeds of this program then do, and refuse what the usage policy forbids.

**Kadeploy** is a program of ours that prints what Kadeploy 3 prints; `GridBox.deployments` says how long it takes and what fails.  With
namespaces, nodes really boot into another root, with a /etc and keys of its own, and VLANs move their links; when the job ends they go
back.  They can be made hypervisors, and with ``guests=True`` there is a guest to run on them.  Without, deployments and VLANs change what
is said of nodes, and the box sets ``check_deployed_command`` to look at that.

**Limits.**  Nodes are not taken away from who has no job.  Each machine has one user: those that a script names are taken for him.
Metrics are invented.  Jobs of a real OAR run their commands on its frontend, not on the nodes.

**Guarantees.**  Nothing outside of the box is reached by names below ``grid5000.fr``; the user's ssh configuration is not read;
``~/.execo`` is not written.  At the end the configuration and the environment are as they were, and no process, mount or file is left; so
it is after an exception, and, a moment later, after SIGKILL.

**Threads.**  See `GridBox` and `BoxClock`.
"""

from __future__ import annotations

import sys

from ._gridbox.box import GridBox
from ._gridbox.clock import BoxClock
from ._gridbox.guest import build as build_guest

for _public in (GridBox, BoxClock, build_guest):
    _public.__module__ = "execo_g5k.gridbox"

__all__ = ["BoxClock", "GridBox", "build_guest"]

if __name__ == "__main__":
    from ._gridbox.cli import main

    sys.exit(main())
