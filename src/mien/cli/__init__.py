"""The command line: parse, call, print. The only room that may import rich and typer."""
