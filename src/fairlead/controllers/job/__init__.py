"""Jobs (batch/v1): pods that run until enough of them have succeeded."""
