"""A local cluster: the only place that wires the rooms together.

`state` knows the folder a cluster lives in, `wiring` starts and stops the rooms, `teardown` removes what runs when
nobody is left to do it, `addresses` says who reaches what.
"""
