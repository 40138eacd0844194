"""What plugin and core tests build on."""
