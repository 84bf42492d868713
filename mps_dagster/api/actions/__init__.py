"""The actions of MPS's API that are offered, a module per family. Each turns a request into calls of the rooms below."""
