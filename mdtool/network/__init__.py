"""The one way to the network: what may be connected to, HTTP requests, and what of a URL may be shown."""
