"""The version of mien, once."""

VERSION = "0.1.0"
