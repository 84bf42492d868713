"""The judge of adaptive streams: players in a browser, and parsers."""
