"""Kubernetes' API over one store: `server.ApiServer` is the door for people, `chain.Chain` what every request
passes."""
