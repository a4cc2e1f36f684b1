"""One file per outside system. Each is a dataclass with verbs (see `appliance.connect`), imported
only when a flow names it; it imports nothing of ours but words and contracts.
"""
