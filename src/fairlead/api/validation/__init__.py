"""What Kubernetes refuses in an object of the right shape, in its words (`pkg/apis/*/validation`). Pure."""
