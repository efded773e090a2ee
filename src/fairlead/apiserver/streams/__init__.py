"""Requests that become streams: exec and attach over WebSocket, port-forward over SPDY inside a WebSocket, proxy."""
