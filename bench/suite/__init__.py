"""One module per benchmark; the module's name, with `-` for `_`, is what the command line takes."""
