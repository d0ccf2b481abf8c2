"""The network of Grid'5000 as a graph of networkx, and its figure; extra `topology`, and `plot` for the figure.

They are imported when they are used.
"""

from __future__ import annotations

from execo.host import Host
from execo.log import logger, style
from execo.time_utils import format_date
from execo.utils import do_once, is_string

from ._topology.links import ARBITRARY_LATENCY
from .api_utils import (
    get_api_data,
    get_cluster_hosts,
    get_g5k_clusters,
    get_g5k_hosts,
    get_g5k_sites,
    get_host_cluster,
    get_host_shortname,
    get_host_site,
    get_network_equipment_attributes,
    get_site_clusters,
    get_site_hosts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from matplotlib.figure import Figure

    from ._topology.graph import g5k_graph

__all__ = [
    "Host", "arbitrary_latency", "do_once", "format_date", "g5k_graph", "get_api_data", "get_cluster_hosts", "get_g5k_clusters",
    "get_g5k_hosts", "get_g5k_sites", "get_host_cluster", "get_host_shortname", "get_host_site", "get_network_equipment_attributes",
    "get_site_clusters", "get_site_hosts", "is_string", "logger", "style", "suffix", "treemap",
]

arbitrary_latency = ARBITRARY_LATENCY
suffix = ".grid5000.fr"


def _need(module: str, extra: str, what: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ImportError(f"{what} needs {module}: pip install 'execo_g5k[{extra}]'")


def _stand_in(missing: ImportError) -> type:
    """What `g5k_graph` is without networkx, so that its name can be imported, and only its use fails."""

    class g5k_graph:
        def __init__(self, *args: object, **options: object) -> None:
            raise ImportError(str(missing))

    g5k_graph.__module__ = __name__
    g5k_graph.__qualname__ = "g5k_graph"
    return g5k_graph


def __getattr__(name: str) -> Any:
    if name != "g5k_graph":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        _need("networkx", "topology", "the graph")
    except ImportError as missing:
        found = _stand_in(missing)
    else:
        from ._topology.graph import g5k_graph as found

        found.__module__ = __name__         # so that reprs, pickles and the documentation show the public path
    globals()[name] = found
    return found


def treemap(gr: Any, nodes_legend: Mapping[str, Mapping[str, Any]] | None = None,
            edges_legend: Mapping[float, Mapping[str, Any]] | None = None, nodes_labels: Mapping[str, Mapping[str, Any]] | None = None,
            layout: str | Callable[[Any], Mapping[str, Any]] = "neato", compact: bool = False) -> Figure:
    """A figure of a graph; ``.savefig("network.pdf")`` writes it.

    :param gr: a `g5k_graph`.
    :param nodes_legend: overlay on how kinds of nodes look: ``{"switch": {"color": "#9cf7bc", "shape": "s", "size": 110}}``.
    :param edges_legend: how links look, from a bandwidth (bit/s) on: ``{1e10: {"width": 0.9, "color": "#666666"}}``.
    :param nodes_labels: which kinds have names, and how: ``{"switch": {"nodes": [...], "font_size": 6, "font_weight": "normal",
      "str_func": f}}``, only some `nodes` of them if that is given; None: all, but hosts only where there are few.
    :param layout: ``"neato"``, around the middle of the network; ``"dot"``, in rows; the name of a layout of networkx (``"spring"``);
      or a function of the graph that returns ``{node: (x, y)}``.
    :param compact: the hosts of a cluster that are plugged in alike are one node.
    :raises ValueError: for an empty graph, or an unknown layout.
    :raises ImportError: without matplotlib, naming the extra.
    """
    _need("networkx", "topology", "treemap")
    _need("matplotlib", "plot", "treemap")
    from ._topology import draw

    return draw.treemap(gr, nodes_legend, edges_legend, nodes_labels, layout, compact)
