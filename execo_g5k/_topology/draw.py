"""The graph as a figure.  Needs networkx for the graph and matplotlib: import it where it is used."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .layout import layered, radial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Positions: TypeAlias = dict[str, tuple[float, float]]

NODES: dict[str, dict[str, Any]] = {
    "renater": {"color": "#f5d76e", "shape": "p", "size": 260},
    "router": {"color": "#8fb7ff", "shape": "8", "size": 200},
    "switch": {"color": "#9cf7bc", "shape": "s", "size": 110},
    "linecard": {"color": "#f5c9cd", "shape": "^", "size": 60},
    "node": {"color": "#f0f7be", "shape": "o", "size": 22},
    "cluster": {"color": "#f0f7be", "shape": "o", "size": 160},
}
EDGES: dict[float, dict[str, Any]] = {
    1e9: {"width": 0.4, "color": "#aaaaaa"},
    1e10: {"width": 0.9, "color": "#666666"},
    2.5e10: {"width": 1.4, "color": "#558855"},
    1e11: {"width": 2.2, "color": "#3366bb"},
    4e11: {"width": 3.2, "color": "#bb3333"},
}
LABELS: dict[str, dict[str, Any]] = {
    "renater": {"font_size": 9, "font_weight": "bold", "str_func": lambda name: name.removeprefix("renater-").capitalize()},
    "router": {"font_size": 7, "font_weight": "bold", "str_func": lambda name: name},
    "switch": {"font_size": 6},
    "linecard": {"font_size": 5},
    "cluster": {"font_size": 7},
    "node": {"font_size": 4},
}
_LABELLED_NODES = 150
"""Names of more hosts than these are not readable."""


def treemap(gr: Any, nodes_legend: Mapping[str, Mapping[str, Any]] | None = None,
            edges_legend: Mapping[float, Mapping[str, Any]] | None = None, nodes_labels: Mapping[str, Mapping[str, Any]] | None = None,
            layout: str | Callable[[Any], Mapping[str, Any]] = "neato", compact: bool = False) -> Figure:
    """See `execo_g5k.topology.treemap`."""
    shown = compacted(gr) if compact else gr
    if not len(shown):
        raise ValueError("treemap: the graph has no node")
    positions = _place(shown, layout)
    _check(shown, positions)
    nodes = _overlaid(NODES, nodes_legend)
    edges = {bandwidth: {**_edge_style(bandwidth, EDGES), **style} for bandwidth, style in (edges_legend or EDGES).items()}
    side = min(max(7.0, 1.2 * math.sqrt(len(shown))), 40.0)
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.94))
    axes.set_axis_off()
    axes.margins(0.06)
    _draw_edges(axes, shown, positions, edges)
    _draw_nodes(axes, shown, positions, nodes)
    _draw_labels(axes, shown, positions, nodes_labels)
    _draw_legend(figure, shown, nodes, edges)
    return figure


def compacted(gr: Any) -> Any:
    """A graph in which the hosts of a cluster that are plugged in at the same places are one node, of kind cluster with a ``count``."""
    import networkx as nx

    found: Any = nx.MultiGraph()
    groups: dict[tuple[str, frozenset[str]], list[str]] = {}
    for name, attributes in gr.nodes(data=True):
        if attributes.get("kind") == "node":
            groups.setdefault((name.rpartition("-")[0], frozenset(gr.neighbors(name))), []).append(name)
        else:
            found.add_node(name, **attributes)
    for one, other, edge in gr.edges(data=True):
        if found.has_node(one) and found.has_node(other):
            found.add_edge(one, other, **edge)
    for (cluster, peers), hosts in sorted(groups.items(), key=lambda group: (group[0][0], sorted(group[1]))):
        name = cluster if cluster not in found else f"{cluster} ({hosts[0]}+)"
        found.add_node(name, kind="cluster", count=len(hosts))
        for peer in peers:
            for edge in gr[hosts[0]][peer].values():
                found.add_edge(name, peer, **edge)
    return found


def _place(gr: Any, layout: str | Callable[[Any], Mapping[str, Any]]) -> Mapping[str, Any]:
    if callable(layout):
        return layout(gr)
    if layout in ("neato", "fdp", "sfdp", "twopi", "circo", "radial", "dot", "layered"):
        rank = {"renater": 0, "router": 1, "switch": 2, "linecard": 3}
        by_rank = sorted(gr, key=lambda name: (rank.get(gr.nodes[name].get("kind"), 4), -gr.degree(name), name))
        roots = [name for name in by_rank if rank.get(gr.nodes[name].get("kind"), 4) < 3]
        active = {name: [peer for peer in sorted(gr.neighbors(name)) if any(edge.get("active", True) for edge in gr[name][peer].values())]
                  for name in by_rank}
        idle = {name: [*active[name], *(peer for peer in sorted(gr.neighbors(name)) if peer not in active[name])] for name in by_rank}
        return (layered if layout in ("dot", "layered") else radial)(idle, roots)
    import networkx as nx

    function = getattr(nx, f"{layout}_layout", None)
    if function is None:
        raise ValueError(f"treemap: no layout {layout!r}; there are neato (radial), dot (layered), those of networkx, and functions")
    placed: Mapping[str, Any] = function(gr)
    return placed


def _check(gr: Any, positions: Mapping[str, Any]) -> None:
    if missing := [name for name in gr if name not in positions]:
        raise ValueError(f"treemap: the layout has no place for {', '.join(missing[:5])}")


def _overlaid(defaults: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    return {kind: {**defaults.get(kind, defaults["node"]), **(given or {}).get(kind, {})} for kind in {**defaults, **(given or {})}}


def _edge_style(bandwidth: float | None, edges: Mapping[float, Mapping[str, Any]]) -> Mapping[str, Any]:
    """That of the largest bandwidth of the legend that this link has."""
    fitting = [one for one in edges if bandwidth is not None and one <= bandwidth]
    return edges[max(fitting) if fitting else min(edges)]


def _draw_edges(axes: Any, gr: Any, positions: Mapping[str, Any], edges: Mapping[float, Mapping[str, Any]]) -> None:
    for one, other, edge in gr.edges(data=True):
        style = _edge_style(edge.get("bandwidth"), edges)
        (x, y), (to_x, to_y) = positions[one], positions[other]
        axes.add_line(Line2D([x, to_x], [y, to_y], linewidth=style["width"], color=style["color"], zorder=1,
                             linestyle="-" if edge.get("active", True) else ":"))


def _draw_nodes(axes: Any, gr: Any, positions: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> None:
    for kind, style in nodes.items():
        of_kind = [name for name, attributes in gr.nodes(data=True) if attributes.get("kind", "node") == kind]
        if of_kind:
            axes.scatter([positions[name][0] for name in of_kind], [positions[name][1] for name in of_kind], s=style["size"],
                         c=style["color"], marker=style["shape"], edgecolors="#444444", linewidths=0.5, zorder=2)


def _draw_labels(axes: Any, gr: Any, positions: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]] | None) -> None:
    hosts = sum(attributes.get("kind") == "node" for _, attributes in gr.nodes(data=True))
    default = {kind: style for kind, style in LABELS.items() if kind != "node" or hosts <= _LABELLED_NODES}
    wanted = default if given is None else {kind: {**LABELS.get(kind, {}), **style} for kind, style in given.items()}
    for name, attributes in gr.nodes(data=True):
        style = wanted.get(attributes.get("kind", "node"))
        if style is None or (style.get("nodes") and name not in style["nodes"]):
            continue
        text = style.get("str_func", _short)(name)
        if attributes.get("count", 1) > 1:
            text += f" ×{attributes['count']}"
        # Beside a host, so that it does not hide it.
        beside = attributes.get("kind") in ("node", "cluster")
        axes.annotate(text, positions[name], fontsize=style.get("font_size", 6), fontweight=style.get("font_weight", "normal"), zorder=3,
                      ha="center", va="bottom" if beside else "center", xytext=(0, 4 if beside else 0), textcoords="offset points")


def _short(name: str) -> str:
    return name.partition(".")[0]


def _draw_legend(figure: Figure, gr: Any, nodes: Mapping[str, Mapping[str, Any]], edges: Mapping[float, Mapping[str, Any]]) -> None:
    kinds = {attributes.get("kind", "node") for _, attributes in gr.nodes(data=True)}
    bandwidths = {id(_edge_style(edge.get("bandwidth"), edges)) for _, _, edge in gr.edges(data=True)}
    shown = [Line2D([], [], marker=style["shape"], color=style["color"], markeredgecolor="#444444", linestyle="", label=kind)
             for kind, style in nodes.items() if kind in kinds]
    shown += [Line2D([], [], color=style["color"], linewidth=style["width"], label=_rate(bandwidth))
              for bandwidth, style in sorted(edges.items()) if id(style) in bandwidths]
    figure.legend(handles=shown, loc="upper center", ncols=min(len(shown), 11) or 1, fontsize=8, frameon=False)


def _rate(bandwidth: float) -> str:
    return f"{bandwidth / 1e9:g} Gbit/s" if bandwidth >= 1e9 else f"{bandwidth / 1e6:g} Mbit/s"
