"""CronJobs (batch/v1): Jobs by the clock."""
