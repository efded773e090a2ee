"""request -> authn -> authz -> admission -> store -> watch: the API that kubectl speaks to."""
