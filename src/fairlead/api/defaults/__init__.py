"""What Kubernetes fills in when a user leaves it out: `SetDefaults_*` of k8s.io/kubernetes, by family of kinds.
Pure."""
