"""Public test help: a clock that tests move, faithful fakes, check suites for every protocol, the pytest plugin.

Import the module that you need (`from fairlead.testing import clock`); this package itself imports nothing.
"""
