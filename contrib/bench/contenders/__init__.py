"""One module for each kind of server: how it is set up, started and ended in a folder of its own."""
