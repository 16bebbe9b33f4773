"""A real Kubernetes node made of upstream components: the stand-in for k3s, which embeds the same parts."""

from .node import Node  # noqa: F401
