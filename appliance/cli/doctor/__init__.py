"""`bettong doctor`: is this box fit to run these flows, and how is what runs here?

Each file looks at one thing. A check is a plain function: it takes the facts, or where to read
them, and returns findings. Nothing is changed, and nothing is asked of another program.
"""
