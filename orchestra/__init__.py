"""Orchestra: Kubernetes' model for plain Linux processes."""

__version__ = "0.1.0"
