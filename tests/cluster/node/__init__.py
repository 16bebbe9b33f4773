"""A real Kubernetes node: of upstream components as a stand-in for k3s, which embeds the same parts, or k3s itself."""

from .k3s import K3s  # noqa: F401
from .node import Node  # noqa: F401
