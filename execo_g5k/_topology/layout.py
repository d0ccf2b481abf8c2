"""Places for the nodes of a tree-like graph: equipment around the middle of the network, hosts around their switch.  Pure."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Positions = dict[str, tuple[float, float]]
    Neighbours = Mapping[str, Sequence[str]]


def spanning_tree(neighbours: Neighbours, roots: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """(roots, {node: its children}): breadth first from `roots`, each of which is there to begin a tree unless one before it has it."""
    tops: list[str] = []
    children: dict[str, list[str]] = {}
    for root in (*roots, *neighbours):
        if root in children:
            continue
        tops.append(root)
        children[root] = []
        row = [root]
        while row:
            below = []
            for node in row:
                for peer in neighbours[node]:
                    if peer not in children:
                        children[peer] = []
                        children[node].append(peer)
                        below.append(peer)
            row = below
    return tops, children


def radial(neighbours: Neighbours, roots: Sequence[str]) -> Positions:
    """Each tree fans out from its root; the angle of a branch is as large as its number of leaves, and rows of a tree lie on circles."""
    tops, children = spanning_tree(neighbours, roots)
    leaves = {top: _count_leaves(top, children) for top in tops}
    total = sum(leaves[top][top] for top in tops)
    positions: Positions = {}
    begin = 0.0
    for top in tops:
        share = 2 * math.pi * leaves[top][top] / total
        # The first tree begins in the middle, and others outside, where they cross none of its branches.
        todo = [(top, begin, begin + share, 0 if top == tops[0] else 3)]
        while todo:
            node, low, high, depth = todo.pop()
            angle = (low + high) / 2
            positions[node] = (depth * math.cos(angle), depth * math.sin(angle))
            at = low
            for child in children[node]:
                width = (high - low) * leaves[top][child] / leaves[top][node]
                todo.append((child, at, at + width, depth + 1))
                at += width
        begin += share
    return positions


def layered(neighbours: Neighbours, roots: Sequence[str]) -> Positions:
    """Rows of the trees one below the other, as `dot` draws them."""
    tops, children = spanning_tree(neighbours, roots)
    positions: Positions = {}
    at = 0.0
    for top in tops:
        leaves = _count_leaves(top, children)
        todo = [(top, at, 0)]
        while todo:
            node, left, depth = todo.pop()
            positions[node] = (left + leaves[node] / 2, float(-depth))
            for child in children[node]:
                todo.append((child, left, depth + 1))
                left += leaves[child]
        at += leaves[top]
    return positions


def _count_leaves(top: str, children: Mapping[str, Sequence[str]]) -> dict[str, int]:
    order, todo = [], [top]
    while todo:
        node = todo.pop()
        order.append(node)
        todo += children[node]
    leaves: dict[str, int] = {}
    for node in reversed(order):
        leaves[node] = sum(leaves[child] for child in children[node]) or 1
    return leaves
