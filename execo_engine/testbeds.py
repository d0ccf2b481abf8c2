"""Where campaigns run: what gives a `SweepEngine` its hosts, for a time.

`Testbed` says what such an object has.  Derive from nothing: any object with these methods will do.
"""

from __future__ import annotations

from ._testbeds.cluster import ClusterTestbed
from ._testbeds.protocol import Testbed
from ._testbeds.slurm import SlurmTestbed
from ._testbeds.static import StaticTestbed

for _class in (ClusterTestbed, SlurmTestbed, StaticTestbed, Testbed):
    _class.__module__ = __name__        # so that reprs, pickles and the documentation show the public path

__all__ = ["ClusterTestbed", "SlurmTestbed", "StaticTestbed", "Testbed"]
