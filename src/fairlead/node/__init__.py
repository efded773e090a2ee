"""The node agent: runs the pods that the API says, tells the API how they are."""
