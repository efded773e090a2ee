"""HorizontalPodAutoscalers (autoscaling/v2): replicas that follow the load."""
