"""StatefulSets (apps/v1): pods with names and volumes that stay theirs."""
