"""Where files come from: wheels, npm tarballs, pinned commits and hubs, by the registry clients' own configuration."""
