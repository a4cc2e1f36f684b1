"""The plan of a flow: read, checked, explained, and compiled to what the native lane carries out.

`logical` is what everything else is about; `read` makes it from tables, `check` judges it,
`explain` prints it and `program` compiles it.
"""
