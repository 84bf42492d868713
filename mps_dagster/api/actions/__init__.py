"""The offered actions of MPS's API, one module per family. Each turns a request into calls of the packages below."""
