"""Encodes against encodes: what maps give at equal quality where people look, by whose account, beside which controls.

A title is encoded by each codec at each rate under each arm, and every encode is a point: bytes and quality, plain and
under the account's weights (`account`, `measure`, `points`). Points make curves, curves BD-rates against the plain
encodes and against each control (`bdrate`, `table`). Groups of like titles make intervals and tests of them
(`statistics`), and those the paragraph that can be quoted (`verdict`).
"""
