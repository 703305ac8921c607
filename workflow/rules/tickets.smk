"""Lottery tickets: iterative magnitude pruning, what its masks share, and what they are good for.

Requires base models (`base_of`), examples of every task (`task_files`). Makes, under
`<results>/masks/{model}/s{seed}/{task}/{lang}/{variant}/`, the masks `k{kept}.safetensors`.
"""
