"""EndpointSlices (discovery.k8s.io/v1), and the older Endpoints, of Services with a selector."""
