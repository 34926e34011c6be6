"""What makes a node fit, and what makes one better than another.

The shape is Kubernetes' scheduling framework: filters say why not, scores say how well, 0 to 100.
"""

from orchestra.scheduling.plugins.affinity import NodeAffinity
from orchestra.scheduling.plugins.contract import Filter, Score
from orchestra.scheduling.plugins.ports import NodePorts
from orchestra.scheduling.plugins.readiness import NodeReady, NodeUnschedulable
from orchestra.scheduling.plugins.resources import LeastAllocated, NodeResourcesFit
from orchestra.scheduling.plugins.spreading import OwnerSpread
from orchestra.scheduling.plugins.taints import TaintToleration

# In the order of their cost, and of how well the reason explains a refusal.
FILTERS: tuple[Filter, ...] = (
    NodeUnschedulable(),
    TaintToleration(),
    NodeReady(),
    NodeAffinity(),
    NodePorts(),
    NodeResourcesFit(),
)

# (plugin, weight): Kubernetes' weights where it has the plugin.
SCORES: tuple[tuple[Score, int], ...] = (
    (LeastAllocated(), 1),
    (OwnerSpread(), 2),
    (NodeAffinity(), 2),
    (TaintToleration(), 3),
)

__all__ = ["FILTERS", "SCORES", "Filter", "Score"]
