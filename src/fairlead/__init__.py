"""fairlead: Kubernetes' automatic load balancing as one Python package."""

__version__ = "0.1.0"
