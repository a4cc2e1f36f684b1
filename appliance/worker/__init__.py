"""The process that holds lanes: it loads flows, opens their ends, and runs the threads around a
lane.
"""
